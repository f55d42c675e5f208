"""`PullWindow`, rule by rule: the table of answers, refilling, stopping, limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.triggers.pull import Attach, Fail, Limits, PullWindow, Request
from tests.triggers.windows import LIMITS, requests, started, status


def test_it_asks_for_nothing_before_it_is_resumed() -> None:
    window = PullWindow(10)
    assert window.commands(0.0) == []
    assert window.credit == 0


def test_the_first_request_asks_for_the_whole_capacity() -> None:
    window = PullWindow(10, LIMITS)
    window.resume(0.0)
    assert window.commands(0.0) == [Request(0, "1", 10, 0, 30.0, 5.0)]
    assert (window.credit, window.free) == (10, 0)
    assert window.commands(0.0) == []


def test_a_delivery_is_running_and_no_longer_credit() -> None:
    window, _ = started()
    assert window.admit(0, [0, 0, 0], 1.0) == 3
    assert (window.running, window.credit, window.free) == (3, 7, 0)
    assert requests(window) == []


def test_what_is_settled_is_asked_for_once_the_credit_is_no_more_than_that() -> None:
    window, _ = started()
    window.admit(0, [0] * 5, 1.0)
    window.freed(4)
    assert requests(window) == []  # credit 5 above free 4
    window.freed(1)
    assert [one.batch for one in requests(window)] == [5]
    assert window.credit == 10


def test_the_quick_are_not_starved_behind_the_slow() -> None:
    """256 slots, 130 held by long handlers: the other 126 go on, though that is below half of the window."""
    window, _ = started(256)
    window.admit(0, [0] * 256, 0.0)
    window.freed(126)
    assert [one.batch for one in requests(window)] == [126]
    for _ in range(20):
        window.admit(0, [0] * 63, 0.0)
        window.freed(63)
        assert [one.batch for one in requests(window)] == [63]
    assert window.running == 130


@pytest.mark.parametrize("text", ["408 Request Timeout", "408 Interest Expired", "409 Batch Completed"])
def test_a_closing_status_gives_back_what_its_request_was_owed(text: str) -> None:
    window, token = started()
    window.admit(0, [0] * 4, 0.0)
    window.status(0, token, status(text, messages=6), 1.0)
    assert window.credit == 0
    assert [one.batch for one in requests(window)] == [6]


def test_a_closing_status_that_overtakes_deliveries_leaves_them_in_the_credit() -> None:
    window, token = started()
    window.status(0, token, status("408 Request Timeout", messages=7), 1.0)
    assert (window.credit, window.free) == (3, 7)
    assert [one.batch for one in requests(window)] == [7]
    assert window.admit(0, [0] * 3, 1.0) == 3
    assert (window.running, window.credit, window.free) == (3, 7, 0)


@pytest.mark.parametrize("text", ["404 No Messages", "408 Requests Pending", "423 Nats-Pin-Id mismatch"])
def test_a_status_without_counts_gives_back_all_that_its_request_asked(text: str) -> None:
    window, first = started()
    window.admit(0, [0] * 10, 0.0)
    window.freed(6)
    (second,) = requests(window)
    window.status(0, second.token, status(text), 1.0)
    assert window.credit == 0
    (third,) = requests(window)
    window.status(0, first, status(text), 1.0)
    assert (third.batch, window.credit) == (6, 0)


def test_the_same_status_twice_gives_nothing_back_twice() -> None:
    window, token = started()
    for _ in range(2):
        window.status(0, token, status("404 No Messages"), 1.0)
    assert window.credit == 0
    (request,) = requests(window)
    window.status(0, token, status("404 No Messages"), 1.0)
    assert window.credit == request.batch == 10


def test_a_message_too_big_for_another_instance_closes_by_count() -> None:
    window, token = started()
    window.status(0, token, status("409 Message Size Exceeds MaxBytes", messages=10), 1.0)
    assert [one.batch for one in requests(window)] == [10]
    assert not window.alone


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("409 Leadership Change", True),
        ("409 Server Shutdown", True),
        ("503", True),
        ("409 Exceeded MaxWaiting", True),
        ("409 Exceeded MaxRequestBatch of 5", True),
        ("409 Exceeded MaxRequestExpires of 1s", True),
        ("409 Exceeded MaxRequestMaxBytes of 1024", True),
        ("409 Consumer Deleted", False),
    ],
)
def test_what_ends_all_requests_has_the_consumer_looked_at_once(text: str, pause: bool) -> None:
    window, token = started()
    window.admit(0, [0], 0.5)
    window.freed(1)
    window.status(0, token, status(text), 1.0)
    window.status(0, "2", status(text), 1.0)  # each open request gets one
    (command,) = window.commands(0.0)
    assert isinstance(command, Attach)
    assert command.pause is pause
    assert text in command.reason or "deleted" in command.reason
    assert (window.credit, window.pulling) == (0, False)
    window.status(0, "3", status(text), 1.0)
    assert window.commands(0.0) == []
    window.resume(2.0)
    assert [one.batch for one in requests(window)] == [10]


def test_what_comes_between_an_interruption_and_its_attach_starts_while_there_is_room() -> None:
    window, token = started(3)
    window.status(0, token, status("409 Leadership Change"), 1.0)
    assert window.admit(0, [0] * 4, 1.0) == 3
    assert (window.running, window.credit) == (3, 0)
    window.resume(2.0)
    assert [type(command) for command in window.commands(0.0)] == [Attach]


@pytest.mark.parametrize(
    "text", ["400 Bad Request - heartbeat value too large", "409 Consumer is push based", "412 Required Api Level"]
)
def test_what_can_never_work_fails_the_trigger_with_the_servers_words(text: str) -> None:
    window, token = started()
    window.status(0, token, status(text), 1.0)
    (command,) = window.commands(0.0)
    assert isinstance(command, Fail)
    assert text in command.reason


def test_an_unknown_answer_without_counts_pauses_and_never_stops_the_trigger() -> None:
    """Asking again at once would be a hot loop, if a newer server refuses what we ask by a text that we don't know."""
    window, token = started()
    window.status(0, token, status("409 Something Of A Newer Server"), 1.0)
    (command,) = window.commands(0.0)
    assert isinstance(command, Attach)
    assert command.pause


def test_after_stop_nothing_is_asked_for_and_open_credit_still_counts() -> None:
    window, token = started()
    window.stop()
    assert window.admit(0, [0] * 4, 1.0) == 4
    window.freed(4)
    window.tick(500.0)
    window.doubt(500.0)
    assert (window.credit, window.commands(0.0)) == (6, [])
    window.status(0, token, status("408 Request Timeout", messages=6), 1.0)
    assert (window.credit, window.commands(0.0)) == (0, [])
    window.resume(2.0)
    assert (window.pulling, window.commands(0.0)) == (False, [])


@pytest.mark.parametrize("text", ["409 Leadership Change", "400 Bad Request", "409 Consumer Deleted", "503"])
def test_after_stop_the_servers_farewell_only_ends_the_credit(text: str) -> None:
    window, token = started()
    window.stop()
    window.status(0, token, status(text), 1.0)
    assert (window.credit, window.commands(0.0)) == (0, [])


def test_what_was_asked_before_a_break_is_no_longer_given_back() -> None:
    window, token = started()
    window.disconnected()
    window.resume(1.0)
    requests(window)
    window.status(0, token, status("404 No Messages"), 1.0)
    assert window.credit == 10


def test_deliveries_of_a_given_up_inbox_start_only_while_there_is_room() -> None:
    window, _ = started(4)
    window.disconnected()
    window.resume(1.0)
    requests(window)
    assert window.admit(0, [0] * 3, 1.0, current=False) == 3
    assert (window.running, window.credit) == (3, 4)
    assert window.admit(0, [0] * 4, 1.0) == 1
    assert (window.running, window.credit, window.free) == (4, 0, 0)


def test_a_consumers_limits_bound_each_request_and_not_the_window() -> None:
    limits = LIMITS.within(max_expires=6.0, max_batch=4, max_bytes=0)
    window = PullWindow(10, limits)
    window.resume(0.0)
    asked = requests(window)
    assert [one.batch for one in asked] == [4, 4]  # credit 8 is above what is left
    assert {(one.expires, one.heartbeat) for one in asked} == {(6.0, 2.0)}


def test_a_consumer_without_limits_leaves_ours() -> None:
    assert LIMITS.within(max_expires=0, max_batch=0, max_bytes=0) == LIMITS
    assert LIMITS.within(max_expires=600.0, max_batch=0, max_bytes=0).expires == 30.0


@given(expires=st.floats(0.001, 1e6), heartbeat=st.floats(0.001, 1e6), theirs=st.floats(0.001, 1e6) | st.just(0.0))
def test_a_heartbeat_is_never_longer_than_the_server_takes(expires: float, heartbeat: float, theirs: float) -> None:
    """NATS ADR-13: above half of `expires` it answers 400, which ends the trigger."""
    limits = Limits(expires, heartbeat).within(max_expires=theirs, max_batch=0, max_bytes=0)
    assert round(limits.heartbeat * 1e9) <= round(limits.expires * 1e9) / 2
    assert limits.expires <= (theirs or expires)


def test_resume_brings_the_consumers_limits() -> None:
    window, _ = started()
    window.resume(1.0, Limits(3.0, 1.0, 2))
    assert {(one.batch, one.expires) for one in requests(window)} == {(2, 3.0)}


def test_the_last_1024_requests_are_remembered() -> None:
    """Served requests end without a word, so what they asked is forgotten some time; a refusal comes at once."""
    window, first = started(1)
    for _ in range(1024):
        window.admit(0, [0], 0.0)
        window.freed(1)
        (request,) = requests(window)
    window.status(0, first, status("404 No Messages"), 0.0)
    assert window.credit == 1
    window.status(0, str(int(first) + 1), status("404 No Messages"), 0.0)
    assert window.credit == 0
    assert int(request.token) == int(first) + 1024


EVENTS = st.lists(
    st.one_of(
        st.integers(1, 6).map(lambda count: ("delivered", count)),
        st.integers(0, 9).map(lambda count: ("closed", count)),
    ),
    max_size=20,
)


@given(events=EVENTS, between=st.lists(st.sampled_from(["tick", "freed", "beat"]), max_size=20))
def test_however_the_same_events_are_cut_the_credit_is_the_same(
    events: list[tuple[str, int]], between: list[str]
) -> None:
    """One by one, in bursts, and between ticks and settled deliveries."""
    ends = []
    for cut in ("one by one", "bursts", "interleaved"):
        window, token = started(200)
        extra = list(between)
        for kind, count in events:
            if kind == "closed":
                window.status(0, token, status("408 Request Timeout", messages=count), 1.0)
            elif cut == "bursts":
                assert window.admit(0, [0] * count, 1.0) == count
            else:
                assert [window.admit(0, [0], 1.0) for _ in range(count)] == [1] * count
            if cut == "interleaved" and extra:
                what = extra.pop()
                if what == "tick":
                    window.tick(2.0)
                elif what == "beat":
                    window.status(0, token, status("100 Idle Heartbeat"), 1.0)
                elif window.running:
                    window.freed(1)
        window.freed(window.running)
        ends.append((window.credit, window.free, [one.batch for one in requests(window)]))
    assert ends[0] == ends[1] == ends[2]
