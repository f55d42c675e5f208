"""The child process in which a suspect's handler runs: started, talked to, and ended. Its own side is `suspect.py`.

Both sides say JSON lists, one a line, over a pair of sockets: standard output belongs to the user's code.

| we say | it says |
|---|---|
| `launch`, how | `ready`; or `failed`, why |
| `delivery`, its raw fields | `began`; then `call`, for each word of the handler about its delivery; `ended` |
| `answer`, the call's result and error | |
| nothing more: we close | nothing: its handler is cancelled, its resources are closed, it exits |
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import anyio

from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.message import Raw
from eventbus_runtime.triggers.delivery import ActiveDelivery
from eventbus_runtime.triggers.settlement import Failure

LONGEST_LINE = 2**31
"""Bytes. A message may be as large as the server's `max_payload`."""

_MAIN = """\
import sys
sys.path[:] = sys.argv[3:]
from eventbus_runtime.suspect import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""
_READY_WITHIN = 60.0
_ENDS_WITHIN = 1.0
_LOOKS = 0.5
_POLL = 0.005
_CALLS = ("ack", "nak", "reject", "progress")


class Launch(NamedTuple):
    """What the child needs to run the same handler; JSON holds all of it.

    Args:
        arguments: those of `config.loader.load`, see `Loaded.arguments`.
        trigger: whose handler.
        urls: addresses of the trigger's bus.
    """

    arguments: Mapping[str, Any]
    trigger: str
    urls: Sequence[str]


class UnstartedError(Exception):
    """No handler ran: the child could not be started, or ended before it. The text says why."""


class DiedError(Exception):
    """The child ended while a handler ran in it. The text says how."""


def write_line(*words: Any) -> bytes:
    """What one side says, as a line."""
    return json.dumps(words).encode() + b"\n"


def write_raw(raw: Raw) -> list[str | None]:
    """The fields of a delivery as JSON holds them."""
    return [None if field is None else b64encode(field).decode() for field in raw]


def read_raw(fields: Sequence[str | None]) -> Raw:
    """The other way round."""
    subject, reply, payload, block = fields
    return (
        b64decode(subject or ""),
        b64decode(reply or ""),
        b64decode(payload or ""),
        None if block is None else b64decode(block),
    )


class Child:
    """A started child, for one delivery after another.

    It ends with this process, however that ends (on Linux; elsewhere as soon as its event loop runs). It is in a
    session of its own, so that a terminal's Ctrl-C leaves it to us.

    Raises:
        UnstartedError: the system can't start a process.
    """

    def __init__(self) -> None:
        self.tried = 0
        """Deliveries that it was given."""
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._ours, theirs = socket.socketpair()
        # Without a `preexec_fn`, which would copy the page tables of a large process: the child itself asks the kernel
        # to end it with us. That fires when the *thread* that forked ends, so it must be the event loop's.
        with theirs:
            command = [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno()), str(os.getpid()), *sys.path]
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True
                )
            except OSError as error:
                self._ours.close()
                raise UnstartedError(f"{sys.executable} can't be run: {error.strerror}") from None

    async def launch(self, launch: Launch) -> None:
        """Return when it is ready for a delivery.

        Raises:
            UnstartedError: it can't load the configuration, open a resource, or connect.
        """
        self._ours.setblocking(False)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._ours, limit=LONGEST_LINE)
        self._say("launch", *launch)
        await self._hear_soon("ready")

    async def run(self, delivery: ActiveDelivery, began: Callable[[], None]) -> Failure | None:
        """Run its handler there, and publish what that returned; None after a success.

        Args:
            delivery: the delivery. What the handler says of it by hand is done here, at once.
            began: called when the handler begins.

        Raises:
            UnstartedError: the handler did not begin.
            DiedError: the child ended, and did not say how the handler did.
        """
        self.tried += 1
        self._say("delivery", *write_raw(delivery.message.raw))
        await self._hear_soon("began")
        began()
        while True:
            match await self._hear():
                case ["ended", *failure]:
                    return Failure(*failure) if failure else None
                case ["call", *call]:
                    await self._call(delivery, *call)

    async def serve(self, delivery: ActiveDelivery) -> None:
        """Do what it says of this delivery, whose handler has returned, until that is settled.

        Raises:
            DiedError: it ended before.
        """
        while not delivery.claimed:
            match await self._hear():
                case ["call", *call]:
                    await self._call(delivery, *call)

    async def end(self) -> None:
        """Cancel what runs in it and have it close its resources; after a second it is killed. Idempotent."""
        if self._writer is not None:
            self._writer.close()
        self._ours.close()
        try:
            with anyio.move_on_after(_ENDS_WITHIN, shield=True):
                while self._process.poll() is None:  # noqa: ASYNC110 - a Popen has no event to wait for
                    await asyncio.sleep(_POLL)
        finally:
            self._process.kill()  # does nothing where it has ended
            self._process.wait()

    async def _call(self, delivery: ActiveDelivery, number: int, name: str, *arguments: Any) -> None:
        assert name in _CALLS
        try:
            is_earlier = number != self.tried  # that one is over; its code does not know it yet
            self._say("answer", not is_earlier and await getattr(delivery, name)(*arguments), None)
        except BusUnavailableError as error:
            self._say("answer", None, str(error))

    def _say(self, *words: Any) -> None:
        assert self._writer is not None, "it is launched"
        self._writer.write(write_line(*words))

    async def _hear_soon(self, wanted: str) -> None:
        try:
            async with asyncio.timeout(_READY_WITHIN):
                while heard := await self._hear():
                    if heard == [wanted]:
                        return
                    if heard[0] == "failed":
                        raise UnstartedError(heard[1])
        except TimeoutError:
            raise UnstartedError(f"it was not {wanted} within {_READY_WITHIN:g} s") from None
        except DiedError as error:
            raise UnstartedError(str(error)) from None

    async def _hear(self) -> list[Any]:
        """What it says next; `["nothing"]` after half a second of silence.

        Raises:
            DiedError: it has ended.
        """
        ended = self._process.poll() is not None
        with suppress(OSError):
            try:
                async with asyncio.timeout(_LOOKS):
                    if line := await self._reader.readline():
                        words: list[Any] = json.loads(line)
                        return words
            except TimeoutError:
                # What a handler has forked may hold the socket open for longer than the child lives.
                if not ended:
                    return ["nothing"]
        raise DiedError(await self._last_words())

    async def _last_words(self) -> str:
        with anyio.move_on_after(_ENDS_WITHIN):
            while self._process.poll() is None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(_POLL)
        code = self._process.poll()
        if code is None:
            return "its process has closed the connection to us"
        if code >= 0:
            return f"its process exited with code {code}"
        try:
            return f"its process was killed by {signal.Signals(-code).name}"
        except ValueError:  # a real-time signal
            return f"its process was killed by signal {-code}"
