"""`PullWindow` and silence: what is believed, when, and what it leads to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventbus_runtime.triggers.pull import Attach, Command, Ping, PullWindow, Renew
from tests.triggers.windows import requests, started, status


def silent(window: PullWindow, now: float) -> list[Command]:
    """What it wants when two heartbeats were missed and the ping was answered."""
    window.tick(now)
    assert window.commands(0.0) == [Ping()]
    window.pong(True)
    return window.commands(0.0)


def test_a_silence_is_believed_only_after_a_ping() -> None:
    window, _ = started()
    window.tick(10.0)
    assert window.commands(0.0) == []  # two heartbeats are not yet missed
    assert silent(window, 10.1) == [Renew()]
    assert (window.credit, window.pulling) == (0, False)
    window.resume(11.0)
    assert [one.batch for one in requests(window)] == [10]


@pytest.mark.parametrize(
    "sign",
    [
        lambda window, token: window.status(0, token, status("100 Idle Heartbeat"), 8.0),
        lambda window, token: window.admit(0, [0], 8.0),
    ],
    ids=["heartbeat", "delivery"],
)
def test_whatever_comes_restarts_the_heartbeat_clock(sign: Callable[[PullWindow, str], None]) -> None:
    window, token = started()
    sign(window, token)
    window.tick(18.0)
    assert window.commands(0.0) == []
    assert silent(window, 18.1) == [Renew()]


def test_a_ping_is_sent_once_and_again_when_it_was_not_answered() -> None:
    window, _ = started()
    for now in (11.0, 12.0, 13.0):
        window.tick(now)
    assert window.commands(0.0) == [Ping()]
    window.pong(False)
    assert window.commands(0.0) == []
    assert silent(window, 14.0) == [Renew()]


def test_the_third_silence_has_the_consumer_looked_at() -> None:
    window, _ = started()
    now = 0.0
    wanted = []
    for _ in range(3):
        now += 11.0
        (command,) = silent(window, now)
        wanted.append(type(command))
        window.resume(now)
        requests(window, now)
    assert wanted == [Renew, Renew, Attach]


@pytest.mark.parametrize(
    "sign",
    [
        lambda window, token: window.status(0, token, status("100 Idle Heartbeat"), 23.0),
        lambda window, token: window.status(0, token, status("408 Request Timeout", messages=0), 23.0),
        lambda window, token: window.admit(0, [0], 23.0),
    ],
    ids=["heartbeat", "closing status", "delivery"],
)
def test_a_sign_of_life_begins_the_count_of_silences_anew(sign: Callable[[PullWindow, str], None]) -> None:
    window, _ = started()
    for now in (11.0, 22.0):
        assert silent(window, now) == [Renew()]
        window.resume(now)
        (request,) = requests(window, now)
    sign(window, request.token)
    assert silent(window, 34.0) == [Renew()]


def test_a_late_delivery_of_a_given_up_inbox_says_nothing_of_the_new_one() -> None:
    window, _ = started()
    for now in (11.0, 22.0):
        assert silent(window, now) == [Renew()]
        window.resume(now)
        requests(window, now)
    assert window.admit(0, [0], 30.0, current=False) == 1
    assert window.credit == 10
    assert [type(command) for command in silent(window, 33.0)] == [Attach]


@pytest.mark.parametrize("late", [100.0, 100.5], ids=["same clock reading", "later"])
def test_a_blocked_event_loop_is_no_silence(late: float) -> None:
    """The tick comes first and sees a long silence; what the server had sent meanwhile is read before the pong."""
    window, token = started()
    window.tick(100.0)
    assert window.commands(0.0) == [Ping()]
    window.status(0, token, status("100 Idle Heartbeat"), late)
    window.pong(True)
    assert window.commands(0.0) == []
    assert window.credit == 10


def test_the_heartbeat_clock_runs_only_while_a_request_is_open() -> None:
    """Where the event loop was blocked no tick came meanwhile, and the server answers a ping before a new request."""
    window, _ = started(2)
    window.admit(0, [0, 0], 1.0)
    window.tick(300.0)
    assert window.commands(300.0) == []
    window.freed(2)
    assert [one.batch for one in requests(window, 500.0)] == [2]
    window.tick(510.0)
    assert window.commands(510.0) == []
    assert silent(window, 510.1) == [Renew()]


def test_the_heartbeat_clock_stands_still_while_disconnected() -> None:
    window, _ = started()
    window.disconnected()
    window.tick(500.0)
    assert (window.commands(0.0), window.credit) == ([], 0)
    window.resume(600.0)
    assert [one.batch for one in requests(window, 600.0)] == [10]
    window.tick(601.0)
    assert window.commands(0.0) == []


def test_a_pong_of_before_a_break_proves_nothing() -> None:
    window, _ = started()
    window.tick(11.0)
    window.disconnected()
    assert window.commands(0.0) == []  # the ping would go to another connection
    window.resume(12.0)
    requests(window, 12.0)
    window.pong(True)
    assert window.commands(0.0) == []


def test_a_probe_that_a_break_ended_does_not_keep_the_next_one_back() -> None:
    window, _ = started()
    window.tick(11.0)
    window.disconnected()
    window.resume(12.0)
    requests(window, 12.0)
    assert silent(window, 23.0) == [Renew()]


def test_under_doubt_heartbeats_prove_nothing() -> None:
    window, token = started()
    window.doubt(60.0)
    assert window.commands(0.0) == [Ping()]
    window.status(0, token, status("100 Idle Heartbeat"), 61.0)
    window.pong(True)
    assert window.commands(0.0) == [Renew()]


def test_under_doubt_a_delivery_proves_that_the_requests_live() -> None:
    window, _ = started()
    window.doubt(60.0)
    assert window.commands(0.0) == [Ping()]
    window.admit(0, [0], 61.0)
    window.pong(True)
    assert window.commands(0.0) == []


def test_there_is_one_probe_at_a_time_and_none_without_a_pull() -> None:
    window, _ = started()
    window.tick(11.0)
    window.doubt(11.0)
    assert window.commands(0.0) == [Ping()]
    window.disconnected()
    window.doubt(12.0)
    assert window.commands(0.0) == []
