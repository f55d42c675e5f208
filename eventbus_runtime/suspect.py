"""The child that runs the handlers of suspects. Its parent's side, with what both say, is `triggers/child.py`."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.loader import Loaded, load
from eventbus_runtime.context import Slot, current
from eventbus_runtime.errors import BusUnavailableError, EventbusError
from eventbus_runtime.frames import located
from eventbus_runtime.message import Message
from eventbus_runtime.observability.logging import configure
from eventbus_runtime.pipelines.encoding import encode
from eventbus_runtime.pipelines.numbering import Numbering
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.pipeline import BoundPipeline, bind
from eventbus_runtime.pipelines.resources import Resources
from eventbus_runtime.service import run
from eventbus_runtime.steps import RuntimeSteps
from eventbus_runtime.triggers.child import LONGEST_LINE, Launch, read_raw, write_line
from eventbus_runtime.triggers.handling import Unpublished, failure_of

_LEAVES_WITHIN = 5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(fd: int, parent: int) -> None:
    """Run handlers for as long as the parent wants; does not return.

    Args:
        fd: our end of the pair of sockets.
        parent: its process id.
    """
    _end_with(parent)
    # An init system tells all processes of a service to stop; ours is to be ended by its parent, or a handler would be
    # blamed for it. No SIG_IGN: what a handler starts would inherit that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore)
    channel = socket.socket(fileno=fd)
    channel.set_inheritable(False)
    try:
        with channel.makefile("rb") as lines:
            launch = Launch(*json.loads(lines.readline())[1:])
        loaded = _load(launch)
        configure(loaded.config.runtime.log_level, loaded.config.runtime.log_format)
        run(lambda: _serve(channel, loaded, launch))
    except BaseException as error:  # noqa: BLE001 - whatever the user's modules and resources raise
        text = str(error) if isinstance(error, EventbusError) else located(error)
        with suppress(OSError):  # it has closed before we were ready
            channel.sendall(write_line("failed", text))
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)  # threads of `def` handlers can't be ended otherwise


def _end_with(parent: int) -> None:
    """Have the kernel end us when the thread that forked us ends (prctl(2)), even where a handler blocks."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that was set
        os._exit(1)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def _load(launch: Launch) -> Loaded:
    given = dict(launch.arguments)
    for name in ("path", "secrets_dir"):
        given[name] = given[name] and Path(given[name])
    return load(given.pop("path"), **given)


async def _serve(channel: socket.socket, loaded: Loaded, launch: Launch) -> None:
    config, registry = loaded.config.triggers[launch.trigger], loaded.registry
    async with NatsBus(config.bus, loaded.config.buses[config.bus], urls=launch.urls) as bus:
        steps = RuntimeSteps(loaded.config, {})
        resources = Resources(registry, bus, steps.over)
        pipeline = bind(registry.pipelines[config.pipeline], registry=registry, bus=bus, resources=resources)
        await bus.wait_connected()
        async with resources:
            channel.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=channel, limit=LONGEST_LINE)
            manual = config.ack == "manual"
            await _Worker(launch.trigger, bus, pipeline, writer, manual=manual).serve(reader)


class _Worker:
    """Runs handlers, one at a time, as the parent says."""

    def __init__(
        self, trigger: str, bus: NatsBus, pipeline: BoundPipeline, writer: asyncio.StreamWriter, *, manual: bool
    ) -> None:
        self._trigger, self._bus, self._pipeline, self._writer = trigger, bus, pipeline, writer
        self._manual = manual
        self._answers: deque[asyncio.Future[Any]] = deque()
        self._tried = 0

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Return when the parent has closed, or is gone."""
        self._say("ready")
        handling: asyncio.Task[None] | None = None
        while line := await reader.readline():
            match json.loads(line):
                case ["delivery", *fields]:
                    handling = asyncio.create_task(self._handle(Message(read_raw(fields))))
                case ["answer", result, error]:
                    answer = self._answers.popleft()
                    if not answer.done():
                        answer.set_exception(BusUnavailableError(error)) if error else answer.set_result(result)
        signal.alarm(_LEAVES_WITHIN)  # nobody may be left who ends us where a handler or a resource does not end
        if handling is not None:
            handling.cancel()
            await asyncio.wait([handling])

    async def _handle(self, message: Message) -> None:
        await self._bus.wait_connected()  # our connection may come back later than the parent's
        slot = Slot(self._trigger, self._pipeline.name)
        slot.message = message
        current.set(slot)
        self._tried += 1
        delivery = _Delivery(message, self._trigger, self._bus, partial(self._call, self._tried))
        self._say("began")
        try:
            for outgoing in self._pipeline.outgoing(await self._pipeline.fire(delivery)):
                try:
                    await delivery.publish(outgoing)
                except Exception as error:
                    raise Unpublished(error) from error
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome of its message
            failure = failure_of(error)
            delivery.claimed = True
            self._say("ended", failure.reason, failure.text, failure.delay)
        else:
            delivery.claimed = delivery.claimed or not self._manual
            self._say("ended")

    async def _call(self, number: int, name: str, *arguments: Any) -> bool:
        answer = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._say("call", number, name, *arguments)
        return bool(await answer)

    def _say(self, *words: Any) -> None:
        self._writer.write(write_line(*words))


class _Delivery(Numbering):
    """A `pipelines.base.Delivery`: the parent, which holds the delivery, settles it; we publish."""

    def __init__(self, message: Message, trigger: str, bus: Bus, call: Callable[..., Awaitable[bool]]) -> None:
        self.message = message
        self.attempt = message.delivery_count
        self.claimed = False
        self._trigger, self._bus, self._call = trigger, bus, call
        self._positions, self._place, self._seen = 0, "", ""

    async def ack(self) -> bool:
        return self._claim() and await self._call("ack")

    async def nak(self, delay: float | None = None) -> bool:
        return self._claim() and await self._call("nak", delay)

    async def reject(self, reason: str = "") -> bool:
        return self._claim() and await self._call("reject", reason)

    async def progress(self) -> bool:
        return not self.claimed and await self._call("progress")

    def _claim(self) -> bool:
        claimed, self.claimed = self.claimed, True
        return not claimed

    async def publish(self, outgoing: Publish) -> PubAck:
        # As `ActiveDelivery` makes them, so that what a first try has published is not published twice.
        identity = self.id_of(outgoing, self._trigger)
        return await self._bus.publish(outgoing.subject, encode(outgoing.payload), outgoing.headers, id=identity)
