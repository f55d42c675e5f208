"""`Runtime` as a context manager, as an application or a user's test has it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import nats
import pytest

from eventbus_runtime import Runtime
from eventbus_runtime.errors import ConfigError, EventbusError, ResourceError, TriggerError
from eventbus_runtime.events import DeliveryFailed, Ensured, Fact, State, StateChanged, Warned
from eventbus_runtime.testing.server import NatsServer

CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [triggers.work]
"""
HANDLERS = """
    from eventbus_runtime import pipeline

    handled = []

    @pipeline
    async def work(message) -> None:
        if message.payload == b"bad":
            raise ValueError("bad")
"""


class Facts(list[Fact]):
    """A listener that remembers."""

    def on_fact(self, fact: Fact) -> None:
        self.append(fact)


class Broken:
    """A listener with a mistake."""

    def on_fact(self, fact: Fact) -> None:
        raise RuntimeError("listener's mistake")


def write(folder: Path, config: str, handlers: str = HANDLERS) -> Path:
    (folder / "handlers.py").write_text(dedent(handlers))
    path = folder / "app.toml"
    path.write_text(dedent(config))
    return path


async def until_running(runtime: Runtime) -> None:
    async with asyncio.timeout(10):
        while runtime.unready():
            await asyncio.sleep(0.01)


async def publish(url: str, *payloads: bytes) -> None:
    client = await nats.connect(url)
    for payload in payloads:
        await client.jetstream().publish("orders.created", payload)
    await client.close()


@pytest.mark.seed("S-26")
async def test_entered_it_runs_and_left_it_has_drained_without_a_trace(tmp_path: Path, server: NatsServer) -> None:
    """S-26 and invariant 5: and the same file can be run again."""
    path = write(tmp_path, CONFIG.format(url=server.url))
    before = asyncio.all_tasks()
    for expected in (3, 2):
        facts = Facts()
        async with Runtime.from_file(path, listeners=[facts]) as runtime:
            await until_running(runtime)
            await publish(server.url, *[b"x"] * expected)
            await runtime.wait_idle(0.2)
            _, counters = runtime.trigger_counters()["work"]
            assert counters.acked == expected
        assert asyncio.all_tasks() == before
        assert runtime.exit_code == 0
        states = [fact.new for fact in facts if isinstance(fact, StateChanged) and fact.kind == "trigger"]
        assert states == [State.RUNNING, State.DRAINING, State.STOPPED]


async def test_what_was_made_at_the_server_is_told_once(tmp_path: Path, server: NatsServer) -> None:
    path = write(tmp_path, CONFIG.format(url=server.url) + '\n    dead_letter = "dead.work"\n')
    facts = Facts()
    for _ in range(2):
        async with Runtime.from_file(path, listeners=[facts]) as runtime:
            await until_running(runtime)
    made = [(fact.what, fact.change) for fact in facts if isinstance(fact, Ensured)]
    assert made == [
        (what, "created") for what in ("stream ORDERS", "consumer work of stream ORDERS", "stream DEAD_WORK")
    ]


async def test_two_triggers_on_a_new_stream_start_without_a_warning(tmp_path: Path, server: NatsServer) -> None:
    config = CONFIG.format(url=server.url) + '    [triggers.more]\n    pipeline = "work"\n'
    facts = Facts()
    async with Runtime.from_file(write(tmp_path, config), listeners=[facts]) as runtime:
        await until_running(runtime)
    assert [fact for fact in facts if isinstance(fact, Warned)] == []


@pytest.mark.seed("S-24")
async def test_an_open_connection_is_used_and_never_closed(tmp_path: Path, server: NatsServer) -> None:
    """S-24: it needs no address, and its owner goes on with it."""
    path = write(tmp_path, CONFIG.replace('url = "{url}"', ""))
    client = await nats.connect(server.url)
    async with Runtime.from_file(path, environ={}, connections={"main": client}, listeners=[]) as runtime:
        await until_running(runtime)
        await client.jetstream().publish("orders.created", b"x")
        await runtime.wait_idle(0.1)
        assert runtime.trigger_counters()["work"][1].acked == 1
    assert client.is_connected
    await client.flush()
    await client.close()


async def test_a_listener_that_raises_harms_nothing_and_is_named(tmp_path: Path, server: NatsServer) -> None:
    path = write(tmp_path, CONFIG.format(url=server.url))
    facts = Facts()
    async with Runtime.from_file(path, listeners=[Broken(), facts]) as runtime:
        await until_running(runtime)
        await publish(server.url, b"bad", b"good")
        async with asyncio.timeout(10):
            while not any(isinstance(fact, DeliveryFailed) for fact in facts):
                await asyncio.sleep(0.01)
    assert any(isinstance(fact, Warned) and fact.name == "Broken" for fact in facts)


@pytest.mark.seed("S-23")
async def test_without_an_address_it_names_both_variables(tmp_path: Path) -> None:
    """S-23."""
    path = write(tmp_path, CONFIG.replace('url = "{url}"', ""))
    runtime = Runtime.from_file(path, environ={})
    with pytest.raises(ConfigError, match=r"EVENTBUS_MAIN_URI or NATS_URL"):
        await runtime.__aenter__()


async def test_a_background_function_of_several_buses_must_say_which(tmp_path: Path, server: NatsServer) -> None:
    handlers = (
        HANDLERS
        + """
    from eventbus_runtime import Bus, background

    @background
    async def refresh(bus: Bus) -> None: ...
    """
    )
    config = CONFIG.format(url=server.url).replace(
        "[triggers.work]", f'bus = "main"\n    [triggers.work]\n    [buses.b]\n    url = "{server.url}"'
    )
    runtime = Runtime.from_file(write(tmp_path, config, handlers))
    with pytest.raises(ConfigError, match=r"refresh.*several buses"):
        await runtime.__aenter__()


async def test_a_resource_that_cannot_be_opened_ends_it_before_the_first_pull(
    tmp_path: Path, server: NatsServer
) -> None:
    handlers = """
    from eventbus_runtime import pipeline, resource

    class Pool: ...

    @resource
    async def pool() -> Pool:
        raise OSError("no database")

    @pipeline
    async def work(message, pool: Pool) -> None: ...
    """.replace("message, pool", "message: Message, pool").replace("import pipeline", "import Message, pipeline")
    before = asyncio.all_tasks()
    runtime = Runtime.from_file(write(tmp_path, CONFIG.format(url=server.url), handlers), listeners=[])
    with pytest.raises(ResourceError, match="no database"):
        await runtime.__aenter__()
    assert asyncio.all_tasks() == before


async def test_a_background_function_begins_when_declared_streams_are_there(tmp_path: Path, server: NatsServer) -> None:
    handlers = (
        HANDLERS
        + """
    from eventbus_runtime import Bus, background

    @background
    async def once(bus: Bus) -> None:
        await bus.publish("orders.created", b"x")
    """
    )
    facts = Facts()
    path = write(tmp_path, CONFIG.format(url=server.url), handlers)
    async with Runtime.from_file(path, listeners=[facts]) as runtime:
        async with asyncio.timeout(10):
            while runtime.trigger_counters()["work"][1].acked < 1:
                await asyncio.sleep(0.01)
    assert not [fact for fact in facts if isinstance(fact, Warned)]


async def test_every_trigger_failed_ends_wait_with_the_reasons(tmp_path: Path, server: NatsServer) -> None:
    await make_other_storage(server.url)
    path = write(tmp_path, CONFIG.format(url=server.url).replace('"orders.>"]', '"orders.>"]\n    storage = "file"'))
    async with asyncio.timeout(10), Runtime.from_file(path, listeners=[]) as runtime:
        with pytest.raises(TriggerError, match=r"every trigger has failed: work: .*storage"):
            await runtime.wait()
    assert runtime.exit_code == 1


async def test_what_ends_it_is_logged_where_nobody_waits_for_it(
    tmp_path: Path, server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in an application's lifespan, which waits for its own end."""
    taken = urlsplit(server.url).port
    path = write(tmp_path, f'[runtime]\n    http = "127.0.0.1:{taken}"\n' + CONFIG.format(url=server.url))
    async with Runtime.from_file(path) as runtime, asyncio.timeout(10):
        while runtime.failure is None:
            await asyncio.sleep(0.01)
    assert f"runtime.http: can't listen on 127.0.0.1:{taken}" in "".join(capsys.readouterr())


async def test_a_failed_trigger_is_never_idle(tmp_path: Path, server: NatsServer) -> None:
    await make_other_storage(server.url)
    path = write(tmp_path, CONFIG.format(url=server.url).replace('"orders.>"]', '"orders.>"]\n    storage = "file"'))
    async with asyncio.timeout(10), Runtime.from_file(path, listeners=[]) as runtime:
        with pytest.raises(EventbusError, match="failed"):
            await runtime.wait_idle(0.1)


async def make_other_storage(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="ORDERS", subjects=["orders.>"], storage="memory")
    await client.close()


async def test_an_error_in_the_body_leaves_it_as_it_is_after_a_drain(tmp_path: Path, server: NatsServer) -> None:
    path = write(tmp_path, CONFIG.format(url=server.url))
    before = asyncio.all_tasks()

    async def run() -> None:
        async with Runtime.from_file(path, listeners=[]) as runtime:
            await until_running(runtime)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()
    assert asyncio.all_tasks() == before


async def test_cancelled_from_outside_it_ends_at_once_and_leaves_nothing(tmp_path: Path, server: NatsServer) -> None:
    path = write(tmp_path, CONFIG.format(url=server.url))
    before = asyncio.all_tasks()
    entered = asyncio.Event()

    async def serve() -> None:
        async with Runtime.from_file(path, listeners=[]) as runtime:
            await until_running(runtime)
            entered.set()
            await runtime.wait()

    task = asyncio.create_task(serve())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert asyncio.all_tasks() == before


async def test_status_names_a_stuck_message(tmp_path: Path, server: NatsServer) -> None:
    path = write(tmp_path, CONFIG.format(url=server.url) + '\n    retry = { delays = ["50ms"] }\n')
    async with Runtime.from_file(path, listeners=[]) as runtime:
        await until_running(runtime)
        await publish(server.url, b"bad")
        async with asyncio.timeout(10):
            while not runtime.status()["triggers"]["work"]["stuck"]:
                await asyncio.sleep(0.01)
        (stuck,) = runtime.status()["triggers"]["work"]["stuck"]
        assert (stuck["sequence"], stuck["subject"]) == (1, "orders.created")
        assert "ValueError: bad" in stuck["error"]
