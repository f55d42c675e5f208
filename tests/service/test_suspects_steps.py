"""A suspect whose pipeline is made of steps: its process knows them too."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from eventbus_runtime.testing.server import NatsServer
from tests.service.suspects import DEAD, dead_letters, deliver, pending, worker
from tests.triggers.live import until

STEPS = (
    DEAD
    + """
    [pipelines.steps]
    steps = [
      { call = "handlers:look" },
      { publish = { subject = "copies.a" } },
      { ack = {} },
      { publish = { subject = { from = "/behind" } } },
    ]
    [streams.COPIES]
    subjects = ["copies.>"]
"""
)
HANDLERS = """
    async def look(message: Message) -> bytes:
        say(message.payload.decode())
        if message.payload == b"bad":
            raise ValueError("no")
        return b'{"behind": "copies.b"}'
"""


async def test_its_steps_run_in_the_child_and_settle_it_once(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"bad", b"good"])
    more = STEPS.replace(DEAD, f'{DEAD}\n    pipeline = "steps"')
    one = worker(tmp_path / "app", server, HANDLERS, "--stop-when-idle", "500ms", more=more)
    assert one.run() == 0
    assert await dead_letters(js) == [(b"bad", "exhausted")]
    assert await pending(js) == (0, 0)
    copies = [(await js.get_msg("COPIES", seq=at)).subject for at in (1, 2)]
    assert copies == ["copies.a", "copies.b"]
    assert (await js.stream_info("COPIES")).state.messages == 2


async def test_what_its_consume_step_had_got_is_handed_back_at_the_stop(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    """And does not wait until ack_wait."""
    more = f"""{DEAD}
    pipeline = "steps"
    [pipelines.steps]
    steps = [{{ consume = {{ consumer = "rest", batch_size = 2, max_wait = "60s" }} }}]
    [streams.REST]
    subjects = ["rest.>"]
    [consumers.rest]
    stream = "REST"
    """
    await deliver(js, [b"waits"])
    await js.add_stream(name="REST", subjects=["rest.>"])
    await js.publish("rest.a", b"")

    async def is_delivered() -> bool:
        with suppress(NotFoundError):
            return bool((await js.consumer_info("REST", "rest")).num_ack_pending == 1)
        return False

    with worker(tmp_path / "app", server, "", shutdown_timeout="200ms", more=more) as one:
        await until(is_delivered)
        one.signal()
        assert one.wait() == 3
    subscription = await js.pull_subscribe_bind("rest", "REST")
    (again,) = await subscription.fetch(1, timeout=5)
    assert again.metadata.num_delivered == 2
