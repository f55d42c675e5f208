"""The batch parser says what nats-py's own parser says, however the stream is cut."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from types import FrameType
from typing import Any, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError

from eventbus_runtime.buses.nats.parser import _Sizes
from eventbus_runtime.message import Raw
from tests.buses.recorder import OURS, Recorder, by_nats_py, cut, msg, same

ACK = b"$JS.ACK.ORDERS.billing.1.123.123.1700000000000000000.0"
HEADERS = b"NATS/1.0\r\nA: 1\r\nA: 2\r\nB: \xff\r\n\r\n"
TIMEOUT = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n"
STATUSES = (TIMEOUT, b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 4\r\n\r\n")
OPERATIONS = (
    b'INFO {"server_id":"A","max_payload":1048576}\r\n',
    b"PING\r\n",
    b"PONG\r\n",
    b"PING \t\r\n",
    b"+OK\r\n",
    b"-ERR 'Permissions Violation for Publish to \"x y\"'\r\n",
)
LOOKALIKES = (b"\r\n", b"\n", b"\r", b"MSG a 7 5\r\n", b"PING\r\n", b"\r\nMSG a.b 8 2\r\nhi\r\n", b"-ERR '", b"")
WHOLE = b"".join(
    [
        msg(7, b"one", reply=ACK),
        msg(8, b"", reply=ACK),
        OPERATIONS[1],
        msg(9, b"theirs\r\n", headers=HEADERS, reply=b"r"),
        msg(7, b"\r\nPING\r\n", headers=HEADERS),
        b"HMSG\ta.b  8 \t r  %d\t%d\r\n%b\r\n" % (len(TIMEOUT), len(TIMEOUT), TIMEOUT),
        OPERATIONS[5],
        OPERATIONS[0],
        b"MSG  a.b\t7\t3\r\nend\r\n",
        b"MSG  7 8 3\r\nend\r\n",
        b"MSG a.b  8 4\r\nend\n\r\n",
        b"MSG a.b 8  4\r\n2.9\n\r\n",  # where no reply is, nats-server 2.9 writes two spaces
        b"HMSG a.b 7  %d %d\r\n%b\r\n" % (len(TIMEOUT), len(TIMEOUT), TIMEOUT),
    ]
)


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    """One command of a server; mostly a message, with blanks as nats-py takes them."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(OPERATIONS))
    headers = draw(st.sampled_from([b"", b"", HEADERS, *STATUSES]))
    pieces = draw(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(LOOKALIKES)), max_size=4))
    payload = b"" if headers in STATUSES else b"".join(pieces)
    words = [b"HMSG" if headers else b"MSG", draw(st.sampled_from([b"a", b"8", b"b.c", b"\xc3\xa9.x"]))]
    words.append(b"%d" % draw(st.sampled_from([*OURS, 9, 10])))
    words += draw(st.sampled_from([[], [b"r"], [ACK]]))
    words += [b"%d" % len(headers)] if headers else []
    words.append(b"%d" % (len(headers) + len(payload)))
    blanks = [b" "] if draw(st.booleans()) else draw(st.sampled_from([[b" ", b"  "], [b" ", b"\t", b"\t ", b" \t"]]))
    line = words[0] + b"".join(draw(st.sampled_from(blanks)) + word for word in words[1:])
    return b"%b\r\n%b%b\r\n" % (line, headers, payload)


streams = st.lists(commands(), max_size=25).map(b"".join)
places_in_it = st.lists(st.floats(0, 1), max_size=12)


@settings(max_examples=300, deadline=None)
@given(streams, places_in_it)
def test_any_stream_cut_anywhere_is_told_as_by_nats_py(stream: bytes, places: list[float]) -> None:
    async def check() -> None:
        recorder = Recorder()
        recorder.plug()
        await recorder.feed(*cut(stream, [round(place * len(stream)) for place in places]))
        assert same(recorder, await by_nats_py(stream))

    asyncio.run(check())


@settings(max_examples=200, deadline=None)
@given(streams, places_in_it, st.integers(0, 12), st.integers(0, 12))
def test_the_same_when_it_is_plugged_in_and_out_on_the_way(
    stream: bytes, places: list[float], start: int, stop: int
) -> None:
    async def check() -> None:
        recorder = Recorder()
        reads = cut(stream, [round(place * len(stream)) for place in places])
        await recorder.feed(*reads[:start])
        parser = recorder.plug()
        await recorder.feed(*reads[start : start + stop])
        parser.unplug()
        await recorder.feed(*reads[start + stop :])
        assert same(recorder, await by_nats_py(stream))

    asyncio.run(check())


async def test_every_single_cut_and_every_size_of_reads_will_do() -> None:
    expected = await by_nats_py(WHOLE)
    for place in range(len(WHOLE)):
        size = place % 40 + 1
        for places in ([place], range(0, len(WHOLE), size)):
            recorder = Recorder()
            recorder.plug()
            await recorder.feed(*cut(WHOLE, places))
            assert same(recorder, expected), places


@pytest.mark.parametrize("size", [1000, 4096, 32768, 1 << 24])
async def test_payloads_of_many_reads_come_whole(size: int) -> None:
    payloads = [os.urandom(n) for n in (1 << 20, 8 << 20, 65536, 32766, 0)]
    stream = b"".join(msg(sid, body, headers=h) for body in payloads for sid in (7, 9) for h in (b"", HEADERS))
    recorder = Recorder()
    recorder.plug()
    await recorder.feed(*cut(stream, range(size, len(stream), size)))
    assert same(recorder, await by_nats_py(stream))


class Counted(bytes):
    """A read that counts the bytes that are looked at in it, and taken from it."""

    seen = 0

    def find(self, sub: Any, start: Any = None, stop: Any = None) -> int:
        found = super().find(sub, start, stop)
        Counted.seen += (found if found >= 0 else len(self)) - (start or 0)
        return found

    def __radd__(self, head: bytes) -> Counted:
        Counted.seen += len(head) + len(self)
        return Counted(head + bytes(self))

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        taken = super().__getitem__(key)
        Counted.seen += len(taken) if isinstance(taken, bytes) else 1
        return taken


async def test_of_a_large_payload_each_byte_is_taken_once_and_joined_once() -> None:
    size, stream = 8 << 20, msg(7, bytes(8 << 20), reply=ACK)
    recorder = Recorder()
    recorder.plug()
    await recorder.feed(b"PONG\r\n")
    calls = Counter[str]()

    def count(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            calls[called.__name__] += 1

    Counted.seen = 0
    reads = [Counted(read) for read in cut(stream, range(4096, len(stream), 4096))]
    sys.setprofile(count)
    try:
        await recorder.feed(*reads)
    finally:
        sys.setprofile(None)
    assert recorder.calls[-1][4] == bytes(size)
    assert Counted.seen < size + 2 * 4096
    assert calls["join"] == 1
    assert calls["extend"] <= 2  # nats-py's own buffer holds the control line and no more


async def test_a_line_in_many_reads_costs_linear_time() -> None:
    line = b'INFO {"connect_urls":["%b"]}\r\n' % (b"x" * 500_000)
    recorder = Recorder()
    recorder.plug()
    await recorder.feed(b"PONG\r\n")
    Counted.seen = 0
    await recorder.feed(*(Counted(read) for read in cut(line, range(100, len(line), 100))))
    assert recorder.calls[-1] == ("info", {"connect_urls": ["x" * 500_000]})
    assert Counted.seen < 10 * len(line)  # and not 5,000 reads times what came before them


@pytest.mark.parametrize("word", [b"a\x0b9", b"a\x0c9", b"a\r9", b"\x0b", b"a\r", b"a.\xff\xfe", b"a\x85b", b"a\0b"])
async def test_a_word_that_nats_py_would_split_or_not_decode_is_told_as_it_is(word: bytes) -> None:
    """Servers let anybody publish to such subjects; see `test_odd_subjects.py`."""
    stream = msg(7, b"x", subject=word) + msg(9, b"y", subject=word, reply=word) + msg(9, b"z", subject=word)
    stream += msg(8, b"\r\n", headers=HEADERS, subject=word, reply=word) + b"PING\r\n"
    for place in range(len(stream)):
        recorder = Recorder()
        recorder.plug()
        await recorder.feed(*cut(stream, [place, place + 20]))
        assert recorder.calls == [
            ("msg", 7, word, b"", b"x", None),
            ("msg", 9, word, word, b"y", None),
            ("msg", 9, word, b"", b"z", None),
            ("msg", 8, word, word, b"\r\n", HEADERS),
            ("ping",),
        ]


async def test_each_sink_gets_one_list_a_read() -> None:
    recorder = Recorder()
    recorder.plug()
    stream = b"".join(msg(sid, b"%d" % n) for n in range(50) for sid in (7, 8, 8))
    half = len(stream) // 2
    await recorder.feed(stream[:half], stream[half:])
    assert len(recorder.lists) == 4
    assert sum(len(raws) for raws in recorder.lists) == 150


@pytest.mark.parametrize("operation", [*OPERATIONS[:4], OPERATIONS[5], msg(9, b"theirs")])
async def test_what_came_before_is_in_its_sink_by_then(operation: bytes) -> None:
    recorder = Recorder()
    recorder.plug()
    await recorder.feed(msg(7, b"before") + msg(8, b"before") + operation + msg(7, b"after"))
    assert [call[4] if call[0] == "msg" else call[0] for call in recorder.calls] == [
        b"before",
        b"before",
        recorder.calls[2][4] if recorder.calls[2][0] == "msg" else recorder.calls[2][0],
        b"after",
    ]
    assert [call[1] for call in recorder.calls if call[0] == "msg" and call[1] in OURS] == [7, 8, 7]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 7 x\r\n",
        b"MSG a 7 -5\r\n",
        b"MSG a 7 1_0\r\n",
        b"MSG a seven 5\r\n",
        b"MSG a seven 5\r\nhello\r\n",
        b"MSG a 7 r s 5\r\n",
        b"MSG a\r\n",
        b"MSG\r\n",
        b"HMSG a 7 r x 5\r\nhello\r\n",
        b"HMSG a 7 5\r\n",
        b"MSG a 7 %b\r\n" % (b"9" * 5000),
        b"PUB a 0\r\n",
        b"\r\n",
        b" PING\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"x" * 5000 + b"\r\n",
    ],
)
async def test_what_is_no_nats_is_a_protocol_error_behind_what_came_before(line: bytes) -> None:
    for places in (range(0), range(1, len(line) + 30, 3)):
        recorder = Recorder()
        recorder.plug()
        with pytest.raises(ProtocolError):
            await recorder.feed(*cut(msg(7, b"before") + line, places))
        assert recorder.calls == [("msg", 7, b"a.b", b"", b"before", None)]


def test_not_every_size_that_comes_is_kept_in_memory() -> None:
    sizes = _Sizes()
    assert all(sizes[b"%d" % number] == number for number in range(10_000))
    assert len(sizes) < 5000


@pytest.mark.parametrize("start", [b"MSG a 7 ", b"INFO ", b"x"])
async def test_a_line_that_never_ends_does_not_fill_the_memory(start: bytes) -> None:
    recorder = Recorder()
    recorder.plug()
    with pytest.raises(ProtocolError):
        await recorder.feed(start, *[b"1" * 32768] * 40)


async def test_a_sink_that_raises_is_reported_and_the_others_go_on() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    recorder = Recorder()
    parser = recorder.plug()

    def broken(raws: list[Raw]) -> None:
        raise ValueError("boom")

    parser.slots.add(6, broken)
    for _ in range(2):
        await recorder.feed(msg(6, b"x") + msg(7, b"y") + b"PING\r\n")
    assert [call[0] for call in recorder.calls] == ["msg", "ping"] * 2
    assert [str(context["exception"]) for context in reported] == ["boom"] * 2


async def test_a_sink_may_forget_another_and_add_one() -> None:
    recorder = Recorder()
    parser = recorder.plug()

    def change(raws: list[Raw]) -> None:
        parser.slots.forget(7)
        parser.slots.add(5, recorder.sink(5))

    parser.slots.add(6, change)
    await recorder.feed(msg(6, b"x") + msg(7, b"dropped") + b"PING\r\n" + msg(5, b"new") + msg(7, b"theirs now"))
    assert [call[4] for call in recorder.calls if call[0] == "msg"] == [b"new", b"theirs now"]


async def test_an_error_of_nats_py_is_raised_as_by_its_own_parser() -> None:
    recorder = Recorder()
    recorder.plug()

    async def fail() -> None:
        raise OSError("broken pipe")

    recorder.meanwhile = fail
    with pytest.raises(OSError, match="broken pipe"):
        await recorder.feed(msg(7, b"before") + b"PING\r\n")
    assert [call[0] for call in recorder.calls] == ["msg", "ping"]
