"""A user that may not publish to one subject: its trigger names that subject, and its sibling on the same connection
goes on. Once it is permitted, the trigger goes on too."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from eventbus_runtime import Runtime
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import NotFoundError
from eventbus_runtime.events import DeliveryFailed, State, StateChanged, Warned
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.test_runtime import Facts, write
from tests.triggers.live import connected, until

CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.S]
    subjects = ["s.>"]
    [streams.DEAD]
    subjects = ["dead.>"]
    [consumers.denied]
    stream = "S"
    filter_subjects = ["s.denied"]
    ack_wait = "1s"
    [consumers.other]
    stream = "S"
    filter_subjects = ["s.other"]
    [triggers.denied]
    dead_letter = "dead.Denied"
    retry = {{ delays = ["50ms"] }}
    [triggers.other]
"""
HANDLERS = """
    from eventbus_runtime import Publish, Reject, pipeline

    handled = {"denied": [], "other": []}

    @pipeline
    async def denied(message):
        handled["denied"].append(message.payload)
        if message.payload == b"reject":
            raise Reject("no good")
        if message.payload == b"publish":
            return Publish("s.Out", b"x")

    @pipeline
    async def other(message):
        handled["other"].append(message.payload)
"""
PERMISSIONS = """
authorization {{ users: [
    {{ user: all, password: all }}
    {{ user: app, password: app, permissions: {{ publish: {{ allow: ">", deny: [{denied}] }} }} }}
] }}
no_auth_user: all
"""


def permissions(*denied: str) -> str:
    return PERMISSIONS.format(denied=", ".join(f'"{subject}"' for subject in denied))


class App(NamedTuple):
    """A runtime whose user may not publish everywhere, and somebody who may."""

    runtime: Runtime
    facts: Facts
    server: NatsServer
    outside: NatsBus
    handlers: Path

    @property
    def handled(self) -> dict[str, list[bytes]]:
        """By trigger, the payloads in the order of their handlers' starts."""
        (module,) = [each for each in sys.modules.values() if getattr(each, "__file__", "") == str(self.handlers)]
        lists: dict[str, list[bytes]] = module.handled
        return lists

    @property
    def reason(self) -> str:
        """Why the trigger `denied` does not run."""
        trigger = self.runtime._triggers["denied"]
        return trigger.reason if trigger.state is State.BACKING_OFF else ""

    def warnings(self) -> list[str]:
        return [fact.text for fact in self.facts if isinstance(fact, Warned)]

    def failures(self) -> list[DeliveryFailed]:
        return [fact for fact in self.facts if isinstance(fact, DeliveryFailed)]

    async def settled(self, consumer: str) -> bool:
        try:
            info = await self.outside.api(f"CONSUMER.INFO.S.{consumer}")
        except NotFoundError:  # not made yet
            return False
        return bool(info["num_pending"] + info["num_ack_pending"] == 0)

    def permit(self) -> None:
        """Have the server permit everything from now on."""
        path = self.server.folder / "server.conf"
        text = path.read_text("utf-8")
        path.write_text(text.replace(text[text.index("\nauthorization") :], permissions()), "utf-8")
        self.server.send_signal(signal.SIGHUP)


@asynccontextmanager
async def denied(folder: Path, make_server: MakeServer, *subjects: str) -> AsyncIterator[App]:
    """The app, with its trigger `other` running."""
    server, facts = make_server(permissions(*subjects)), Facts()
    url = server.url.replace("://", "://app:app@")
    path = write(folder, CONFIG.format(url=url), HANDLERS)
    async with connected(server.url) as outside, Runtime.from_file(path, listeners=[facts]) as runtime:
        await until(lambda: runtime._triggers["other"].state is State.RUNNING)
        yield App(runtime, facts, server, outside, folder / "handlers.py")


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        ("$JS.API.CONSUMER.MSG.NEXT.S.denied", "$JS.API.CONSUMER.MSG.NEXT.S.denied"),
        ("$JS.API.CONSUMER.INFO.S.denied", "$JS.API.CONSUMER.INFO.S.denied"),
        ("$JS.API.CONSUMER.CREATE.S.denied.>", "$JS.API.CONSUMER.CREATE.S.denied.s.denied"),
        ("$JS.ACK.S.denied.>", "$JS.ACK.S.denied.>"),
    ],
    ids=["pull", "info", "create", "ack"],
)
async def test_what_its_trigger_may_not_say_is_named_at_once_and_goes_on_once_it_may(
    tmp_path: Path, make_server: MakeServer, subject: str, named: str
) -> None:
    async with denied(tmp_path, make_server, subject) as app:
        for number in range(20):
            await app.outside.publish("s.denied", b"%d" % number)
            await app.outside.publish("s.other", b"%d" % number)
        await until(lambda: "not permit" in app.reason and named in app.reason, within=3)
        await until(lambda: app.settled("other"))
        assert not await app.settled("denied")
        assert [text for text in app.warnings() if named in text] == [f'permissions violation for publish to "{named}"']
        app.permit()
        await until(lambda: app.settled("denied"), within=20)
        assert sorted(app.handled["denied"]) == sorted(app.handled["other"])
        states = [fact.new for fact in app.facts if isinstance(fact, StateChanged) and fact.name == "other"]
        assert State.FAILED not in states


@pytest.mark.parametrize(("payload", "subject"), [(b"reject", "dead.Denied"), (b"publish", "s.Out")])
async def test_what_its_handler_may_not_publish_is_retried_and_named_and_others_go_on(
    tmp_path: Path, make_server: MakeServer, payload: bytes, subject: str
) -> None:
    async with denied(tmp_path, make_server, subject) as app:
        await app.outside.publish("s.denied", payload)
        await app.outside.publish("s.denied", b"good")
        await app.outside.publish("s.other", b"good")
        # Well below the time-out of a publish, since the server says at once that it refuses.
        await until(lambda: app.handled["denied"].count(payload) >= 3, within=3)
        assert {failure.settlement for failure in app.failures()} == {"nak"}
        assert all(f"does not permit it to publish to {subject!r}" in failure.text for failure in app.failures())
        assert app.handled["denied"].count(b"good") == 1
        await until(lambda: app.settled("other"))
        app.permit()
        await until(lambda: app.settled("denied"))
        stream = "DEAD" if payload == b"reject" else "S"
        info = await app.outside.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
        assert info["state"]["subjects"] == {subject: 1}
