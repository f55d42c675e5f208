"""A suspect whose pipeline is made of steps: its process knows them too."""

from __future__ import annotations

from pathlib import Path

from nats.js import JetStreamContext

from eventbus_runtime.testing.server import NatsServer
from tests.service.suspects import DEAD, dead_letters, deliver, pending, worker

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
