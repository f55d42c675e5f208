"""Whatever a server has, a plan on its import has nothing to do; made by the server's API alone, on a real server."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.import_ import file_of
from eventbus_runtime.cli.plan_output import exit_code
from eventbus_runtime.errors import ApiError
from eventbus_runtime.provisioning.apply import carry_out
from eventbus_runtime.provisioning.plan import Action
from eventbus_runtime.provisioning.server import read_server
from tests.provisioning.planned import Site

SECOND = 10**9
DURATION = st.integers(SECOND, 10**18)
SIZE = st.integers(100, 2**40) | st.integers(1, 1000).map(lambda count: count * 2**20)
STREAM = st.fixed_dictionaries(
    {},
    optional={
        "description": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        "retention": st.sampled_from(["limits", "interest", "workqueue"]),
        "storage": st.sampled_from(["file", "memory"]),
        "max_age": DURATION,
        "max_bytes": SIZE,
        "max_msgs": st.integers(1, 10**12),
        "max_msgs_per_subject": st.integers(1, 10),
        "max_msg_size": st.integers(100, 2**20),
        "max_consumers": st.integers(20, 99),
        "discard": st.sampled_from(["old", "new"]),
        "discard_new_per_subject": st.booleans(),
        "duplicate_window": DURATION,
        "no_ack": st.booleans(),
        "compression": st.sampled_from(["none", "s2"]),
        "first_seq": st.integers(1, 10**15),
        "placement": st.just({"tags": []}),
        "sources": st.just(
            [{"name": "FAR", "filter_subject": "far.a", "opt_start_time": "2024-01-01T00:00:00.123456789+02:00"}]
        ),
        "subject_transform": st.just({"src": "", "dest": "new.>"})
        | st.just({"src": "s.*", "dest": "t.{{wildcard(1)}}"}),
        "republish": st.just({"src": ">", "dest": "again.>"}) | st.just({"dest": "again.>", "headers_only": True}),
        "allow_direct": st.booleans(),
        "deny_delete": st.booleans(),
        "deny_purge": st.booleans(),
        "allow_rollup_hdrs": st.booleans(),
        "consumer_limits": st.just({"max_ack_pending": 2000, "inactive_threshold": 10**15}),
        "allow_msg_ttl": st.booleans(),
        "subject_delete_marker_ttl": st.integers(SECOND, 10**15),
        "allow_msg_counter": st.booleans(),
        "allow_atomic": st.booleans(),
        "allow_msg_schedules": st.booleans(),
        "persist_mode": st.sampled_from(["default", "async"]),
        "allow_batched": st.booleans(),
        "metadata": st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.just("x"), max_size=2
        ),
    },
)
STARTS: list[dict[str, Any]] = [
    {},
    {"deliver_policy": "new"},
    {"deliver_policy": "last"},
    {"deliver_policy": "last_per_subject", "filter_subject": "s.>"},
    {"deliver_policy": "by_start_sequence", "opt_start_seq": 10**15},
    {"deliver_policy": "by_start_time", "opt_start_time": "2024-01-01T00:00:00.987654321Z"},
]
CONSUMER = st.fixed_dictionaries(
    {"ack_policy": st.sampled_from(["explicit", "all", "none"])},
    optional={
        "description": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        "ack_wait": DURATION,
        "max_deliver": st.integers(1, 10**6),
        "backoff": st.lists(DURATION, min_size=1, max_size=1),
        "filter_subjects": st.just(["s.a", "s.b"]) | st.just(["s.a"]),
        "replay_policy": st.sampled_from(["instant", "original"]),
        "sample_freq": st.sampled_from(["50", "50%"]),
        "max_waiting": st.integers(1, 999),
        "max_ack_pending": st.just(-1) | st.integers(1, 2000),
        "headers_only": st.booleans(),
        "max_batch": st.integers(1, 999),
        "max_expires": DURATION,
        "max_bytes": SIZE,
        "inactive_threshold": DURATION,
        "num_replicas": st.just(1),
        "mem_storage": st.booleans(),
        "metadata": st.dictionaries(st.sampled_from(["team", "cost"]), st.just("x")),
        "pause_until": st.sampled_from(["2030-01-01T00:00:00.123456789Z", "2020-01-01T00:00:00Z"]),
    },
)
GROUPS: list[dict[str, Any]] = [
    {},
    {"priority_policy": "overflow", "priority_groups": ["g"]},
    {"priority_policy": "pinned_client", "priority_groups": ["g"], "priority_timeout": 5 * SECOND},
    {"priority_policy": "pinned_client", "priority_groups": ["g"]},
    {"priority_policy": "prioritized", "priority_groups": ["g"]},
]


DOING = (Action.CREATE, Action.UPDATE, Action.REFUSE)
RICH_STREAM: dict[str, Any] = {
    "description": 'All "orders"',
    "storage": "memory",
    "max_age": 7 * 86400 * SECOND + 1,
    "max_bytes": 2**30,
    "max_msgs": 10**6,
    "max_msgs_per_subject": 7,
    "max_msg_size": 1000,
    "max_consumers": 9,
    "discard": "new",
    "discard_new_per_subject": True,
    "duplicate_window": 90 * SECOND,
    "no_ack": True,
    "republish": {"src": "s.a", "dest": "again.a", "headers_only": True},
    "allow_direct": True,
    "deny_delete": True,
    "allow_rollup_hdrs": True,
}
RICH_CONSUMERS: list[dict[str, Any]] = [
    {"ack_policy": "explicit", "backoff": [SECOND, 5 * SECOND], "max_deliver": 7, "filter_subject": "s.a"},
    {"ack_policy": "all", "ack_wait": 1500 * 10**6, "max_ack_pending": -1, "max_waiting": 7, "mem_storage": True},
    {"ack_policy": "none", "deliver_policy": "by_start_sequence", "opt_start_seq": 5, "replay_policy": "original"},
    {"ack_policy": "explicit", "deliver_policy": "by_start_time", "opt_start_time": "2024-01-01T00:00:00.5Z"},
    {"ack_policy": "explicit", "max_batch": 10, "max_expires": 30 * SECOND, "max_bytes": 2**20, "headers_only": True},
    {"ack_policy": "explicit", "inactive_threshold": 3600 * SECOND, "num_replicas": 1, "sample_freq": "50%"},
]


async def filled(bus: NatsBus, stream: dict[str, Any], consumers: list[dict[str, Any]]) -> int:
    """Have these alone be there, but for what the server refuses; how many it took."""
    for name in (await bus.api("STREAM.NAMES")).get("streams") or ():
        await bus.api(f"STREAM.DELETE.{name}")
    taken = 0
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], **stream}),
        ("STREAM.CREATE.MIRROR", {"name": "MIRROR", "mirror": {"name": "S", "filter_subject": "s.a"}}),
        *(
            (
                f"CONSUMER.DURABLE.CREATE.S.c{at}",
                {"stream_name": "S", "config": {"durable_name": f"c{at}", **fields}},
            )
            for at, fields in enumerate(consumers)
        ),
    ]
    for subject, body in wanted:
        try:
            await bus.api(subject, json.loads(json.dumps(body)))
            taken += 1
        except ApiError:
            continue
    return taken


CONSUMERS = st.lists(
    st.builds(
        lambda *parts: {**parts[0], **parts[1], **parts[2]}, CONSUMER, st.sampled_from(STARTS), st.sampled_from(GROUPS)
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STREAM, CONSUMERS)
async def test_all_that_a_server_takes_is_declared_and_a_plan_has_nothing_to_do(
    site: Site, stream: dict[str, Any], consumers: list[dict[str, Any]]
) -> None:
    await filled(site.bus, stream, consumers)
    text = file_of(await read_server(site.bus), "[buses.main]")
    assert "# Left out" not in text
    shown = await site.plan_of(text)
    assert [(item.label, item.differences, item.refusals) for item in shown.plan.having(*DOING)] == []
    assert exit_code([shown]) == 0


async def test_the_richest_is_declared_whole(site: Site) -> None:
    """So that the property above is none of comments."""
    assert await filled(site.bus, RICH_STREAM, RICH_CONSUMERS) == 2 + len(RICH_CONSUMERS)
    text = file_of(await read_server(site.bus), "[buses.main]")
    tables = tomllib.loads(text)
    assert "# Left out" not in text
    assert set(tables["streams"]["S"]) == {*RICH_STREAM, "subjects"}
    assert set(tables["consumers"]) == {f"c{at}" for at in range(len(RICH_CONSUMERS))}
    assert exit_code([await site.plan_of(text)]) == 0


async def test_an_import_makes_the_same_anew(site: Site) -> None:
    await filled(site.bus, RICH_STREAM, RICH_CONSUMERS)
    before = await everything(site.bus)
    text = file_of(await read_server(site.bus), "[buses.main]")
    await filled(site.bus, {}, [])
    await site.bus.api("STREAM.DELETE.MIRROR")
    await site.bus.api("STREAM.DELETE.S")
    shown = await site.plan_of(text)
    assert await carry_out(site.bus, shown.plan, lambda item, how: None) == []
    assert await everything(site.bus) == before


async def everything(bus: NatsBus) -> dict[str, Any]:
    """All configurations by name; older servers leave a consumer's name out where only durable_name was asked."""
    server = await read_server(bus)
    return {
        name: (
            stored.config,
            {consumer: {**info["config"], "name": consumer} for consumer, info in stored.consumers.items()},
        )
        for name, stored in server.streams.items()
    }
