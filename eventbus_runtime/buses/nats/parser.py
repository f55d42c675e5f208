"""The batch parser: scans each read once, where nats-py's own matches seven patterns and awaits for each message.

It stands on private parts of nats-py, tried on 2.10.0 to 2.16.0; `is_known` tells whether they are as expected.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, Parser

from eventbus_runtime.buses.nats.shortcut import shorten
from eventbus_runtime.buses.nats.slots import Slots

# Subscription id, subject, reply, payload, header block: what nats-py's `_process_msg` takes.
_Theirs: TypeAlias = tuple[int, bytes, bytes, bytes, bytes | None]

# nats-py has no bound. A server's INFO names every server of its cluster, and its `max_control_line` can be raised.
_LONGEST_LINE = 1 << 20
_CRLF = 2
_TAB = 9
# No message has so many bytes: what stands where a size should is none.
_NO_SIZE = 1 << 62
_MOST_SIZES = 4096


def is_known(client: Client) -> bool:
    """Whether nats-py's parser works as `BatchParser` expects: where it keeps a half-read message, and who feeds it."""
    try:
        if type(client._ps) is not Parser or not {"_ps", "parse"}.issubset(Client._read_loop.__code__.co_names):
            return False
        probe: Any = Parser(None)
        probe.parse(b"HMSG a 7 r 12 14\r\nNA").send(None)
    except StopIteration:
        kept = (probe.nc, probe.buf, probe.state, probe.needed, probe.header_needed, probe.msg_arg)
        probe.reset()
        empty = (probe.buf, probe.state)
        return (*kept, *empty) == (
            *(None, b"NA", AWAITING_MSG_PAYLOAD, 14, 12, {"subject": b"a", "sid": 7, "reply": b"r"}),
            *(b"", AWAITING_CONTROL_LINE),
        )
    except Exception:  # noqa: BLE001 - whatever it is, this is not the parser that we know
        return False
    return False


class _Sizes(dict[bytes, int]):
    """Numbers of bytes by their digits; looking one up costs a third of `int`."""

    def __missing__(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > 18:
            return _NO_SIZE
        size = int(digits)
        if len(self) < _MOST_SIZES:
            self[digits] = size
        return size


class BatchParser(Parser):
    """Stands in for the parser of one nats-py client, from now until `unplug`.

    Messages of the subscriptions in `slots` go to their sinks, in one list per read; all else takes nats-py's own way,
    and what came before it has been handed out by then.

    A message's line is split at spaces, as servers write it, and at nothing else: they let anybody publish to a subject
    that holds a vertical tab, a form feed or a carriage return. nats-py's own parser takes these for white space, and
    the connection ends with each such message. Every other line is nats-py's own parser's.

    Reads come from nats-py's read loop by `parse`, and past it by `take`, where that way is there.

    As in nats-py, `buf` holds the head of an unfinished line, and `state`, `needed`, `header_needed` and `msg_arg` tell
    of an unfinished message; its payload is kept in pieces, to be joined once.
    """

    def __init__(self, client: Client) -> None:
        self.slots = Slots()
        self.users = 0
        self._sizes = _Sizes()
        self._is_parsing = False
        self._theirs_at = 0  # where in `_data` a message begins that is not ours
        self._before: Parser = client._ps
        self._is_new = self._is_gone = False
        super().__init__(client)
        self._is_new = True
        client._ps = self
        self._shortcut = shorten(client, self.take)

    def reset(self) -> None:
        """Forget what was read in part: nats-py calls this when it gives a connection up."""
        super().reset()
        self._pieces: list[bytes] = []
        self._came = 0  # bytes of the unfinished message so far, its line end included
        self._data, self._pos = b"", 0  # what `parse` is at; empty between reads
        if self._is_new:
            self._before.reset()

    def unplug(self) -> None:
        """Give nats-py its own parser back, with what was read in part. May be called by a sink."""
        before = self._before
        if self.nc._ps is not self:
            return
        self.nc._ps = before
        self._shortcut()
        self._is_gone = True
        if self._is_new:
            return
        if self._data:
            before.buf = bytearray(self._data[self._pos :])
        else:
            line_end = b"\r\n"[: max(self._came - self.needed, 0)]
            before.buf = self.buf + b"".join((*self._pieces, line_end))
        before.state, before.msg_arg = self.state, self.msg_arg
        before.needed, before.header_needed = self.needed, self.header_needed
        self.reset()

    def take(self, data: bytes) -> bytes:
        """Hand out at once the messages of ours that a read begins with, where all before it has been given to `parse`.

        Returns:
            What is left for `parse`, which is nats-py's own affair, or follows it.
        """
        if self._is_new or self._is_parsing or self.nc._ps is not self:
            return data
        if self.buf:
            if b"\n" not in data:
                return data
            data = bytes(self.buf) + data
            self.buf.clear()
        self._data, self._pos = data, 0
        while self._pos < len(data):
            if self.state == AWAITING_MSG_PAYLOAD:
                if b"%d" % self.msg_arg["sid"] not in self.slots.by_sid:
                    break
                self._take_payload()
            elif self._scan() is not None:
                self._pos = self._theirs_at
                break
            elif self.state == AWAITING_CONTROL_LINE:
                break
        rest = data[self._pos :]
        self._data, self._pos = b"", 0
        if self.state == AWAITING_CONTROL_LINE and b"\n" not in rest:
            self.buf += rest
            rest = b""
        self.slots.flush()
        return rest

    async def parse(self, data: bytes = b"") -> None:
        """Take one read.

        Raises:
            ProtocolError: the server sent what is no NATS.
        """
        self._is_parsing = True
        try:
            await self._parse(data)
        finally:
            self._is_parsing = False

    async def _parse(self, data: bytes) -> None:
        if self._is_new:
            data = self._taken_over() + data
        if self.buf and b"\n" in data:
            data = bytes(self.buf) + data
            self.buf.clear()
        self._data, self._pos = data, 0
        # `reset` and `unplug`, which may come whenever we await or hand out, empty `_data`.
        while self._pos < len(self._data):
            if self.state == AWAITING_MSG_PAYLOAD:
                theirs = self._take_payload()
            else:
                theirs = self._scan()
                if theirs is None and self.state == AWAITING_CONTROL_LINE:
                    await self._take_line()
            if theirs is not None:
                self.slots.flush()
                await self.nc._process_msg(*theirs)
        self._data = b""
        self.slots.flush()
        if self._is_gone:
            await self.nc._ps.parse()

    def _taken_over(self) -> bytes:
        # Not before the first read: the parser that we replace may be at work while we are plugged in.
        self._is_new = False
        before = self._before
        self.state, self.msg_arg = before.state, before.msg_arg
        self.needed, self.header_needed = before.needed, before.header_needed
        rest = bytes(before.buf)
        before.reset()  # that may be megabytes of a payload
        return rest

    async def _take_line(self) -> None:
        # What is no message: nats-py's parser does what the line says. Without an end, it waits for the next read.
        data, pos = self._data, self._pos
        self.slots.flush()
        if self._data is not data:
            return
        eol = data.find(b"\r\n", pos)
        if eol >= 0:
            self._pos = eol + _CRLF
            await super().parse(data[pos : self._pos])
        else:
            self._pos = len(data)
            self.buf += data[pos:]
        if len(self.buf) > _LONGEST_LINE or (eol >= 0 and self.buf):
            raise ProtocolError("nats: unknown protocol")

    def _begin(self, subject: bytes, sid: bytes, reply: bytes, header: int, size: int) -> None:
        self.msg_arg = {"subject": subject, "sid": int(sid), "reply": reply}
        self.header_needed, self.needed = header, size
        self.state = AWAITING_MSG_PAYLOAD

    def _take_payload(self) -> _Theirs | None:
        # What there is of the unfinished message; the whole of it, once it is there and not ours.
        data, pos, missing = self._data, self._pos, self.needed - self._came
        if missing > 0:
            self._pieces.append(data[pos : pos + missing])
        self._pos = min(len(data), pos + missing + _CRLF)
        self._came += self._pos - pos
        if self._came < self.needed + _CRLF:
            return None
        whole, head, message = b"".join(self._pieces), self.header_needed, self.msg_arg
        self._pieces.clear()
        self._came = self.header_needed = 0
        self.state = AWAITING_CONTROL_LINE
        fields = (message["subject"], message["reply"], whole[head:], whole[:head] or None)
        slot = self.slots.by_sid.get(b"%d" % message["sid"])
        if slot is None:
            return (message["sid"], *fields)
        self.slots.put(slot, fields)
        return None

    def _scan(self) -> _Theirs | None:
        # The hot loop. Stops behind a message that is not ours and returns it, behind the line of one that has not come
        # whole, or before what is no message.
        data, pos = self._data, self._pos
        find, sizes, by_sid, end = data.find, self._sizes, self.slots.by_sid, len(data) - _CRLF
        last, theirs = None, None
        while (eol := find(b"\r\n", pos)) >= 0:
            start = body = eol + _CRLF
            line = data[pos:eol]
            if _TAB in line:  # the protocol allows it between words; no server writes it
                break
            match line.split(b" "):
                # nats-server 2.9 writes an empty word for a reply that is not there.
                case [b"MSG", subject, sid, reply, size]:
                    pass
                case [b"MSG", subject, sid, size]:
                    reply = b""
                case [b"HMSG", subject, sid, reply, head, size]:
                    body += sizes[head]
                case [b"HMSG", subject, sid, head, size]:
                    reply = b""
                    body += sizes[head]
                case _:
                    break
            stop = start + sizes[size]
            if not subject or body > stop:
                break
            if stop > end:
                if stop < _NO_SIZE and sid.isdigit():
                    self._begin(subject, sid, reply, body - start, stop - start)
                    pos = start
                break
            if sid != last:
                slot = by_sid.get(sid)
                if slot is None:
                    if sid.isdigit():
                        self._theirs_at = pos
                        pos, header = stop + _CRLF, data[start:body] or None
                        theirs = (int(sid), subject, reply, data[body:stop], header)
                    break
                last = sid
                if not slot.items:
                    self.slots.touched.append(slot)
                append = slot.items.append
            append((subject, reply, data[body:stop], None if body == start else data[start:body]))
            pos = stop + _CRLF
        self._pos = pos
        return theirs
