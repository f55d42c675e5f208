"""What a file may say of streams and consumers, and what the server gets of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig, check_name, check_subject, safe_name

# nats-server 2.15: the JSON names in `StreamConfig` and `ConsumerConfig`; without the names, and what is push only.
STREAM_FIELDS = {
    "description",
    "subjects",
    "retention",
    "max_consumers",
    "max_msgs",
    "max_bytes",
    "max_age",
    "max_msgs_per_subject",
    "max_msg_size",
    "discard",
    "storage",
    "num_replicas",
    "no_ack",
    "duplicate_window",
    "placement",
    "mirror",
    "sources",
    "compression",
    "first_seq",
    "subject_transform",
    "republish",
    "allow_direct",
    "mirror_direct",
    "discard_new_per_subject",
    "sealed",
    "deny_delete",
    "deny_purge",
    "allow_rollup_hdrs",
    "consumer_limits",
    "allow_msg_ttl",
    "subject_delete_marker_ttl",
    "allow_msg_counter",
    "allow_atomic",
    "allow_msg_schedules",
    "persist_mode",
    "allow_batched",
    "metadata",
}
CONSUMER_FIELDS = {
    "description",
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "backoff",
    "filter_subject",
    "filter_subjects",
    "replay_policy",
    "sample_freq",
    "max_waiting",
    "max_ack_pending",
    "headers_only",
    "max_batch",
    "max_expires",
    "max_bytes",
    "inactive_threshold",
    "num_replicas",
    "mem_storage",
    "metadata",
    "pause_until",
    "priority_groups",
    "priority_policy",
    "priority_timeout",
}
PUSH_ONLY = {
    "deliver_subject",
    "deliver_group",
    "flow_control",
    "idle_heartbeat",
    "rate_limit_bps",
    "direct",
    "sourcing",
}


def problems(model: type[StreamConfig] | type[ConsumerConfig], fields: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    return [(".".join(map(str, one["loc"])), one["msg"]) for one in caught.value.errors()]


def test_every_field_of_the_server_is_there_with_a_text() -> None:
    assert set(StreamConfig.model_fields) == STREAM_FIELDS | {"bus", "declare"}
    assert set(ConsumerConfig.model_fields) == CONSUMER_FIELDS | {"stream", "declare"} | PUSH_ONLY
    shown = {**StreamConfig.model_json_schema()["properties"], **ConsumerConfig.model_json_schema()["properties"]}
    assert set(shown) & PUSH_ONLY == set()
    assert [name for name, field in shown.items() if not field.get("description")] == []


def test_a_stream_goes_out_with_what_the_file_sets_and_no_more() -> None:
    config = StreamConfig.model_validate(
        {
            "bus": "main",
            "declare": True,
            "subjects": "orders.>",
            "max_age": "7d",
            "max_bytes": "10GiB",
            "placement": {"tags": ["ssd"]},
            "sources": [{"name": "A", "opt_start_time": datetime(2024, 1, 1, tzinfo=UTC)}],
            "consumer_limits": {"inactive_threshold": "5m"},
            "republish": {"dest": "again.>"},
        }
    )
    assert config.to_server("ORDERS") == {
        "name": "ORDERS",
        "subjects": ["orders.>"],
        "max_age": 7 * 86400 * 10**9,
        "max_bytes": 10 * 2**30,
        "placement": {"tags": ["ssd"]},
        "sources": [{"name": "A", "opt_start_time": "2024-01-01T00:00:00+00:00"}],
        "consumer_limits": {"inactive_threshold": 300 * 10**9},
        "republish": {"dest": "again.>"},
    }


def test_a_consumer_goes_out_durable_with_explicit_acks_and_no_limit_of_deliveries() -> None:
    config = ConsumerConfig.model_validate({"stream": "ORDERS", "filter_subjects": "orders.new", "backoff": ["1s", 5]})
    assert config.to_server("billing") == {
        "name": "billing",
        "durable_name": "billing",
        "ack_policy": "explicit",
        "max_deliver": -1,
        "filter_subjects": ["orders.new"],
        "backoff": [10**9, 5 * 10**9],
    }
    assert ConsumerConfig(max_deliver=7, ack_policy="all").to_server("billing")["max_deliver"] == 7


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a*", ">", "a/b", "a\\b", "a\tb", "x" * 256])
def test_a_name_that_the_server_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="can't be a name"):
        check_name(name)


def test_any_other_name_passes_and_any_text_can_be_made_one() -> None:
    assert check_name("ORDERS-1_é") == "ORDERS-1_é"
    assert check_name(safe_name("a.b c/d>*\\")) == "a_b_c_d___"


@pytest.mark.parametrize("subject", ["", ".", "a..b", "a.", " a", "a b", ">.a", "a.>.b", "a*", "a.b>", "*a.b"])
def test_what_is_no_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="is not a subject"):
        check_subject(subject)


@pytest.mark.parametrize("subject", ["a", "a.b-c", "*", ">", "a.*.>", "$JS.EVENT.ADVISORY.>"])
def test_subjects_with_and_without_wildcards_pass(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize(
    ("fields", "key", "text"),
    [
        ({}, "", "needs subjects"),
        ({"subjects": ["a b"]}, "subjects.0", "'a b' is not a subject"),
        ({"subjects": 5}, "subjects", "valid tuple"),
        ({"subjects": ["a"], "max_age": "1s", "duplicate_window": "2s"}, "duplicate_window", "above max_age"),
        ({"subjects": ["a"], "discard_new_per_subject": True}, "discard_new_per_subject", 'discard = "new"'),
        ({"subjects": ["a"], "mirror": {"name": "B"}}, "mirror", "can't have subjects"),
        ({"mirror": {"name": "B"}, "sources": [{"name": "C"}]}, "sources", "not both"),
        ({"mirror": {"name": "a.b"}}, "mirror.name", "can't be a name"),
        ({"declare": False, "subjects": ["a"], "max_msgs": 5}, "", "can't set max_msgs, subjects"),
        ({"subjects": ["a"], "max_msgs": "5"}, "max_msgs", "valid integer"),
        ({"subjects": ["a"], "retention": "work"}, "retention", "'workqueue'"),
        ({"subjects": ["a"], "max_agee": 5}, "max_agee", "Extra inputs"),
        ({"subjects": ["a"], "mirror": None, "sources": [{"nam": "B"}]}, "sources.0.name", "required"),
    ],
)
def test_a_mistake_in_a_stream_is_told_at_its_key(fields: dict[str, Any], key: str, text: str) -> None:
    found = problems(StreamConfig, fields)
    assert found[0][0] == key
    assert text in found[0][1]


@pytest.mark.parametrize(
    ("fields", "key", "text"),
    [
        *(({name: "x"}, name, "triggers use pull consumers") for name in sorted(PUSH_ONLY)),
        ({"stream": "a.b"}, "stream", "can't be a name"),
        ({"filter_subject": "a..b"}, "filter_subject", "is not a subject"),
        ({"filter_subject": "a", "filter_subjects": ["b"]}, "filter_subjects", "filter_subject is set too"),
        ({"opt_start_seq": 5}, "opt_start_seq", 'needs deliver_policy = "by_start_sequence"'),
        ({"opt_start_time": "2024-01-01T00:00:00Z"}, "opt_start_time", 'needs deliver_policy = "by_start_time"'),
        ({"opt_start_time": "2024-01-01T00:00:00"}, "opt_start_time", "timezone"),
        ({"deliver_policy": "by_start_sequence"}, "", "needs opt_start_seq"),
        ({"deliver_policy": "by_start_time"}, "", "needs opt_start_time"),
        ({"max_deliver": 1, "backoff": ["1s", "2s"]}, "backoff", "has 2 steps, more than the 1 deliveries"),
        ({"ack_wait": "5s", "backoff": ["1s"]}, "", "backoff replaces ack_wait"),
        ({"priority_policy": "overflow"}, "", "go together"),
        ({"priority_groups": ["a"]}, "", "go together"),
        ({"priority_policy": "overflow", "priority_groups": ["a b"]}, "priority_groups", "can't be a group's name"),
        ({"declare": False, "stream": "S", "ack_wait": "5s"}, "", "can't set ack_wait"),
        ({"sample_freq": "half"}, "sample_freq", "pattern"),
    ],
)
def test_a_mistake_in_a_consumer_is_told_at_its_key(fields: dict[str, Any], key: str, text: str) -> None:
    found = problems(ConsumerConfig, fields)
    assert found[0][0] == key
    assert text in found[0][1]


@pytest.mark.parametrize("fields", [{"declare": False}, {"declare": False, "bus": "main"}, {"mirror": {"name": "A"}}])
def test_a_stream_needs_no_subjects_when_it_is_there_already_or_a_copy(fields: dict[str, Any]) -> None:
    assert StreamConfig.model_validate(fields).subjects == ()
