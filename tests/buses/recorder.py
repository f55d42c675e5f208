"""What nats-py's client would be told by a parser, written down; and what sinks are given, in the same words."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from nats.aio.client import Client
from nats.protocol.parser import Parser

from eventbus_runtime.buses.base import Sink
from eventbus_runtime.buses.nats.parser import BatchParser
from eventbus_runtime.message import Raw

Call = tuple[Any, ...]
OURS = (7, 8)


class Recorder:
    """Stands where a parser expects its client. `meanwhile` is awaited in each call but a message's."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.lists: list[list[Raw]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self._ps: Any = Parser(self)

    @property
    def client(self) -> Client:
        """This, in a client's clothes."""
        return cast(Client, self)

    def sink(self, sid: int) -> Sink:
        """A sink that writes down what comes for `sid`."""

        def take(raws: list[Raw]) -> None:
            self.lists.append(raws)
            self.calls.extend(("msg", sid, *raw) for raw in raws)

        return take

    def plug(self) -> BatchParser:
        """The batch parser, plugged in, with sinks for `OURS`."""
        parser = BatchParser(self.client)
        for sid in OURS:
            parser.slots.add(sid, self.sink(sid))
        return parser

    async def feed(self, *reads: bytes) -> None:
        """Give reads to the parser that is plugged in at that moment, as nats-py's `_read_loop` does."""
        for read in reads:
            await self._ps.parse(read)

    def of(self, sid: int) -> list[Call]:
        """All calls but those for other sids of `OURS`: sinks are called one after the other, so between them there is
        no order."""
        others = {ours for ours in OURS if ours != sid}
        return [call for call in self.calls if call[0] != "msg" or call[1] not in others]

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.calls.append(("msg", sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        await self._note("ping")

    async def _process_pong(self) -> None:
        await self._note("pong")

    async def _process_err(self, text: str) -> None:
        await self._note("err", text)

    async def _process_info(self, info: dict[str, Any]) -> None:
        await self._note("info", info)

    async def _note(self, *call: object) -> None:
        self.calls.append(call)
        await asyncio.sleep(0)
        if self.meanwhile is not None:
            await self.meanwhile()


async def by_nats_py(stream: bytes) -> Recorder:
    """What nats-py's own parser makes of `stream`, uncut."""
    recorder = Recorder()
    await recorder.feed(stream)
    return recorder


def same(one: Recorder, other: Recorder) -> bool:
    """Whether both were told the same, in the same order."""
    return all(one.of(sid) == other.of(sid) for sid in OURS)


def cut(stream: bytes, at: Sequence[int]) -> list[bytes]:
    """`stream` in pieces; an empty one where a place comes twice."""
    places = [0, *sorted(at), len(stream)]
    return [stream[start:stop] for start, stop in itertools.pairwise(places)]


def msg(sid: int, payload: bytes, *, reply: bytes = b"", headers: bytes = b"", subject: bytes = b"a.b") -> bytes:
    """A message as a server sends it."""
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid]
    words += [reply] if reply else []
    words += [b"%d" % len(headers)] if headers else []
    return b"%b %d\r\n%b%b\r\n" % (b" ".join(words), len(headers) + len(payload), headers, payload)
