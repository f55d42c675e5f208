"""Streams, made and changed as declared, on real servers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.objects import StreamConfig
from eventbus_runtime.errors import ApiError, BusError, BusUnavailableError, NotFoundError, TopologyError
from eventbus_runtime.provisioning.topology import Changed, ensure_stream
from eventbus_runtime.testing.server import NatsServer
from tests.provisioning.buses import Asked, Crossed, Electing, Old, Overtaken, Unavailable, Unheard, is_older, onlook

KNOWN_BY_ALL: list[dict[str, Any]] = [
    {},
    {"subjects": ["orders.new", "orders.old.>"], "description": "All orders"},
    {"retention": "interest", "storage": "memory", "max_consumers": 7},
    {"retention": "workqueue", "num_replicas": 0},
    {"max_age": "10s", "max_bytes": "1MiB", "max_msgs": 5, "max_msgs_per_subject": 2, "max_msg_size": "1KiB"},
    {"max_age": 0, "max_bytes": 0, "max_msgs": 0, "max_msgs_per_subject": 0, "max_msg_size": 0, "max_consumers": 0},
    {"max_age": "10s", "duplicate_window": "5s"},
    {"duplicate_window": 0, "description": "", "no_ack": False, "placement": {}, "metadata": {}},
    {"discard": "new", "discard_new_per_subject": True, "max_msgs_per_subject": 3},
    {"no_ack": True, "deny_delete": True, "deny_purge": True, "allow_direct": True},
    {"allow_rollup_hdrs": True, "republish": {"dest": "again.>"}},
    {"republish": {"src": ">", "dest": "again.>", "headers_only": True}},
    {"subjects": [], "mirror": {"name": "ORIGIN", "opt_start_time": "2024-01-01T00:00:00+02:00"}},
    {"sources": [{"name": "ORIGIN", "filter_subject": "origin.a"}, {"name": "ABSENT", "opt_start_seq": 5}]},
    {"placement": {"tags": []}, "allow_direct": False, "sealed": False},
]
NEWER: list[tuple[str, dict[str, Any]]] = [
    ("2.10", {"compression": "s2"}),
    ("2.10", {"metadata": {"team": "billing"}}),
    ("2.10", {"first_seq": 100}),
    ("2.10", {"subject_transform": {"src": "orders.>", "dest": "stored.>"}}),
    ("2.10", {"consumer_limits": {"max_ack_pending": 5, "inactive_threshold": "5m"}}),
    ("2.11", {"allow_msg_ttl": True}),
    ("2.11", {"subject_delete_marker_ttl": "10s", "allow_rollup_hdrs": True}),
    ("2.12", {"allow_msg_counter": True}),
    ("2.12", {"allow_atomic": True}),
    ("2.12", {"allow_msg_schedules": True}),
    ("2.12", {"persist_mode": "async"}),
    ("2.14", {"allow_batched": True}),
    ("2.14", {"sources": [{"name": "ORIGIN", "consumer": {"name": "copy", "deliver_subject": "to.copy"}}]}),
]
EDITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("2.9", {}, {"subjects": ["orders.>", "returns.>"]}),
    ("2.9", {}, {"description": "All orders"}),
    ("2.9", {}, {"max_age": "10s"}),
    ("2.9", {"max_age": "10s"}, {"max_age": "1h", "duplicate_window": "30s"}),
    ("2.9", {}, {"max_bytes": "1MiB", "max_msgs": 5, "max_msgs_per_subject": 2, "max_msg_size": "1KiB"}),
    ("2.9", {"max_msgs": 5}, {"max_msgs": -1}),
    ("2.9", {}, {"discard": "new", "no_ack": True, "allow_direct": True, "allow_rollup_hdrs": True}),
    ("2.9", {}, {"deny_delete": True, "deny_purge": True}),
    ("2.10", {}, {"republish": {"dest": "again.>"}}),
    ("2.10", {"republish": {"dest": "again.>"}}, {"republish": {"src": "orders.a", "dest": "again.a"}}),
    ("2.9", {}, {"sources": [{"name": "ORIGIN"}]}),
    ("2.9", {"max_age": "1h"}, {"duplicate_window": "1m"}),
]
FIXED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("storage", {}, {"storage": "memory"}),
    ("retention", {}, {"retention": "workqueue"}),
    ("retention", {"retention": "workqueue"}, {"retention": "limits"}),
    ("mirror", {"subjects": [], "mirror": {"name": "ORIGIN"}}, {"subjects": [], "mirror": {"name": "OTHER"}}),
    ("mirror", {"subjects": [], "mirror": {"name": "ORIGIN"}}, {}),
    ("deny_delete", {"deny_delete": True}, {"deny_delete": False}),
    ("deny_purge", {"deny_purge": True}, {"deny_purge": False}),
    ("first_seq", {}, {"first_seq": 100}),
    ("allow_msg_counter", {}, {"allow_msg_counter": True}),
    ("persist_mode", {}, {"persist_mode": "async"}),
]


def stream(**fields: Any) -> StreamConfig:
    return StreamConfig.model_validate({"subjects": ["orders.>"], **fields})


async def config_of(bus: NatsBus, name: str) -> dict[str, Any]:
    config: dict[str, Any] = (await bus.api(f"STREAM.INFO.{name}"))["config"]
    return config


async def origin(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORIGIN", stream(subjects=["origin.>"]))


@pytest.mark.parametrize("fields", KNOWN_BY_ALL, ids=lambda fields: "+".join(fields) or "subjects")
async def test_a_declared_stream_is_created_once(bus: NatsBus, fields: dict[str, Any]) -> None:
    await origin(bus)
    asked = Asked(bus)
    assert await ensure_stream(asked.as_bus, "ORDERS", stream(**fields)) is Changed.CREATED
    assert await ensure_stream(asked.as_bus, "ORDERS", stream(**fields)) is Changed.UNCHANGED
    assert asked.changes == ["STREAM.CREATE.ORDERS"]


@pytest.mark.parametrize(("since", "fields"), NEWER, ids=lambda value: "+".join(value))
async def test_a_field_is_kept_by_the_server_or_refused_by_us(bus: NatsBus, since: str, fields: dict[str, Any]) -> None:
    await origin(bus)
    if is_older(bus, since):
        with pytest.raises(TopologyError, match=rf"nats-server {since}"):
            await ensure_stream(bus, "ORDERS", stream(**fields))
    else:
        assert await ensure_stream(bus, "ORDERS", stream(**fields)) is Changed.CREATED
        assert await ensure_stream(bus, "ORDERS", stream(**fields)) is Changed.UNCHANGED


@pytest.mark.parametrize(("since", "before", "after"), EDITS, ids=lambda value: "+".join(value) or "-")
async def test_what_may_change_is_updated_once(
    bus: NatsBus, since: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await origin(bus)
    await ensure_stream(bus, "ORDERS", stream(**before))
    asked = Asked(bus)
    if is_older(bus, since):
        with pytest.raises(TopologyError, match="the server refuses it"):
            await ensure_stream(asked.as_bus, "ORDERS", stream(**after))
        return
    assert await ensure_stream(asked.as_bus, "ORDERS", stream(**after)) is Changed.UPDATED
    assert await ensure_stream(asked.as_bus, "ORDERS", stream(**after)) is Changed.UNCHANGED
    assert asked.changes == ["STREAM.UPDATE.ORDERS"]


async def test_an_update_leaves_alone_what_is_not_declared(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", stream(max_msgs=5, description="by hand", deny_purge=True))
    before = await config_of(bus, "ORDERS")
    await ensure_stream(bus, "ORDERS", stream(max_msgs=6))
    assert await config_of(bus, "ORDERS") == before | {"max_msgs": 6}


async def test_retention_changes_between_limits_and_interest_where_the_server_can(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", stream())
    if is_older(bus, "2.10"):
        with pytest.raises(TopologyError, match="can not change retention policy"):
            await ensure_stream(bus, "ORDERS", stream(retention="interest"))
    else:
        assert await ensure_stream(bus, "ORDERS", stream(retention="interest")) is Changed.UPDATED


@pytest.mark.parametrize(("field", "before", "after"), FIXED, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_can_not_change_is_an_error_with_both_values(
    bus: NatsBus, field: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await origin(bus)
    await ensure_stream(bus, "ORDERS", stream(**before))
    asked = Asked(bus)
    with pytest.raises(
        TopologyError, match=rf"stream ORDERS is there already.* {field} from .* to .*\[streams.ORDERS\]"
    ):
        await ensure_stream(asked.as_bus, "ORDERS", stream(**after))
    assert asked.changes == []


async def test_nothing_is_seen_on_the_wire_when_nothing_differs(server: NatsServer, bus: NatsBus) -> None:
    onlooker, seen = await onlook(server, "$JS.API.STREAM.>")
    await ensure_stream(bus, "ORDERS", stream(max_age="1h"))
    assert await ensure_stream(bus, "ORDERS", stream(max_age="1h")) is Changed.UNCHANGED
    await ensure_stream(bus, "LAST", stream(subjects=["last"]))
    subjects: list[str] = []
    while subjects[-1:] != ["$JS.API.STREAM.CREATE.LAST"]:
        subjects.append((await seen.next_msg(timeout=5)).subject)
    assert [subject.removeprefix("$JS.API.STREAM.") for subject in subjects] == [
        "INFO.ORDERS",
        "CREATE.ORDERS",
        "INFO.ORDERS",
        "INFO.LAST",
        "CREATE.LAST",
    ]
    await onlooker.close()


async def test_attach_only_takes_what_is_there_and_nothing_else(bus: NatsBus) -> None:
    asked, attach = Asked(bus), StreamConfig(declare=False)
    with pytest.raises(NotFoundError):
        await ensure_stream(asked.as_bus, "ORDERS", attach)
    await ensure_stream(bus, "ORDERS", stream(max_msgs=5))
    assert await ensure_stream(asked.as_bus, "ORDERS", attach) is Changed.UNCHANGED
    assert asked.changes == []


@pytest.mark.parametrize("subjects", [["orders.new"], ["orders.*.x"], ["other", "orders.*"]])
async def test_overlapping_subjects_name_the_other_stream(bus: NatsBus, subjects: list[str]) -> None:
    await ensure_stream(bus, "ORDERS", stream())
    with pytest.raises(TopologyError, match=r"stream COPY: the stream ORDERS stores \"[^\"]*\" already"):
        await ensure_stream(bus, "COPY", stream(subjects=subjects))


async def test_an_update_into_another_streams_subjects_names_it(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", stream())
    await ensure_stream(bus, "RETURNS", stream(subjects=["returns.>"]))
    with pytest.raises(TopologyError, match=r'stream RETURNS: the stream ORDERS stores "orders.back" already'):
        await ensure_stream(bus, "RETURNS", stream(subjects=["returns.>", "orders.back"]))


async def test_what_the_server_refuses_says_the_servers_reason(bus: NatsBus) -> None:
    with pytest.raises(TopologyError, match=r"stream ORDERS: the server refuses it: .*max age.*\[streams.ORDERS\]"):
        await ensure_stream(bus, "ORDERS", stream(max_age="1ms"))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"compression": "s2"}, 'compression is "none" there after "s2" was asked'),
        ({"first_seq": 100}, "first_seq is unset there after 100 was asked"),
    ],
)
async def test_a_field_that_an_older_server_drops_is_an_error(bus: NatsBus, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(TopologyError, match=rf"{text} \(needs nats-server 2.10\)"):
        await ensure_stream(Old(bus, *fields).as_bus, "ORDERS", stream(**fields))


@pytest.mark.parametrize(("level", "fields"), [(None, {"allow_msg_ttl": True}), (1, {"allow_atomic": True})])
async def test_a_field_above_the_servers_api_level_is_refused_before_anything_is_made(
    bus: NatsBus, level: int | None, fields: dict[str, Any]
) -> None:
    old = Old(bus, *fields, level=level)
    with pytest.raises(TopologyError, match=rf"API level {level or 0}.*{next(iter(fields))} \(nats-server 2"):
        await ensure_stream(old.as_bus, "ORDERS", stream(**fields))
    assert old.changes == []


async def test_a_stream_made_by_another_process_meanwhile_is_brought_to_the_declaration(bus: NatsBus) -> None:
    overtaken = Overtaken(bus, lambda: ensure_stream(bus, "ORDERS", stream(max_msgs=7)))
    assert await ensure_stream(overtaken.as_bus, "ORDERS", stream(max_msgs=5)) is Changed.UPDATED
    assert (await config_of(bus, "ORDERS"))["max_msgs"] == 5


async def test_a_stream_deleted_by_another_process_meanwhile_is_created(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", stream(max_msgs=7))
    overtaken = Overtaken(bus, lambda: bus.api("STREAM.DELETE.ORDERS"))
    assert await ensure_stream(overtaken.as_bus, "ORDERS", stream(max_msgs=5)) is Changed.CREATED


async def test_an_answer_to_another_processs_change_is_not_taken_for_ours(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", stream(max_msgs=6))
    other = {"name": "ORDERS", "subjects": ["orders.>"], "max_msgs": 7}
    crossed = Crossed(bus, lambda: bus.api("STREAM.UPDATE.ORDERS", other))
    assert await ensure_stream(crossed.as_bus, "ORDERS", stream(max_msgs=5)) is Changed.UPDATED
    assert (await config_of(bus, "ORDERS"))["max_msgs"] == 5


async def test_a_group_that_elects_is_asked_again_until_it_has_a_leader(bus: NatsBus) -> None:
    await ensure_stream(bus, "ORDERS", stream())
    assert await ensure_stream(Electing(bus, 2).as_bus, "ORDERS", stream()) is Changed.UNCHANGED


async def test_a_change_whose_answer_is_lost_is_seen_to_be_made(bus: NatsBus) -> None:
    created, updated = Unheard(bus), Unheard(bus)
    assert await ensure_stream(created.as_bus, "ORDERS", stream()) is Changed.CREATED
    assert await ensure_stream(updated.as_bus, "ORDERS", stream(max_msgs=5)) is Changed.UPDATED
    assert created.changes + updated.changes == ["STREAM.CREATE.ORDERS", "STREAM.UPDATE.ORDERS"]


@pytest.mark.parametrize(
    "error",
    [
        BusUnavailableError("no answer"),
        ApiError(503, 10008, "JetStream system temporarily unavailable", "CREATE"),
        ApiError(400, 10005, "no suitable peers for placement", "CREATE"),
    ],
    ids=["silence", "no meta leader", "not complete"],
)
async def test_a_change_that_a_cluster_can_not_make_now_is_worth_another_try(bus: NatsBus, error: BusError) -> None:
    with pytest.raises(BusUnavailableError, match=re.escape(str(error))):
        await ensure_stream(Unavailable(bus, error).as_bus, "ORDERS", stream())


async def test_many_starting_at_once_all_get_their_stream(bus: NatsBus) -> None:
    done = await asyncio.gather(*(ensure_stream(bus, "ORDERS", stream(max_age="1h")) for _ in range(10)))
    assert set(done) <= {Changed.CREATED, Changed.UNCHANGED}
    assert await ensure_stream(bus, "ORDERS", stream(max_age="1h")) is Changed.UNCHANGED


async def test_an_object_that_others_never_leave_alone_is_worth_another_try(bus: NatsBus) -> None:
    class Restless(Overtaken):
        async def api(self, subject: str, body: Any = None, *, timeout: float = 5.0) -> dict[str, Any]:
            self.changes.clear()
            return await super().api(subject, body, timeout=timeout)

    await ensure_stream(bus, "ORDERS", stream())

    async def flip() -> None:
        try:
            await bus.api("STREAM.DELETE.ORDERS")
        except NotFoundError:
            await bus.api("STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"]})

    with pytest.raises(BusUnavailableError, match="someone else keeps changing it"):
        await ensure_stream(Restless(bus, flip).as_bus, "ORDERS", stream(max_msgs=5))
