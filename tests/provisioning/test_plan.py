"""What a plan says of a file and a real server: to create, to change, what can't change, what is not in the file."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus_runtime.cli.plan_output import exit_code
from eventbus_runtime.provisioning.plan import Action
from tests.provisioning.buses import is_older
from tests.provisioning.planned import Site, changes, consumer, done, said_of, stream, table

TRIGGER = '[triggers.billing]\nstream = "ORDERS"\n'
DEAD = f'{TRIGGER}dead_letter = "dead.billing"\n'

STREAM_FIXED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("2.9", "storage", {}, {"storage": "memory"}),
    ("2.9", "retention", {}, {"retention": "workqueue"}),
    ("2.9", "retention", {"retention": "workqueue"}, {"retention": "interest"}),
    ("2.9", "mirror", {"subjects": [], "mirror": {"name": "A"}}, {"subjects": [], "mirror": {"name": "B"}}),
    ("2.9", "mirror", {}, {"subjects": [], "mirror": {"name": "A"}}),
    ("2.9", "mirror", {"subjects": [], "mirror": {"name": "A"}}, {}),
    ("2.9", "deny_delete", {"deny_delete": True}, {"deny_delete": False}),
    ("2.9", "deny_purge", {"deny_purge": True}, {"deny_purge": False}),
    ("2.10", "first_seq", {}, {"first_seq": 100}),
    ("2.11", "allow_msg_ttl", {"allow_msg_ttl": True}, {"allow_msg_ttl": False}),
    ("2.12", "allow_msg_counter", {}, {"allow_msg_counter": True}),
    ("2.12", "persist_mode", {}, {"persist_mode": "async"}),
    ("2.12", "allow_msg_schedules", {"allow_msg_schedules": True}, {"allow_msg_schedules": False}),
]
CONSUMER_FIXED: list[tuple[str, dict[str, Any]]] = [
    ("ack_policy", {"ack_policy": "all"}),
    ("replay_policy", {"replay_policy": "original"}),
    ("max_waiting", {"max_waiting": 7}),
    ("mem_storage", {"mem_storage": True}),
]
STARTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("deliver_policy", {}, {"deliver_policy": "new"}),
    (
        "opt_start_seq",
        {"deliver_policy": "by_start_sequence", "opt_start_seq": 5},
        {"deliver_policy": "by_start_sequence", "opt_start_seq": 6},
    ),
    (
        "opt_start_time",
        {"deliver_policy": "by_start_time", "opt_start_time": "2024-01-01T00:00:00Z"},
        {"deliver_policy": "by_start_time", "opt_start_time": "2024-01-02T00:00:00Z"},
    ),
]
LATER: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("2.10", "retention", {}, {"retention": "interest"}),
    ("2.10", "republish", {}, {"republish": {"src": ">", "dest": "again.>"}}),
    ("2.12", "max_consumers", {}, {"max_consumers": 7}),
]
UNKNOWN: list[tuple[str, str, dict[str, Any]]] = [
    ("2.10", "compression", {"compression": "s2"}),
    ("2.10", "metadata", {"metadata": {"team": "billing"}}),
    ("2.11", "allow_msg_ttl", {"allow_msg_ttl": True}),
    ("2.12", "allow_atomic", {"allow_atomic": True}),
    ("2.14", "allow_batched", {"allow_batched": True}),
]


async def test_what_is_not_there_is_to_be_created(site: Site) -> None:
    shown = await site.plan(stream(max_age="7d") + consumer() + DEAD)
    assert done(shown) == {
        "stream ORDERS": "create",
        "stream DEAD_BILLING": "create",
        "consumer billing of stream ORDERS": "create",
    }
    assert exit_code([shown]) == 2


async def test_what_is_as_declared_is_nothing_to_do(site: Site) -> None:
    toml = stream(max_age="7d") + consumer(ack_wait="1m") + DEAD
    assert len(await site.apply(toml)) == 3
    shown = await site.plan(toml)
    assert done(shown) == {}
    assert (shown.unmanaged, shown.findings, exit_code([shown])) == ((), (), 0)


async def test_a_change_names_the_field_and_both_values(site: Site) -> None:
    await site.apply(stream(max_age="7d", description="All") + consumer(ack_wait="30s"))
    shown = await site.plan(stream(max_age="30d", description="All") + consumer(ack_wait="1m"))
    (orders, billing) = shown.plan.having(Action.UPDATE)
    assert [(one.field, one.old, one.new) for one in orders.differences] == [
        ("max_age", 7 * 86400 * 10**9, 30 * 86400 * 10**9)
    ]
    assert changes(billing) == ["ack_wait"]
    assert exit_code([shown]) == 2


@pytest.mark.parametrize(("since", "field", "before", "after"), STREAM_FIXED)
async def test_what_can_not_change_of_a_stream_is_named(
    site: Site, since: str, field: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    if is_older(site.bus, since):
        shown = await site.plan(stream(**before, **({} if before else after)))
        (orders,) = shown.plan.having(Action.REFUSE)
        assert f"(nats-server {since})" in orders.refusals[0]
        return
    await site.apply(stream(**before))
    shown = await site.plan(stream(**after))
    (orders,) = shown.plan.having(Action.REFUSE)
    assert f"{field}!" in changes(orders)
    assert f"the server can't change {field} from" in " ".join(orders.refusals)
    assert exit_code([shown]) == 1


@pytest.mark.parametrize(("field", "after"), CONSUMER_FIXED)
async def test_what_can_not_change_of_a_consumer_is_named(site: Site, field: str, after: dict[str, Any]) -> None:
    await site.apply(stream() + consumer())
    (billing,) = (await site.plan(stream() + consumer(**after))).plan.having(Action.REFUSE)
    assert changes(billing) == [f"{field}!"]
    assert "write in [consumers.billing] what is there, or delete it" in billing.refusals[0]


@pytest.mark.parametrize(("since", "field", "before", "after"), LATER)
async def test_what_only_newer_servers_change_is_refused_by_name_on_older_ones(
    site: Site, since: str, field: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await site.apply(stream(**before))
    shown = await site.plan(stream(**after))
    if is_older(site.bus, since):
        (orders,) = shown.plan.having(Action.REFUSE)
        assert changes(orders) == [f"{field}!"]
        assert f"servers since {since} can change {field}" in orders.refusals[-1]
    else:
        assert (await site.apply(stream(**after))) == ["updated stream ORDERS"]


@pytest.mark.parametrize(("since", "field", "fields"), UNKNOWN)
async def test_what_an_older_server_does_not_know_is_refused_before_it_drops_it(
    site: Site, since: str, field: str, fields: dict[str, Any]
) -> None:
    shown = await site.plan(stream(**fields))
    if is_older(site.bus, since):
        (orders,) = shown.plan.having(Action.REFUSE)
        assert f"for {field} (nats-server {since})" in orders.refusals[0]
    else:
        assert done(shown) == {"stream ORDERS": "create"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"num_replicas": 3}, "num_replicas = 3 but the bus has 1 server"),
        ({"sealed": True}, "a stream can't be made sealed"),
    ],
)
async def test_what_can_not_be_created_is_refused(site: Site, fields: dict[str, Any], text: str) -> None:
    (orders,) = (await site.plan(stream(**fields))).plan.having(Action.REFUSE)
    assert text in orders.refusals[0]


async def test_subjects_of_another_stream_are_refused_by_its_name(site: Site) -> None:
    await site.apply(stream("OTHER", subjects=["orders.new"]))
    (orders,) = (await site.plan(stream())).plan.having(Action.REFUSE)
    assert 'the stream OTHER stores "orders.new" already' in orders.refusals[0]


async def test_a_subject_moves_from_one_stream_to_another_in_one_go(site: Site) -> None:
    await site.apply(stream("A", subjects=["a", "x"]) + stream("B", subjects=["b"]))
    moved = stream("B", subjects=["b", "x"]) + stream("A", subjects=["a"])
    assert await site.apply(moved) == ["updated stream A", "updated stream B"]


@pytest.mark.parametrize(("field", "before", "after"), STARTS)
async def test_where_a_consumer_starts_is_named_and_no_change(
    site: Site, field: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await site.apply(stream() + consumer(**before))
    shown = await site.plan(stream() + consumer(**after))
    (text,) = said_of(shown, f"consumers.billing.{field}")
    assert text.startswith("counts at creation only")
    assert (done(shown), exit_code([shown])) == ({}, 0)


async def test_what_the_file_does_not_name_is_unmanaged_with_its_messages(site: Site) -> None:
    await site.apply(stream() + consumer() + stream("AUDIT") + consumer("old") + consumer("deep", stream="AUDIT"))
    for _ in range(3):
        await site.bus.publish("audit.x")
    await site.bus.publish("orders.x")
    shown = await site.plan(stream() + consumer())
    assert [(one.label, one.messages) for one in shown.unmanaged] == [
        ("stream AUDIT", 3),
        ("consumer old of stream ORDERS", 1),
    ]
    assert exit_code([shown]) == 0


async def test_attach_only_is_neither_unmanaged_nor_changed_nor_are_its_consumers(site: Site) -> None:
    await site.apply(stream(max_msgs=5) + consumer(max_ack_pending=5) + consumer("theirs"))
    shown = await site.plan(
        table("streams.ORDERS", {"declare": False}) + table("consumers.billing", {"stream": "ORDERS", "declare": False})
    )
    assert (done(shown), shown.unmanaged) == ({}, ())


async def test_attach_only_that_is_missing_is_said_and_a_consumer_on_it_is_refused(site: Site) -> None:
    shown = await site.plan(table("streams.ORDERS", {"declare": False}) + consumer())
    (text,) = said_of(shown, "streams.ORDERS")
    assert "with declare = false somebody else is to make it" in text
    (billing,) = shown.plan.having(Action.REFUSE)
    assert "that stream is not there" in billing.refusals[0]


async def test_a_stream_that_already_stores_dead_letters_takes_the_place_of_the_filled_in_one(site: Site) -> None:
    await site.apply(stream() + stream("MORGUE", subjects=["dead.>"], duplicate_window="10m"))
    shown = await site.plan(stream() + DEAD)
    assert done(shown) == {"consumer billing of stream ORDERS": "create"}
    assert (shown.unmanaged, shown.findings) == ((), ())


async def test_a_dead_letter_stream_of_an_earlier_subject_gets_the_new_one_besides(site: Site) -> None:
    await site.apply(stream() + DEAD)
    shown = await site.plan(stream() + DEAD.replace("dead.billing", "dead.bills"))
    (morgue,) = shown.plan.having(Action.UPDATE)
    assert (morgue.label, changes(morgue)) == ("stream DEAD_BILLING", ["subjects"])
    assert morgue.differences[0].new == ["dead.billing", "dead.bills"]


async def test_a_disabled_trigger_needs_no_dead_letter_stream(site: Site) -> None:
    assert done(await site.plan(stream() + f"{DEAD}enabled = false\n")) == {
        "stream ORDERS": "create",
        "consumer billing of stream ORDERS": "create",
    }


async def test_buckets_and_what_a_stream_copies_from_are_not_unmanaged(site: Site) -> None:
    bucket = {"name": "KV_config", "subjects": ["$KV.config.>"], "max_msgs_per_subject": 1}
    await site.bus.api("STREAM.CREATE.KV_config", bucket)
    await site.apply(stream("ORIGIN"))
    shown = await site.plan(stream(sources=[{"name": "ORIGIN"}]))
    assert shown.unmanaged == ()


async def test_the_consumer_by_which_a_declared_stream_copies_is_not_unmanaged(site: Site) -> None:
    await site.apply(stream("ORIGIN"))
    push = {"durable_name": "feed", "deliver_subject": "feed.x", "ack_policy": "explicit"}
    await site.bus.api("CONSUMER.CREATE.ORIGIN.feed", {"stream_name": "ORIGIN", "config": push | {"name": "feed"}})
    assert [one.label for one in (await site.plan(stream("ORIGIN"))).unmanaged] == ["consumer feed of stream ORIGIN"]
    source = {"name": "ORIGIN", "consumer": {"name": "feed", "deliver_subject": "feed.x"}}
    assert (await site.plan(stream("ORIGIN") + stream(sources=[source]))).unmanaged == ()
