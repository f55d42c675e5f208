"""`ByteWindow`: four requests with inboxes and byte accounts of their own, and the message that is larger than one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.triggers.pull import Attach, Limits, Ping, Renew, Request
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from eventbus_runtime.triggers.status import Status

TOO_BIG = "409 Message Size Exceeds MaxBytes"


def status(text: str, messages: int, size: int) -> Status:
    block = f"NATS/1.0 {text}\r\nNats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {size}\r\n\r\n"
    return Status.parse(block.encode())


def started(capacity: int = 40, max_bytes: int = 400, limits: Limits | None = None) -> tuple[ByteWindow, list[Request]]:
    window = ByteWindow(capacity, max_bytes, limits)
    window.resume(0.0)
    return window, requests(window)


def requests(window: ByteWindow) -> list[Request]:
    commands = window.commands(0.0)
    asked = [command for command in commands if isinstance(command, Request)]
    assert len(asked) == len(commands), commands
    return asked


def asked(window: ByteWindow) -> list[tuple[int, int, int]]:
    return [(one.slot, one.batch, one.max_bytes) for one in requests(window)]


def test_four_requests_share_messages_and_bytes() -> None:
    window, open_ = started()
    assert [(one.slot, one.batch, one.max_bytes) for one in open_] == [(slot, 10, 100) for slot in range(4)]
    assert len({one.token for one in open_}) == 4
    assert (window.credit, window.free, window.free_bytes) == (40, 0, 0)


def test_few_slots_are_never_exceeded_by_four_requests() -> None:
    window, open_ = started(capacity=2)
    assert [(one.slot, one.batch) for one in open_] == [(0, 1), (1, 1)]
    assert window.free == 0


def test_each_request_obeys_the_consumers_limits() -> None:
    _, open_ = started(limits=Limits().within(max_expires=3.0, max_batch=5, max_bytes=60))
    assert {(one.batch, one.max_bytes, one.expires, one.heartbeat) for one in open_} == {(5, 60, 3.0, 1.0)}


def test_bytes_used_up_exactly_close_a_request_without_a_word() -> None:
    window, _ = started()
    assert window.admit(2, [60, 40], 1.0) == 2
    assert (window.credit, window.running_bytes, window.free_bytes) == (30, 100, 0)
    assert asked(window) == []  # its bytes run now
    window.freed(2, 100)
    assert asked(window) == [(2, 10, 100)]


def test_nothing_is_asked_for_until_a_whole_share_is_free() -> None:
    window, _ = started()
    window.admit(0, [50, 50], 1.0)
    window.freed(1, 50)
    assert asked(window) == []
    window.freed(1, 50)
    assert asked(window) == [(0, 10, 100)]


def test_messages_used_up_close_a_request_and_give_its_bytes_back() -> None:
    window, _ = started()
    window.admit(1, [1] * 10, 1.0)
    assert window.free_bytes == 90
    window.freed(10, 10)
    assert asked(window) == [(1, 10, 100)]


def test_the_status_of_a_request_that_is_over_leaves_its_successor_alone() -> None:
    """Since 2.10 `409 Batch Completed` follows the last delivery, maybe in another read than that."""
    window, open_ = started()
    window.admit(1, [1] * 10, 1.0)
    window.freed(10, 10)
    assert asked(window) == [(1, 10, 100)]
    window.status(1, open_[1].token, status("409 Batch Completed", 0, 90), 1.0)
    assert (window.credit, window.free_bytes) == (40, 0)
    assert asked(window) == []


def test_a_closing_status_that_overtakes_deliveries_keeps_them_in_the_account() -> None:
    """On a cluster a status can come before the deliveries that it counts as sent."""
    window, open_ = started()
    window.status(3, open_[3].token, status("408 Request Timeout", 7, 55), 1.0)
    assert (window.credit, window.free_bytes) == (33, 55)
    assert asked(window) == []
    window.admit(3, [15, 15, 15], 1.0)
    assert (window.credit, window.free_bytes, window.running_bytes) == (30, 55, 45)
    window.freed(3, 45)
    assert asked(window) == [(3, 10, 100)]


@pytest.mark.parametrize("text", ["404 No Messages", "423 Nats-Wrong-Pin-Id"])
def test_a_status_without_counts_closes_the_whole_request(text: str) -> None:
    window, open_ = started()
    window.status(0, open_[0].token, Status.parse(f"NATS/1.0 {text}\r\n\r\n".encode()), 1.0)
    assert asked(window) == [(0, 10, 100)]


def close_all_as_too_big(window: ByteWindow, open_: list[Request], used: int = 0) -> None:
    for one in open_:
        window.status(one.slot, one.token, status(TOO_BIG, one.batch, one.max_bytes - used), 1.0)


def test_a_message_larger_than_a_share_is_asked_for_alone_once_nothing_runs() -> None:
    window, open_ = started()
    window.admit(0, [5], 1.0)
    close_all_as_too_big(window, open_[1:])
    assert window.alone
    window.status(0, open_[0].token, status(TOO_BIG, 9, 95), 1.0)
    assert asked(window) == []  # one runs still
    window.freed(1, 5)
    assert asked(window) == [(0, 1, 0)]
    assert asked(window) == []
    window.admit(0, [900], 2.0)
    assert (window.running_bytes, window.credit, window.alone) == (900, 0, False)
    assert asked(window) == []
    window.freed(1, 900)
    assert len(asked(window)) == 4


def test_what_was_sent_before_does_not_end_the_wait_for_the_large_message() -> None:
    window, open_ = started()
    close_all_as_too_big(window, open_[1:])
    window.admit(0, [50, 50], 1.0)
    assert window.alone
    window.freed(2, 100)
    assert asked(window) == [(0, 1, 0)]


def test_a_message_that_a_whole_share_would_take_is_asked_for_by_a_whole_share() -> None:
    window, open_ = started()
    window.admit(0, [50], 1.0)
    window.status(0, open_[0].token, status(TOO_BIG, 9, 50), 1.0)
    assert not window.alone
    window.freed(1, 50)
    assert asked(window) == [(0, 10, 100)]


def test_a_status_that_overtook_a_delivery_does_not_make_its_request_untouched() -> None:
    window, open_ = started()
    window.status(0, open_[0].token, status(TOO_BIG, 9, 50), 1.0)
    assert not window.alone
    window.admit(0, [50], 1.0)
    window.freed(1, 50)
    assert asked(window) == [(0, 10, 100)]


def test_it_waits_alone_until_the_large_message_comes() -> None:
    window, open_ = started()
    close_all_as_too_big(window, open_)
    (alone,) = requests(window)
    window.status(0, alone.token, status("408 Request Timeout", 1, 0), 30.0)
    assert window.alone
    assert asked(window) == [(0, 1, 0)]


def test_a_break_voids_every_account() -> None:
    window, _ = started()
    window.admit(0, [10], 1.0)
    window.disconnected()
    assert (window.credit, window.free_bytes, window.running_bytes) == (0, 390, 10)
    window.resume(2.0)
    assert asked(window) == [(slot, 10, 100) for slot in range(3)]  # not a whole share is left for the fourth


def test_deliveries_of_a_given_up_inbox_run_and_touch_no_account() -> None:
    window, _ = started()
    window.disconnected()
    window.resume(1.0)
    requests(window)
    assert window.admit(0, [70], 1.0, current=False) == 1
    assert (window.credit, window.running_bytes, window.free_bytes) == (40, 70, -70)
    window.freed(1, 70)
    assert (window.running_bytes, window.free_bytes) == (0, 0)


def test_no_request_asks_for_more_messages_than_are_free() -> None:
    window, _ = started(max_bytes=4000)
    window.disconnected()
    window.admit(0, [1] * 27, 1.0, current=False)
    window.resume(1.0)
    assert asked(window) == [(0, 10, 1000), (1, 3, 1000)]


def test_only_what_may_start_counts_as_running_bytes() -> None:
    window, _ = started(capacity=2, max_bytes=400)
    window.admit(0, [10, 20], 1.0, current=False)
    assert window.admit(0, [7], 1.0) == 0
    assert window.running_bytes == 30


def test_silence_renews_all_four_inboxes() -> None:
    window, _ = started()
    window.tick(11.0)
    assert window.commands(0.0) == [Ping()]
    window.pong(True)
    assert window.commands(0.0) == [Renew()]
    window.resume(12.0)
    assert len(asked(window)) == 4


def test_a_refusal_of_one_request_gives_up_all() -> None:
    window, open_ = started()
    refusal = Status.parse(b"NATS/1.0 409 Exceeded MaxRequestMaxBytes of 50\r\n\r\n")
    for one in open_:
        window.status(one.slot, one.token, refusal, 1.0)
    (command,) = window.commands(0.0)
    assert isinstance(command, Attach)
    assert (window.credit, window.free_bytes) == (0, 400)


@given(st.lists(st.integers(0, 3).flatmap(lambda slot: st.tuples(st.just(slot), st.integers(1, 30))), max_size=40))
def test_however_deliveries_are_cut_the_accounts_are_the_same(deliveries: list[tuple[int, int]]) -> None:
    """One by one, or all of an inbox at once."""
    single, _ = started(400, 4000)
    burst, _ = started(400, 4000)
    for slot, size in deliveries:
        single.admit(slot, [size], 1.0)
        single.tick(1.0)
    for slot in range(4):
        burst.admit(slot, [size for at, size in deliveries if at == slot], 1.0)
    assert (single.credit, single.free_bytes, single.running_bytes) == (
        burst.credit,
        burst.free_bytes,
        burst.running_bytes,
    )
