"""Plugging the batch parser in and out of a connection in use, and nats-py's resets."""

from __future__ import annotations

import asyncio

import pytest
from nats.protocol.parser import Parser

from eventbus_runtime.message import Raw
from tests.buses.recorder import Recorder, by_nats_py, cut, msg, same

HEADERS = b"NATS/1.0\r\nA: 1\r\n\r\n"
STREAM = b"".join(
    [msg(7, b"one", headers=HEADERS), b"PING\r\n", msg(9, b"two"), msg(8, b"\r\n"), b"-ERR 'e'\r\n", msg(7, b"")]
)


async def test_plugged_in_and_out_at_any_byte_nothing_is_lost_or_told_twice() -> None:
    expected = await by_nats_py(STREAM)
    for start in range(len(STREAM) + 1):
        for stop in range(start, len(STREAM) + 1, 5):
            recorder = Recorder()
            await recorder.feed(STREAM[:start])
            parser = recorder.plug()
            await recorder.feed(STREAM[start : (start + stop) // 2], STREAM[(start + stop) // 2 : stop])
            assert not parser._before.buf
            parser.unplug()
            assert type(recorder._ps) is Parser
            await recorder.feed(STREAM[stop:])
            assert same(recorder, expected), (start, stop)


@pytest.mark.parametrize("place", range(0, len(STREAM), 3))
async def test_plugged_in_and_out_between_two_reads_it_changes_nothing(place: int) -> None:
    recorder = Recorder()
    await recorder.feed(STREAM[:place])
    recorder.plug().unplug()
    await recorder.feed(STREAM[place:])
    assert same(recorder, await by_nats_py(STREAM))


async def test_a_sink_may_unplug_in_the_middle_of_a_read() -> None:
    def plugged() -> Recorder:
        recorder = Recorder()
        parser = recorder.plug()
        take = recorder.sink(7)

        def end(raws: list[Raw]) -> None:
            take(raws)
            parser.unplug()

        parser.slots.add(7, end)
        return recorder

    for stream in (STREAM, STREAM.replace(b"PING\r\n", b"")):
        for size in range(1, len(stream) + 1):
            recorder = plugged()
            await recorder.feed(*cut(stream, range(size, len(stream), size)))
            assert type(recorder._ps) is Parser
            assert same(recorder, await by_nats_py(stream)), size


@pytest.mark.parametrize("operation", ["ping", "err"])
@pytest.mark.parametrize("again", [False, True])
async def test_another_task_may_unplug_while_a_callback_runs(operation: str, again: bool) -> None:
    """And plug another in, as a new link on the same connection does."""
    recorder = Recorder()
    parser = recorder.plug()

    async def end() -> None:
        parser.unplug()
        await asyncio.sleep(0)
        if again:
            recorder.plug()

    async def meanwhile() -> None:
        if recorder.calls[-1][0] == operation:
            recorder.meanwhile = None
            await asyncio.create_task(end())

    recorder.meanwhile = meanwhile
    await recorder.feed(STREAM * 3)
    assert (type(recorder._ps) is Parser) is not again
    assert same(recorder, await by_nats_py(STREAM * 3))
    await recorder.feed(STREAM)
    assert same(recorder, await by_nats_py(STREAM * 4))


@pytest.mark.parametrize("operation", ["ping", "err"])
async def test_plugged_in_while_nats_py_s_parser_is_at_work(operation: str) -> None:
    recorder = Recorder()

    async def begin() -> None:
        if recorder.calls[-1][0] == operation:
            recorder.meanwhile = None
            recorder.plug()

    recorder.meanwhile = begin
    await recorder.feed(STREAM + STREAM[:5], STREAM[5:])
    assert type(recorder._ps) is not Parser
    assert same(recorder, await by_nats_py(STREAM * 2))


@pytest.mark.parametrize("stop", range(0, len(STREAM), 3))
async def test_a_reset_drops_what_was_read_in_part(stop: int) -> None:
    """As nats-py does when it gives a connection up; the next one begins with a new line."""
    recorder = Recorder()
    recorder.plug()
    await recorder.feed(STREAM[: stop // 2], STREAM[stop // 2 : stop])
    recorder._ps.reset()
    recorder.calls.clear()
    await recorder.feed(STREAM[:20], STREAM[20:])
    assert same(recorder, await by_nats_py(STREAM))


@pytest.mark.parametrize("is_plugged", [True, False])
async def test_a_reset_in_the_middle_of_a_read_drops_the_rest_of_it(is_plugged: bool) -> None:
    recorder = Recorder()
    if is_plugged:
        recorder.plug()

    async def reset() -> None:
        recorder._ps.reset()

    recorder.meanwhile = reset
    await recorder.feed(msg(7, b"x") + b"PONG\r\n" + msg(7, b"dropped"), msg(7, b"new"))
    assert [call[4] for call in recorder.calls if call[0] == "msg"] == [b"x", b"new"]


async def test_a_reset_before_the_first_read_drops_what_nats_py_had_read_in_part() -> None:
    recorder = Recorder()
    await recorder.feed(msg(7, b"old")[:12])
    recorder.plug()
    recorder._ps.reset()
    await recorder.feed(msg(7, b"new"))
    assert recorder.calls == [("msg", 7, b"a.b", b"", b"new", None)]


async def test_a_reset_after_unplugging_in_a_read_drops_the_rest_of_that_read() -> None:
    recorder = Recorder()
    parser = recorder.plug()

    async def end() -> None:
        parser.unplug()
        recorder._ps.reset()

    recorder.meanwhile = end
    await recorder.feed(b"PONG\r\n" + msg(7, b"dropped"), msg(7, b"new"))
    assert recorder.calls == [("pong",), ("msg", 7, b"a.b", b"", b"new", None)]


async def test_a_parser_that_somebody_put_over_ours_stays() -> None:
    recorder = Recorder()
    parser = recorder.plug()

    class Over(Parser):  # type: ignore[misc, unused-ignore]
        async def parse(self, data: bytes = b"") -> None:
            await parser.parse(data)

    over = recorder._ps = Over(recorder)
    parser.slots.forget(7)
    parser.unplug()
    assert recorder._ps is over
    await recorder.feed(msg(7, b"x"))
    assert recorder.calls == [("msg", 7, b"a.b", b"", b"x", None)]
