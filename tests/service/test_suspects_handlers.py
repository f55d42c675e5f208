"""What a handler can do in the process of a suspect, and how that ends: as it would anywhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from eventbus_runtime.testing.server import NatsServer
from tests.service.suspects import DEAD, dead_letters, deliver, pending, wait_until_dead_lettered, worker

IDLE = ("--stop-when-idle", "500ms")
RAISES = """
    @pipeline
    async def work(message: Message) -> None:
        {}
"""
IN_THREAD = """
    @pipeline
    def work(message: Message) -> None:
        {}
"""
TYPED = """
    @pipeline
    async def work(order: dict) -> None:
        {}
"""
ENDS = {
    "error": (RAISES, "raise ValueError('no')", "exhausted", "ValueError: no (handlers.py:12 in work)"),
    "rejected": (RAISES, "raise Reject('bad')", "rejected", "bad"),
    "undecodable": (TYPED, "pass", "undecodable", ""),
    "timeout": (RAISES, "await asyncio.sleep(1000)", "exhausted", "the handler took longer"),
    "timeout in a thread": (IN_THREAD, "time.sleep(1000)", "exhausted", "the handler took longer"),
    "timeout in a blocked event loop": (RAISES, "time.sleep(1000)", "exhausted", "the handler took longer"),
    "unpublished": (RAISES, "return Publish('nobody.stores.it')", "exhausted", "its publish failed: "),
    "exit": (RAISES, "os._exit(0)", "killed-worker", "its process exited with code 0"),
    "sys.exit": (RAISES, "sys.exit(0)", "exhausted", "SystemExit: 0"),
    "signal": (RAISES, "os.abort()", "killed-worker", "its process was killed by SIGABRT"),
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_suspect_that_fails_is_dead_lettered_with_its_reason(
    how: str, tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    handler, does, reason, text = ENDS[how]
    await deliver(js, [b"poison"])
    one = worker(tmp_path / "app", server, handler.format(does), *IDLE, more=DEAD + '\n    timeout = "1s"')
    assert one.run() == 0
    assert await dead_letters(js) == [(b"poison", reason)]
    (line,) = (line for line in one.log if line["event"] == "delivery failed")
    assert (line["reason"], line["settlement"], line["attempt"]) == (reason, "dead_letter", 2)
    assert text in line["error"]
    assert await pending(js) == (0, 0)


async def test_a_killer_without_a_dead_letter_is_terminated_where_that_is_asked_for(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"poison"])
    one = worker(tmp_path / "app", server, RAISES.format("os._exit(1)"), *IDLE, more='on_exhausted = "terminate"')
    assert one.run() == 0
    (line,) = (line for line in one.log if line["event"] == "delivery failed")
    assert (line["reason"], line["settlement"]) == ("killed-worker", "term")
    assert await pending(js) == (0, 0)


async def test_what_a_handler_leaves_behind_is_not_charged_to_the_next_suspect(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    """The first ends well, and its thread ends the process while the second one runs."""
    await deliver(js, [b"first", b"second"])
    handler = """
        @pipeline
        async def work(message: Message) -> None:
            if message.payload == b"first":
                threading.Timer(0.3, os._exit, [7]).start()
            else:
                await asyncio.sleep(1)
            say("handled", message.payload.decode())
    """
    one = worker(tmp_path / "app", server, handler, *IDLE)
    assert one.run() == 0
    assert one.lines == ["handled first child", "handled second child"]
    assert await dead_letters(js) == []


async def test_the_death_is_seen_although_a_process_that_the_handler_forked_lives_on(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"poison"])
    handler = """
        @pipeline
        async def work(message: Message) -> None:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            say(pid)
            os._exit(1)
    """
    with worker(tmp_path / "app", server, handler) as one:
        one.wait_lines(1)
        await wait_until_dead_lettered(js)
        os.kill(int(one.lines[0].split()[0]), signal.SIGKILL)
        one.signal()
        assert one.wait() == 0


async def test_suspects_run_one_at_a_time_and_others_beside_them(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"1", b"2", b"3"])
    await js.publish("orders.created", b"first delivery")
    handler = """
        @pipeline
        async def work(message: Message) -> None:
            say("start", message.sequence)
            await asyncio.sleep(0.3 if message.sequence < 4 else 0.05)
            say("end", message.sequence)
    """
    one = worker(tmp_path / "app", server, handler, *IDLE)
    assert one.run() == 0
    suspects = [line for line in one.lines if line.endswith("child")]
    assert suspects == [f"{what} {number} child" for number in (1, 2, 3) for what in ("start", "end")]
    assert one.lines[:2] == ["start 4 main", "end 4 main"]


async def test_suspects_that_wait_do_not_hold_up_the_time_outs_of_others(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"1", b"2", b"3", b"4"])
    await js.publish("orders.created", b"first delivery")
    handler = """
        @pipeline
        async def work(message: Message) -> None:
            try:
                await asyncio.sleep(0.8 if message.sequence < 5 else 1000)
            except asyncio.CancelledError:
                say("cancelled", message.sequence)
                raise Reject
            say("end", message.sequence)
    """
    one = worker(tmp_path / "app", server, handler, *IDLE, more=DEAD + '\n    timeout = "1s"')
    assert one.run() == 0
    assert [line for line in one.lines if line.endswith("child")] == [f"end {number} child" for number in (1, 2, 3, 4)]
    assert one.lines.index("cancelled 5 main") < one.lines.index("end 3 child")


async def test_what_a_killed_handler_had_published_is_not_published_twice(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await js.add_stream(name="OUT", subjects=["out.>"])
    await deliver(js, [b"one"], times=0)
    handler = """
        @pipeline
        async def work(message: Message, delivery: Delivery) -> Publish:
            await delivery.publish(Publish("out.by.hand", b"x"))
            if MAIN:
                await delivery.publish(Publish("out.returned", b"x"))
                os._exit(9)
            return Publish("out.returned", b"x")
    """
    assert worker(tmp_path / "first", server, handler, ack_wait="1s").run() == 9
    assert worker(tmp_path / "second", server, handler, *IDLE, ack_wait="1s").run() == 0
    assert (await js.stream_info("OUT")).state.messages == 2
    assert await dead_letters(js) == []
    assert await pending(js) == (0, 0)


async def test_a_suspect_is_settled_by_hand_once_while_its_handler_runs_or_later(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"now", b"later", b"reject"])
    handler = """
        tasks = []

        async def later(delivery):
            await asyncio.sleep(0.2)
            say("later", await delivery.ack(), await delivery.nak())

        @pipeline
        async def work(message: Message, delivery: Delivery) -> None:
            match message.payload:
                case b"now":
                    say("now", await delivery.progress(), await delivery.ack(), await delivery.reject())
                case b"later":
                    tasks.append(asyncio.create_task(later(delivery)))
                case b"reject":
                    say("reject", await delivery.reject("bad"))
    """
    more = DEAD + '\n    ack = "manual"'
    with worker(tmp_path / "app", server, handler, ack_wait="2s", more=more) as one:
        await wait_until_dead_lettered(js)
        one.wait_lines(3)
        one.signal()
        assert one.wait() == 0
        assert one.has_logged("summary of trigger work")
    assert one.lines == ["now True True False child", "later True False child", "reject True child"]
    assert await dead_letters(js) == [(b"reject", "rejected")]


async def test_a_suspect_that_nobody_settles_is_left_when_its_lease_is_over(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    """What its code says too late is not taken for a word about the next one."""
    await deliver(js, [b"late", b"next"])
    handler = """
        tasks, over = [], asyncio.Event()

        async def later(delivery):
            await over.wait()
            say("late", await delivery.reject())

        @pipeline
        async def work(message: Message, delivery: Delivery) -> None:
            if message.payload == b"next":
                over.set()
                await tasks[0]
                say("next", await delivery.ack())
            elif message.delivery_count == 2:
                tasks.append(asyncio.create_task(later(delivery)))
            else:
                await delivery.ack()
    """
    more = DEAD + '\n    ack = "manual"\n    max_in_flight = 2'  # no room for a redelivery while both are held
    one = worker(tmp_path / "app", server, handler, *IDLE, ack_wait="2s", more=more)
    assert one.run() == 0
    assert one.lines == ["late False child", "next True child"]
    assert await dead_letters(js) == []
    assert await pending(js) == (0, 0)


async def test_a_suspect_that_no_process_can_be_started_for_is_put_off_and_not_dead_lettered(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    """A resource that only one process can hold, until it is given back."""
    await deliver(js, [b"one", b"two"])
    flag = tmp_path / "free"
    handler = f"""
        class Port: ...

        @resource
        async def port() -> Port:
            if not MAIN and not os.path.exists({str(flag)!r}):
                raise OSError("address already in use")
            return Port()

        @pipeline
        async def work(message: Message, port: Port) -> None:
            say("handled", message.payload.decode())
    """
    with worker(tmp_path / "app", server, handler) as one:
        one.wait_logged("could not be opened: OSError: address already in use")
        assert one.lines == []
        flag.touch()
        one.wait_lines(2)
        one.signal()
        assert one.wait() == 0
    assert sorted(one.lines) == ["handled one child", "handled two child"]
    assert {line["settlement"] for line in one.log if line["event"] == "delivery failed"} == {"nak"}
    assert await dead_letters(js) == []


async def test_log_lines_of_a_suspects_handler_carry_their_delivery(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"one"])
    one = worker(tmp_path / "app", server, RAISES.format("__import__('logging').getLogger().warning('ours')"), *IDLE)
    assert one.run() == 0
    (line,) = (line for line in one.log if line["event"] == "ours")
    assert (line["trigger"], line["stream"], line["sequence"]) == ("work", "ORDERS", 1)
