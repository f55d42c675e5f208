"""PublishStep, ConsumeStep and AckStep as parameters of a user's functions (S-30 to S-33)."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from eventbus_runtime import Runtime
from eventbus_runtime.events import DeliveryFailed
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.pipelines.steps.scene import Facts, running
from tests.triggers.live import Observer, connected, until


@pytest.mark.seed("S-30")
async def test_a_delivery_publishes_with_its_stable_id_and_the_headers_asked_for(
    server: NatsServer, tmp_path: Path
) -> None:
    handlers = """
        from eventbus_runtime import Message, PublishStep, pipeline
        from eventbus_runtime.contracts import PublishRequest

        @pipeline
        async def work(message: Message, publish: PublishStep) -> None:
            request = PublishRequest(subject="out.x", payload=message.payload, headers={"A": "1"}, correlation_id="c-1")
            answer = await publish(request)
            assert answer.sequence == "1"
            assert answer.acked_at.endswith("Z")
    """
    async with running(server, tmp_path, "", handlers) as scene:
        await scene.publish(b"body")
        await scene.settled()
        subject, payload, headers = await scene.stored()
        assert (subject, payload) == ("out.x", b"body")
        assert b"A: 1\r\n" in headers
        assert b"Nats-Correlation-Id: c-1\r\n" in headers
        assert b"Nats-Msg-Id: ORDERS.1." in headers


@pytest.mark.seed("S-32")
@pytest.mark.parametrize("ack", ["on_success", "manual"])
async def test_its_own_token_settles_the_delivery_once(server: NatsServer, tmp_path: Path, ack: str) -> None:
    handlers = """
        from eventbus_runtime import AckStep, Message, pipeline
        from eventbus_runtime.contracts import AckRequest

        @pipeline
        async def work(message: Message, ack: AckStep) -> None:
            await ack(AckRequest(ack_token=message.ack_token))
            await ack(AckRequest(ack_token=message.ack_token))
    """
    async with Observer(server.url) as observer, running(server, tmp_path, f'ack = "{ack}"', handlers) as scene:
        await scene.publish()
        await scene.settled()
        await until(lambda: scene.runtime.trigger_counters()["work"][1].acked == 1)
        await observer.flush()
        assert list(observer.settlements().values()) == [[b""]]


@pytest.mark.seed("S-32")
async def test_a_delivery_that_another_trigger_holds_settles_itself(server: NatsServer, tmp_path: Path) -> None:
    """Its slot is free at once, and what its handler does afterwards settles nothing."""
    tables = """
        [triggers.holder]
        stream = "OUT"
        retry = { delays = ["1h"] }
    """
    handlers = """
        import asyncio
        from eventbus_runtime import AckStep, Message, pipeline
        from eventbus_runtime.contracts import AckRequest

        tokens = asyncio.Queue()
        acked = asyncio.Event()

        @pipeline
        async def holder(message: Message) -> None:
            tokens.put_nowait(message.ack_token)
            await acked.wait()
            raise ValueError("late")

        @pipeline
        async def work(message: Message, ack: AckStep) -> None:
            await ack(AckRequest(ack_token=await tokens.get()))
            acked.set()
    """
    async with Observer(server.url) as observer, running(server, tmp_path, tables, handlers) as scene:
        await scene.outside.publish("out.x", b"")
        await scene.publish()
        failure = await scene.failed()
        assert (failure.trigger, failure.settlement) == ("holder", "settled")
        await scene.settled()
        await observer.flush()
        assert sorted(observer.settlements().values()) == [[b""], [b""]]


@pytest.mark.seed("S-31", "S-32")
@pytest.mark.parametrize("where", ["handler", "background", "resource"])
async def test_consumed_messages_are_acknowledged_with_the_servers_word(
    server: NatsServer, tmp_path: Path, where: str
) -> None:
    takes = """
        import asyncio
        from collections.abc import AsyncIterator
        from eventbus_runtime import AckStep, ConsumeStep, Message, background, pipeline, resource
        from eventbus_runtime.contracts import AckRequest, ConsumeRequest

        async def take(consume, ack):
            found = await consume(ConsumeRequest(consumer="rest", batch_size=10, max_wait="10s"))
            await asyncio.gather(*(ack(AckRequest(ack_token=each.ack_token)) for each in found.messages))

        class Taken: ...
    """
    functions = {
        "handler": """
        @pipeline
        async def work(message: Message, consume: ConsumeStep, ack: AckStep) -> None:
            await take(consume, ack)
    """,
        "background": """
        @pipeline
        async def work(message) -> None: ...

        @background
        async def taking(consume: ConsumeStep, ack: AckStep) -> None:
            await take(consume, ack)
    """,
        "resource": """
        @resource(scope="delivery")
        async def taken(consume: ConsumeStep, ack: AckStep) -> AsyncIterator[Taken]:
            await take(consume, ack)
            yield Taken()

        @pipeline
        async def work(message: Message, taken: Taken) -> None: ...
    """,
    }
    async with running(server, tmp_path, "", takes + functions[where]) as scene:
        for _ in range(10):
            await scene.outside.publish("out.x", b"")
        await scene.publish()

        async def all_acked() -> bool:
            return bool((await scene.info("OUT", "rest"))["ack_floor"]["stream_seq"] == 10)

        await until(all_acked)
        rest = await scene.info("OUT", "rest")
        assert (rest["delivered"]["consumer_seq"], rest["num_ack_pending"], rest["num_redelivered"]) == (10, 0, 0)


@pytest.mark.seed("S-31", "S-33")
async def test_a_consumer_that_is_not_declared_is_told_with_what_to_declare(server: NatsServer, tmp_path: Path) -> None:
    handlers = """
        from eventbus_runtime import ConsumeStep, Message, pipeline
        from eventbus_runtime.contracts import ConsumeRequest

        @pipeline
        async def work(message: Message, consume: ConsumeStep) -> None:
            await consume(ConsumeRequest(consumer="nobody"))
    """
    async with running(server, tmp_path, "", handlers) as scene:
        await scene.publish()
        assert (await scene.failed()).text.startswith(
            'StepError: step.eventbus.consume: there is no consumer "nobody"; declare [consumers.nobody] with its '
            "stream; declared: rest, work"
        )


@pytest.mark.seed("S-32")
async def test_the_step_of_one_bus_acknowledges_nothing_of_another(make_server: MakeServer, tmp_path: Path) -> None:
    """Streams that mirror each other have the same tokens on both."""
    (tmp_path / "handlers.py").write_text(
        dedent("""
            import asyncio
            from eventbus_runtime import AckStep, Message, pipeline
            from eventbus_runtime.contracts import AckRequest

            tokens = asyncio.Queue()
            tried = asyncio.Event()

            @pipeline
            async def there(message: Message) -> None:
                tokens.put_nowait(message.ack_token)
                await tried.wait()
                raise ValueError("not done")

            @pipeline
            async def here(message: Message, ack: AckStep) -> None:
                try:
                    await ack(AckRequest(ack_token=await tokens.get()))
                finally:
                    tried.set()
        """)
    )
    servers = {name: make_server() for name in ("here", "there")}
    path = tmp_path / "app.toml"
    path.write_text(
        "\n".join(
            f'[buses.{name}]\nurl = "{server.url}"\n[streams.{name}]\nbus = "{name}"\nsubjects = ["{name}.>"]\n'
            f'[triggers.{name}]\nstream = "{name}"\nretry = {{ delays = ["1h"] }}'
            for name, server in servers.items()
        )
    )
    facts = Facts()
    async with Runtime.from_file(path, listeners=[facts]) as runtime:
        await until(lambda: not runtime.unready())
        for name, server in servers.items():
            async with connected(server.url) as bus:
                await bus.publish(f"{name}.a", b"")
        await until(lambda: len(failures(facts)) == 2)
        assert {each.trigger: (each.text.partition(": ")[0], each.settlement) for each in failures(facts)} == {
            "here": ("StepError", "nak"),
            "there": ("ValueError", "nak"),
        }


def failures(facts: Facts) -> list[DeliveryFailed]:
    """The deliveries that did not end well."""
    return [fact for fact in facts if isinstance(fact, DeliveryFailed)]
