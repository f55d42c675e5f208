"""Consumers, made and changed as declared, on real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.errors import NotFoundError, TopologyError
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream
from eventbus_runtime.testing.server import NatsServer
from tests.provisioning.buses import Asked, Old, Overtaken, is_older, onlook

DECLARED: list[tuple[str, dict[str, Any]]] = [
    ("2.9", {}),
    ("2.9", {"filter_subject": "orders.new", "description": "Bills"}),
    ("2.9", {"filter_subjects": ["orders.new"]}),
    ("2.10", {"filter_subjects": ["orders.old", "orders.new"]}),
    ("2.9", {"filter_subjects": []}),
    ("2.9", {"deliver_policy": "new", "ack_wait": "5s", "max_ack_pending": 5, "max_waiting": 7}),
    ("2.9", {"deliver_policy": "by_start_sequence", "opt_start_seq": 5, "ack_policy": "all"}),
    ("2.9", {"deliver_policy": "by_start_time", "opt_start_time": "2024-01-01T00:00:00+02:00"}),
    ("2.9", {"deliver_policy": "last_per_subject", "filter_subject": "orders.>"}),
    ("2.9", {"backoff": ["1s", "5s"], "max_deliver": 7}),
    ("2.9", {"backoff": ["1s", "5s"], "ack_wait": "1s", "max_deliver": 3}),
    ("2.9", {"max_deliver": 0, "ack_wait": 0, "max_ack_pending": 0, "max_waiting": 0, "max_batch": 0, "backoff": []}),
    ("2.9", {"max_batch": 10, "max_expires": "30s", "max_bytes": "1MiB", "inactive_threshold": "1h"}),
    ("2.9", {"headers_only": True, "sample_freq": "50%", "replay_policy": "original", "mem_storage": True}),
    ("2.9", {"num_replicas": 1, "max_ack_pending": -1}),
    ("2.10", {"metadata": {"team": "billing"}}),
    ("2.11", {"pause_until": "2030-01-01T00:00:00+02:00"}),
    ("2.11", {"priority_policy": "overflow", "priority_groups": ["all"]}),
    ("2.11", {"priority_policy": "pinned_client", "priority_groups": ["all"], "priority_timeout": "1m"}),
    ("2.12", {"priority_policy": "prioritized", "priority_groups": ["all"]}),
]
GROUPS = {"priority_policy": "overflow", "priority_groups": ["all"]}
NEWER_EDITS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"pause_until": "2030-01-01T00:00:00+02:00"}),
    ({"pause_until": "2030-01-01T00:00:00Z"}, {"pause_until": "2031-01-01T00:00:00Z", "ack_wait": "5s"}),
    ({}, GROUPS),
    (GROUPS, {"priority_policy": "pinned_client", "priority_groups": ["all"], "priority_timeout": "1m"}),
    (GROUPS, {"priority_policy": "none"}),
]
EDITS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"description": "Bills", "ack_wait": "5s", "max_deliver": 7, "max_ack_pending": 5}),
    ({"max_deliver": 7}, {}),
    ({}, {"filter_subjects": ["orders.new"]}),
    ({"filter_subjects": ["orders.new"]}, {"filter_subject": "orders.old"}),
    ({"filter_subject": "orders.new"}, {"filter_subjects": []}),
    ({}, {"backoff": ["1s", "5s"], "max_deliver": 3}),
    ({"backoff": ["1s", "5s"], "max_deliver": 3}, {"backoff": ["2s"], "max_deliver": 3}),
    ({"backoff": ["1s", "5s"], "max_deliver": 3}, {"ack_wait": "7s"}),
    ({}, {"max_batch": 10, "max_expires": "30s", "max_bytes": "1MiB", "inactive_threshold": "1h"}),
    ({"inactive_threshold": "1h"}, {"inactive_threshold": 0}),
    ({}, {"headers_only": True, "sample_freq": "50%", "num_replicas": 1}),
]
FIXED: list[tuple[str, dict[str, Any]]] = [
    ("ack_policy", {"ack_policy": "all"}),
    ("replay_policy", {"replay_policy": "original"}),
    ("max_waiting", {"max_waiting": 7}),
    ("mem_storage", {"mem_storage": True}),
]


def consumer(**fields: Any) -> ConsumerConfig:
    return ConsumerConfig.model_validate({"stream": "ORDERS", **fields})


async def config_of(bus: NatsBus, name: str = "billing") -> dict[str, Any]:
    config: dict[str, Any] = (await bus.api(f"CONSUMER.INFO.ORDERS.{name}"))["config"]
    return config


@pytest.fixture(autouse=True)
async def orders(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", StreamConfig(subjects=("orders.>",)))


@pytest.mark.parametrize(("since", "fields"), DECLARED, ids=lambda value: "+".join(value) or "-")
async def test_a_declared_consumer_is_created_once(bus: NatsBus, since: str, fields: dict[str, Any]) -> None:
    if is_older(bus, since):
        with pytest.raises(TopologyError, match=rf"nats-server {since}"):
            await ensure_consumer(bus, "billing", consumer(**fields))
        return
    asked = Asked(bus)
    assert await ensure_consumer(asked.as_bus, "billing", consumer(**fields)) is Changed.CREATED
    assert await ensure_consumer(asked.as_bus, "billing", consumer(**fields)) is Changed.UNCHANGED
    assert len(asked.changes) == 1


async def test_a_declared_consumer_is_durable_explicit_and_never_gives_up(bus: NatsBus) -> None:
    await ensure_consumer(bus, "billing", consumer())
    config = await config_of(bus)
    assert (config["durable_name"], config["ack_policy"], config["max_deliver"]) == ("billing", "explicit", -1)


async def test_a_single_filter_is_part_of_the_subject_that_is_asked(bus: NatsBus) -> None:
    asked = Asked(bus)
    await ensure_consumer(asked.as_bus, "billing", consumer(filter_subjects=["orders.new"]))
    assert asked.changes == ["CONSUMER.CREATE.ORDERS.billing.orders.new"]


@pytest.mark.parametrize(("before", "after"), EDITS, ids=lambda fields: "+".join(fields) or "-")
async def test_what_may_change_is_updated_once(bus: NatsBus, before: dict[str, Any], after: dict[str, Any]) -> None:
    await ensure_consumer(bus, "billing", consumer(**before))
    asked = Asked(bus)
    assert await ensure_consumer(asked.as_bus, "billing", consumer(**after)) is Changed.UPDATED
    assert await ensure_consumer(asked.as_bus, "billing", consumer(**after)) is Changed.UNCHANGED
    assert len(asked.changes) == 1


@pytest.mark.parametrize(("before", "after"), NEWER_EDITS, ids=lambda fields: "+".join(fields) or "-")
async def test_what_newer_servers_change_is_changed_and_then_left_alone(
    bus: NatsBus, before: dict[str, Any], after: dict[str, Any]
) -> None:
    if is_older(bus, "2.11"):
        pytest.skip("pauses and priorities came with 2.11")
    await ensure_consumer(bus, "billing", consumer(**before))
    assert await ensure_consumer(bus, "billing", consumer(**after)) is Changed.UPDATED
    assert await ensure_consumer(bus, "billing", consumer(**after)) is Changed.UNCHANGED


async def test_a_change_of_the_pause_alone_updates_nothing_else(bus: NatsBus) -> None:
    if is_older(bus, "2.11"):
        pytest.skip("pauses came with 2.11")
    await ensure_consumer(bus, "billing", consumer())
    asked = Asked(bus)
    await ensure_consumer(asked.as_bus, "billing", consumer(pause_until="2030-01-01T00:00:00Z"))
    assert asked.changes == ["CONSUMER.PAUSE.ORDERS.billing"]


async def test_an_update_leaves_alone_what_is_not_declared(bus: NatsBus) -> None:
    await ensure_consumer(bus, "billing", consumer(max_ack_pending=5, max_waiting=7, filter_subject="orders.new"))
    before = await config_of(bus)
    await ensure_consumer(bus, "billing", consumer(max_ack_pending=6))
    assert await config_of(bus) == before | {"max_ack_pending": 6}


@pytest.mark.parametrize(("field", "after"), FIXED, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_can_not_change_is_an_error_with_both_values(
    bus: NatsBus, field: str, after: dict[str, Any]
) -> None:
    await ensure_consumer(bus, "billing", consumer())
    asked = Asked(bus)
    wanted = rf"consumer billing of stream ORDERS is there already.* {field} from .* to .*\[consumers.billing\]"
    with pytest.raises(TopologyError, match=wanted):
        await ensure_consumer(asked.as_bus, "billing", consumer(**after))
    assert asked.changes == []


async def test_a_push_consumer_of_that_name_is_an_error(bus: NatsBus) -> None:
    config = {"durable_name": "billing", "name": "billing", "ack_policy": "explicit", "deliver_subject": "to.billing"}
    await bus.api("CONSUMER.CREATE.ORDERS.billing", {"stream_name": "ORDERS", "config": config})
    with pytest.raises(TopologyError, match=r'deliver_subject from "to.billing"'):
        await ensure_consumer(bus, "billing", consumer())


async def test_where_it_starts_counts_at_creation_only(bus: NatsBus) -> None:
    await ensure_consumer(bus, "billing", consumer(deliver_policy="new"))
    assert await ensure_consumer(bus, "billing", consumer(deliver_policy="all")) is Changed.UNCHANGED
    later = consumer(deliver_policy="by_start_sequence", opt_start_seq=9)
    assert await ensure_consumer(bus, "billing", later) is Changed.UNCHANGED


async def test_it_can_be_created_again_from_a_sequence(bus: NatsBus) -> None:
    by_time = consumer(deliver_policy="by_start_time", opt_start_time="2024-01-01T00:00:00Z")
    assert await ensure_consumer(bus, "billing", by_time, opt_start_seq=3) is Changed.CREATED
    config = await config_of(bus)
    assert (config["deliver_policy"], config["opt_start_seq"]) == ("by_start_sequence", 3)
    assert await ensure_consumer(bus, "billing", by_time) is Changed.UNCHANGED


async def test_nothing_is_seen_on_the_wire_when_nothing_differs(server: NatsServer, bus: NatsBus) -> None:
    onlooker, seen = await onlook(server, "$JS.API.CONSUMER.>")
    await ensure_consumer(bus, "billing", consumer(ack_wait="5s"))
    assert await ensure_consumer(bus, "billing", consumer(ack_wait="5s")) is Changed.UNCHANGED
    await ensure_consumer(bus, "last", consumer())
    subjects: list[str] = []
    while subjects[-1:] != ["$JS.API.CONSUMER.CREATE.ORDERS.last"]:
        subjects.append((await seen.next_msg(timeout=5)).subject)
    assert [subject.removeprefix("$JS.API.CONSUMER.") for subject in subjects] == [
        "INFO.ORDERS.billing",
        "CREATE.ORDERS.billing",
        "INFO.ORDERS.billing",
        "INFO.ORDERS.last",
        "CREATE.ORDERS.last",
    ]
    await onlooker.close()


async def test_attach_only_takes_what_is_there_and_nothing_else(bus: NatsBus) -> None:
    asked, attach = Asked(bus), consumer(declare=False)
    with pytest.raises(NotFoundError):
        await ensure_consumer(asked.as_bus, "billing", attach)
    await ensure_consumer(bus, "billing", consumer(max_ack_pending=5))
    assert await ensure_consumer(asked.as_bus, "billing", attach) is Changed.UNCHANGED
    assert asked.changes == []


async def test_an_absent_stream_is_worth_looking_for_again(bus: NatsBus) -> None:
    with pytest.raises(NotFoundError, match="stream not found"):
        await ensure_consumer(bus, "billing", consumer(stream="LATER"))


async def test_what_the_server_refuses_says_the_servers_reason(bus: NatsBus) -> None:
    await ensure_stream(bus, "WORK", StreamConfig(subjects=("work",), retention="workqueue"))
    await ensure_consumer(bus, "one", consumer(stream="WORK"))
    with pytest.raises(TopologyError, match=r"consumer two of stream WORK: the server refuses it: .*\[consumers.two\]"):
        await ensure_consumer(bus, "two", consumer(stream="WORK"))


async def test_filters_that_an_older_server_drops_are_an_error(bus: NatsBus) -> None:
    old = Old(bus, "filter_subjects").as_bus
    with pytest.raises(TopologyError, match=r"filter_subjects is unset there after .*nats-server 2.10"):
        await ensure_consumer(old, "billing", consumer(filter_subjects=["orders.new", "orders.old"]))


async def test_a_field_above_the_servers_api_level_is_refused_before_anything_is_made(bus: NatsBus) -> None:
    old = Old(bus, level=1)
    prioritized = consumer(priority_policy="prioritized", priority_groups=["all"])
    with pytest.raises(TopologyError, match=r"API level 1\) for priority_policy = prioritized \(nats-server 2.12\)"):
        await ensure_consumer(old.as_bus, "billing", prioritized)
    assert old.changes == []


async def test_a_consumer_made_by_another_process_meanwhile_is_taken_as_it_is(bus: NatsBus) -> None:
    other = consumer(deliver_policy="by_start_sequence", opt_start_seq=5)
    overtaken = Overtaken(bus, lambda: ensure_consumer(bus, "billing", other))
    assert await ensure_consumer(overtaken.as_bus, "billing", consumer(), opt_start_seq=7) is Changed.UNCHANGED
    assert (await config_of(bus))["opt_start_seq"] == 5


async def test_a_consumer_deleted_by_another_process_meanwhile_is_created(bus: NatsBus) -> None:
    await ensure_consumer(bus, "billing", consumer(max_ack_pending=5))
    overtaken = Overtaken(bus, lambda: bus.api("CONSUMER.DELETE.ORDERS.billing"))
    done = await ensure_consumer(overtaken.as_bus, "billing", consumer(max_ack_pending=6))
    assert done in (Changed.CREATED, Changed.UPDATED)  # 2.9 takes an update for a creation
    assert (await config_of(bus))["max_ack_pending"] == 6


async def test_many_starting_at_once_all_get_their_consumer(bus: NatsBus) -> None:
    done = await asyncio.gather(*(ensure_consumer(bus, "billing", consumer(ack_wait="5s")) for _ in range(10)))
    assert set(done) <= {Changed.CREATED, Changed.UNCHANGED}
    assert await ensure_consumer(bus, "billing", consumer(ack_wait="5s")) is Changed.UNCHANGED


async def test_a_nak_delay_outlives_an_ensure_that_changes_nothing(bus: NatsBus, server: NatsServer) -> None:
    await ensure_consumer(bus, "billing", consumer(ack_wait="20s"))
    await bus.publish("orders.new", b"1")
    client = await nats.connect(server.url)
    pulled = await client.jetstream().pull_subscribe_bind("billing", "ORDERS")
    (message,) = await pulled.fetch(1)
    await message.nak(delay=0.5)
    await client.flush()
    assert await ensure_consumer(bus, "billing", consumer(ack_wait="20s")) is Changed.UNCHANGED
    (again,) = await pulled.fetch(1, timeout=5)
    assert again.metadata.num_delivered == 2
    await client.close()
