"""The memory itself, where a live server is not needed, or too kind."""

from __future__ import annotations

from typing import Any, cast

import pytest

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.message import Message, Raw
from eventbus_runtime.triggers.delivery import ActiveDelivery, Settler
from eventbus_runtime.triggers.fence import Fence
from eventbus_runtime.triggers.memory import identify
from eventbus_runtime.triggers.recall import Recall

LEASE = 100.0
BORN, ANEW = "2026-11-25T12:59:24.261859047Z", "2026-11-25T12:59:24.4Z"


def token(sequence: int, *, count: int = 1, time: int = 7) -> bytes:
    """An ack token of consumer `c` on stream `S`."""
    return b"$JS.ACK.S.c.%d.%d.%d.%d.0" % (count, sequence, sequence, time)


def raw(sequence: int, **more: int) -> Raw:
    """A delivery of that message."""
    return b"s.a", token(sequence, **more), b"", None


def running(*sequences: int) -> dict[ActiveDelivery, None]:
    """Deliveries that run."""
    nobody = cast(Settler, None)
    return {ActiveDelivery(raw(sequence), nobody, 0.0, LEASE, 0): None for sequence in sequences}


def consumer(
    *, floor: int = 0, delivered: int = 1 << 40, created: str = BORN, opt_start_seq: int = 0, num_replicas: int = 1
) -> ConsumerInfo:
    """What the server says."""
    config = {"opt_start_seq": opt_start_seq, "num_replicas": num_replicas}
    answer: dict[str, Any] = {"stream_name": "S", "name": "c", "created": created, "config": config}
    return ConsumerInfo.parse(answer | {"ack_floor": {"stream_seq": floor}, "delivered": {"stream_seq": delivered}})


def attach(recall: Recall, answer: ConsumerInfo) -> None:
    """As a trigger does."""
    recall.asking(0.0)
    recall.attached(answer)


def test_what_is_done_and_above_the_floor_is_recognised_by_sequence_and_time() -> None:
    recall = Recall({})
    recall.memory.keep([token(5), token(9)], 0.0)
    assert not recall.expects
    attach(recall, consumer(floor=5))
    assert recall.recognise(raw(9, count=2), LEASE) is True
    assert recall.recognise(raw(5), LEASE) is None
    assert recall.recognise(raw(9, time=8), LEASE) is None
    recall.looked(consumer(floor=9), 0.0)
    assert not recall.expects


def test_a_domains_tokens_are_told_apart_by_the_same_two_parts() -> None:
    longer = b"$JS.ACK.hub.HASH.S.c.1.42.7.1234.0.random"
    assert identify(longer) == (42, b"42.1234")
    assert identify(token(42, time=1234)) == (42, b"42.1234")


def test_the_memory_is_bounded_in_time_and_in_bytes() -> None:
    recall = Recall({})
    recall.memory.keep([token(1)], 0.0)
    recall.memory.keep([token(2)], 9.0)
    recall.memory.keep([token(3)], 11.0)
    attach(recall, consumer())
    assert [recall.recognise(raw(sequence), LEASE) for sequence in (1, 2, 3)] == [None, True, True]
    for start in range(0, 400_000, 1000):
        recall.memory.keep([token(1000 + start + number) for number in range(1000)], 12.0)
    assert recall.memory._bytes == sum(len(joined) for _, joined in recall.memory._settled) <= 8 << 20
    assert len(recall.memory._settled) > 100


def test_what_the_server_has_not_delivered_is_void_and_told_when_it_comes() -> None:
    now = running(1, 2, 3)
    recall = Recall(now)
    recall.asking(0.0)
    late = running(4)
    now.update(late)  # delivered after the question, so that the answer says nothing of it
    recall.attached(consumer(delivered=2))
    assert recall.void == {token(3)}
    assert recall.sayable([token(2), token(3), token(4)]) == [token(2), token(4)]
    assert recall.void == set()
    del now[next(each for each in now if each.token == token(3))]
    assert recall.recognise(raw(3), LEASE) is True


def test_what_runs_goes_on_by_the_new_token_even_if_it_is_the_same_word() -> None:
    now = running(1)
    recall = Recall(now)
    recall.lost()
    attach(recall, consumer(created=ANEW, opt_start_seq=1))
    assert recall.void == {token(1)}
    assert recall.recognise(raw(1), LEASE + 5) is False
    assert recall.void == set()
    assert next(iter(now)).lease == LEASE + 5


@pytest.mark.parametrize(("opt_start_seq", "is_done"), [(1, True), (0, None)])
def test_a_consumer_made_anew_is_a_replay_unless_it_goes_on(opt_start_seq: int, is_done: bool | None) -> None:
    recall = Recall({})
    attach(recall, consumer())
    recall.memory.keep([token(1)], 0.0)
    attach(recall, consumer())
    assert recall.recognise(raw(1), LEASE) is True
    recall.lost()
    attach(recall, consumer(created=ANEW, opt_start_seq=opt_start_seq))
    assert recall.recognise(raw(1), LEASE) is is_done


@pytest.mark.parametrize("restarted", ["2026-11-25T12:59:24.261945452Z", "2026-11-25T12:59:24.265Z"])
def test_a_consumer_that_an_old_server_stamps_anew_when_it_is_restarted_is_the_same(restarted: str) -> None:
    """Before nats-server 2.12 the time of creation that is written down is some 0.1 ms after the one first told."""
    recall = Recall({})
    attach(recall, consumer())
    recall.memory.keep([token(1)], 0.0)
    attach(recall, consumer(created=restarted))
    assert recall.recognise(raw(1), LEASE) is True


def test_of_what_is_delivered_again_only_a_lapsed_lease_makes_it_look() -> None:
    recall = Recall(running(1))
    assert not recall.overtaken([raw(2, count=2)], LEASE - 50, [])
    assert recall.recognise(raw(1, count=2), LEASE) is None
    assert not recall.overtaken([raw(2, count=2)], LEASE, [])
    assert recall.recognise(raw(1, count=2), LEASE) is False


def test_of_what_is_delivered_again_only_this_read_is_told_from_what_has_an_unproven_ack() -> None:
    recall = Recall({})
    assert not recall.expects
    assert not recall.overtaken([raw(1, count=2)], 0.0, [token(1)])
    assert recall.expects
    assert recall.recognise(raw(1, count=2), LEASE) is True
    assert recall.recognise(raw(2, count=2), LEASE) is None
    recall.sifted()
    assert not recall.expects


def test_what_comes_again_before_its_lease_is_over_is_recognised_and_told() -> None:
    now_running = running(1)
    recall = Recall(now_running)
    recall.memory.keep([token(2)], 0.0)
    assert recall.overtaken([raw(1, count=2)], LEASE - 50, [])
    assert recall.recognise(raw(1, count=2), LEASE) is False
    assert recall.recognise(raw(2, count=2), LEASE) is True
    now_running.clear()
    assert not recall.overtaken([raw(1, count=3)], LEASE - 50, []), "it was handed back, and is delivered again"


def test_behind_a_blocked_loop_what_was_settled_meanwhile_is_recognised() -> None:
    recall = Recall({})
    attach(recall, consumer(floor=1))
    recall.memory.keep([token(2)], 0.0)
    recall.lapsed()
    assert recall.recognise(raw(2, count=2), LEASE) is True


def test_a_message_is_what_it_was() -> None:
    """The running one keeps the message that its handler got."""
    now = running(1)
    recall = Recall(now)
    attach(recall, consumer())
    recall.recognise(raw(1, count=3), LEASE)
    delivery = next(iter(now))
    assert isinstance(delivery.message, Message)
    assert (delivery.attempt, delivery.token) == (1, token(1, count=3))


async def test_a_fence_that_forgets_leaves_it_to_the_recall() -> None:
    """Also what was given to it, and not yet written."""
    now = running(1, 2)
    recall = Recall(now)
    fence = Fence(cast(Bus, None), recall)
    attach(recall, consumer())
    fence.ack(token(1))
    del now[next(iter(now))]
    fence.forget()
    assert recall.void == {token(2)}
    attach(recall, consumer(created=ANEW, opt_start_seq=1))
    assert recall.recognise(raw(1), LEASE) is True
    assert recall.recognise(raw(2), LEASE) is False


def test_what_was_settled_of_late_is_known_by_whatever_token() -> None:
    recall = Recall({})
    recall.memory.keep([token(5), b"$JS.ACK.hub.acc.S.c.1.6.6.7.0.x", token(9)], 0.0)
    assert [recall.memory.holds(token(sequence, count=3)) for sequence in (5, 6, 7, 9)] == [True, True, False, True]
    assert not recall.memory.holds(token(5, time=8))


def test_what_runs_is_known_by_whatever_token() -> None:
    recall = Recall(running(5))
    assert recall.runs(token(5, count=3))
    assert not recall.runs(token(6))
    assert not recall.runs(token(5, time=8))


def test_while_the_server_is_away_what_it_may_have_forgotten_gets_no_older() -> None:
    recall = Recall({})
    attach(recall, consumer())
    recall.memory.keep([token(1)], 0.0)
    recall.memory.disconnected(1.0)
    recall.memory.disconnected(50.0)
    recall.memory.keep([token(2)], 60.0)
    attach(recall, consumer())
    assert recall.recognise(raw(1), LEASE) is True
    recall.memory.keep([token(3)], 60.0)
    attach(recall, consumer(floor=1))
    assert recall.recognise(raw(1), LEASE) is None


def numbered(*numbers: int) -> list[Raw]:
    """Deliveries of these consumer sequences."""
    return [(b"s.a", b"$JS.ACK.S.c.1.1.%d.7.0" % number, b"", None) for number in numbers]


@pytest.mark.parametrize("back", [numbered(5), numbered(1, 2), numbered(9, 1)])
def test_numbers_that_go_back_are_another_consumers_until_it_is_looked_at(back: list[Raw]) -> None:
    recall = Recall({})
    attach(recall, consumer())
    assert recall.arrived(0, numbered(3, 5))
    assert recall.arrived(1, numbered(4)), "another inbox is read in between"
    assert not recall.arrived(0, back)
    assert not recall.arrived(0, numbered(20)), "nobody has looked yet"
    attach(recall, consumer(created=ANEW))
    assert recall.arrived(0, numbered(1))


def test_a_consumer_is_known_until_it_is_made_anew() -> None:
    recall = Recall({})
    assert recall.knows(consumer())
    attach(recall, consumer())
    assert recall.knows(consumer(floor=7))
    assert not recall.knows(consumer(created=ANEW))


@pytest.mark.parametrize(("count", "is_done"), [(2, True), (1, None)])
def test_what_was_proven_and_is_delivered_again_is_done(count: int, is_done: bool | None) -> None:
    """The consumer's next leader may begin without acks that the one before has answered."""
    recall = Recall({})
    attach(recall, consumer())
    recall.memory.keep([token(4), token(5)], 0.0)
    assert not recall.overtaken([raw(5, count=count), raw(6, count=2)], 0.0, [])
    assert recall.recognise(raw(5, count=count), LEASE) is is_done
    assert recall.recognise(raw(6, count=2), LEASE) is None
    recall.sifted()
    assert not recall.expects


def test_what_was_handed_back_comes_again_once_without_a_look_at_all_that_was_settled() -> None:
    recall = Recall({})
    attach(recall, consumer())
    recall.memory.keep([token(5)], 0.0)
    for number in range(25_000):
        recall.handed_back(token(number))
    assert len(recall._handed_back) == 5_000
    recall.handed_back(token(5))
    recall.overtaken([raw(5, count=2)], 0.0, [])
    assert recall.recognise(raw(5, count=2), LEASE) is None
    recall.sifted()
    recall.overtaken([raw(5, count=3)], 0.0, [])
    assert recall.recognise(raw(5, count=3), LEASE) is True


def test_what_was_handed_back_and_came_as_if_new_is_looked_up_when_it_comes_again() -> None:
    """A consumer that was made anew, or a server that was killed, knows of no nak; the next leader of no ack of it."""
    recall = Recall({})
    attach(recall, consumer())
    recall.handed_back(token(5))
    attach(recall, consumer(created=ANEW, opt_start_seq=5))
    assert recall.recognise(raw(5), LEASE) is None
    recall.memory.keep([token(5)], 1.0)
    recall.overtaken([raw(5, count=2)], 2.0, [])
    assert recall.recognise(raw(5, count=2), LEASE) is True


def test_of_a_replicated_consumer_it_is_remembered_for_as_long_as_it_may_come_again() -> None:
    recall = Recall({})
    attach(recall, consumer(num_replicas=3))
    recall.memory.keep([token(5)], 0.0)
    recall.looked(consumer(floor=5), 1.0)
    recall.memory.keep([token(6)], 31.0)
    assert not recall.overtaken([raw(5, count=2)], 31.0, [])
    assert recall.recognise(raw(5, count=2), LEASE) is True


def test_what_is_looked_up_is_what_is_remembered() -> None:
    """Each is found until it is forgotten; one that was settled twice, until that is."""
    recall = Recall({})
    attach(recall, consumer(delivered=0))
    for second in range(40):
        recall.memory.keep([token(second), token(second // 2)], float(second))
        recall.memory.index()
        recall.looked(consumer(floor=second, delivered=second), second + 0.5)
    known = recall.memory.index()
    assert [sequence for sequence in range(40) if identify(token(sequence))[1] in known] == [
        *range(14, 20),
        *range(29, 40),
    ]
    recall.memory.clear()
    assert identify(token(39))[1] not in recall.memory.index()


def test_what_is_above_the_floor_that_was_seen_is_known_however_old_when_the_consumer_is_made_again() -> None:
    """It goes on from that floor."""
    recall = Recall({})
    attach(recall, consumer(delivered=0))
    recall.memory.keep([token(5)], 0.0)
    recall.memory.keep([token(6)], 50.0)
    recall.looked(consumer(floor=3, delivered=6), 60.0)
    recall.memory.keep([token(7)], 100.0)
    recall.lost()
    attach(recall, consumer(created=ANEW, opt_start_seq=4, floor=3, delivered=3))
    assert [recall.recognise(raw(sequence), LEASE) for sequence in (4, 5, 6, 7)] == [None, True, True, True]


def test_what_is_not_above_the_floor_is_forgotten_after_ten_seconds() -> None:
    recall = Recall({})
    attach(recall, consumer(delivered=0))
    recall.memory.keep([token(5)], 0.0)
    recall.looked(consumer(floor=4, delivered=5), 1.0)
    recall.memory.keep([token(6)], 20.0)
    assert recall.memory.holds(token(5)), "as far as was seen, it may come again"
    recall.looked(consumer(floor=5, delivered=6), 21.0)
    recall.memory.keep([token(7)], 22.0)
    assert not recall.memory.holds(token(5))
    assert recall.memory.holds(token(6))


def test_it_asks_for_a_look_where_it_forgets_what_may_come_again_and_seldom() -> None:
    recall = Recall({})
    attach(recall, consumer(delivered=0))
    asks = [
        recall.memory.keep([token(1000 * second + number) for number in range(1000)], second / 100)
        for second in range(1000)
    ]
    assert 10 < sum(asks) <= 40
    recall.looked(consumer(floor=0, delivered=1 << 30), 10.0)
    recall.looked(consumer(floor=1 << 30, delivered=1 << 30), 10.1)
    assert not recall.memory.keep([token(7)], 30.0)
