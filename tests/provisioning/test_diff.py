"""What counts as a difference, and which may be mended; no server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.provisioning.diff import Difference, diff_consumer, diff_stream

SUBJECTS = ["a", "b.*", "c.d.>", "e.f"]
STREAMS = st.fixed_dictionaries(
    {"subjects": st.lists(st.sampled_from(SUBJECTS), min_size=1, unique=True)},
    optional={
        "description": st.text(max_size=9),
        "retention": st.sampled_from(["limits", "interest", "workqueue"]),
        "storage": st.sampled_from(["file", "memory"]),
        "num_replicas": st.integers(0, 5),
        "max_age": st.sampled_from([0, "1h", "7d"]),
        "max_bytes": st.sampled_from([-1, 0, "1MiB"]),
        "max_msgs": st.integers(-1, 3),
        "max_msgs_per_subject": st.integers(-1, 3),
        "max_msg_size": st.sampled_from([-1, 0, "1KiB"]),
        "max_consumers": st.integers(-1, 3),
        "discard": st.sampled_from(["old", "new"]),
        "duplicate_window": st.sampled_from([0, "1s", "1h"]),
        "no_ack": st.booleans(),
        "compression": st.sampled_from(["none", "s2"]),
        "first_seq": st.integers(0, 3),
        "placement": st.sampled_from([{}, {"tags": []}, {"tags": ["ssd"]}, {"cluster": "east"}]),
        "sources": st.lists(
            st.sampled_from([{"name": "A"}, {"name": "B", "opt_start_time": "2024-01-01T00:00:00+02:00"}]),
            unique_by=str,
        ),
        "republish": st.sampled_from([{"dest": "x.>"}, {"src": ">", "dest": "x.>", "headers_only": False}]),
        "consumer_limits": st.sampled_from([{}, {"max_ack_pending": 0}, {"inactive_threshold": "1m"}]),
        "metadata": st.dictionaries(st.sampled_from(["team", "cost"]), st.text(max_size=3)),
        "allow_direct": st.booleans(),
        "deny_purge": st.booleans(),
        "persist_mode": st.sampled_from(["default", "async"]),
    },
)
CONSUMERS = st.fixed_dictionaries(
    {},
    optional={
        "description": st.text(max_size=9),
        "filter_subjects": st.lists(st.sampled_from(SUBJECTS), unique=True),
        "deliver_policy": st.sampled_from(["all", "new", "last"]),
        "max_deliver": st.sampled_from([-1, 0, 7]),
        "max_ack_pending": st.sampled_from([-1, 0, 5]),
        "max_waiting": st.sampled_from([0, 5]),
        "max_batch": st.sampled_from([0, 5]),
        "max_expires": st.sampled_from([0, "5s"]),
        "ack_wait": st.sampled_from([0, "5s"]),
        "sample_freq": st.sampled_from(["", "50", "50%"]),
        "headers_only": st.booleans(),
        "pause_until": st.sampled_from(["2030-01-01T00:00:00+02:00"]),
        "metadata": st.dictionaries(st.sampled_from(["team", "cost"]), st.text(max_size=3)),
    },
)


def echo(asked: dict[str, Any], choices: dict[str, Any]) -> dict[str, Any]:
    """What a server says of a configuration that it was given: empty members left out, its own choices filled in."""
    told = {key: value if key == "metadata" else _without_empty(value) for key, value in asked.items()}
    told = {key: value for key, value in told.items() if value} | {
        key: choice for key, choice in choices.items() if not asked.get(key)
    }
    if "republish" in told:
        told["republish"] = {"src": ">", **told["republish"]}
    for unordered in ("subjects", "filter_subjects", "sources"):
        if unordered in told:
            told[unordered] = told[unordered][::-1]
    if len(told.get("filter_subjects", [])) == 1:
        told["filter_subject"] = told.pop("filter_subjects")[0]
    if "pause_until" in told:
        told["pause_until"] = "2029-12-31T22:00:00.000000000Z"
    return told | {"metadata": {**told.get("metadata", {}), "_nats.ver": "2.15.1", "_nats.level": "5"}}


def _without_empty(value: Any) -> Any:
    return {key: item for key, item in value.items() if item} if isinstance(value, dict) else value


STREAM_CHOICES = {
    "retention": "limits",
    "num_replicas": 1,
    **dict.fromkeys(["max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers"], -1),
    "duplicate_window": 120 * 10**9,
    "max_age": 0,
    "sealed": False,
    "consumer_limits": {},
}
CONSUMER_CHOICES = {
    "max_deliver": -1,
    "ack_wait": 30 * 10**9,
    "max_ack_pending": 1000,
    "max_waiting": 512,
    "max_batch": 500,
    "num_replicas": 0,
    "deliver_policy": "all",
    "replay_policy": "instant",
}


@given(STREAMS)
def test_a_stream_as_the_server_echoes_it_is_no_difference(fields: dict[str, Any]) -> None:
    if fields.get("max_age"):
        fields.pop("duplicate_window", None)
    declared = StreamConfig.model_validate(fields).to_server("S")
    assert diff_stream(declared, echo(declared, STREAM_CHOICES)) == []


@given(CONSUMERS)
def test_a_consumer_as_the_server_echoes_it_is_no_difference(fields: dict[str, Any]) -> None:
    declared = ConsumerConfig.model_validate(fields).to_server("c")
    assert diff_consumer(declared, echo(declared, CONSUMER_CHOICES)) == []


@given(STREAMS, STREAMS)
def test_only_declared_fields_are_compared(declared: dict[str, Any], other: dict[str, Any]) -> None:
    fields = {"subjects": declared["subjects"]}
    config = StreamConfig.model_validate(fields).to_server("S")
    other.pop("duplicate_window", None)
    other["subjects"] = declared["subjects"]
    server = echo(StreamConfig.model_validate(other).to_server("S"), STREAM_CHOICES)
    assert diff_stream(config, server) == []


@pytest.mark.parametrize(
    ("declared", "server", "difference"),
    [
        ({"max_msgs": 5}, {"max_msgs": -1}, Difference("max_msgs", -1, 5, True)),
        ({"max_msgs": 0}, {"max_msgs": 5}, Difference("max_msgs", 5, -1, True)),
        ({"subjects": ["b", "a"]}, {"subjects": ["a"]}, Difference("subjects", ["a"], ["a", "b"], True)),
        ({"storage": "memory"}, {"storage": "file"}, Difference("storage", "file", "memory", False)),
        ({"retention": "interest"}, {"retention": "limits"}, Difference("retention", "limits", "interest", True)),
        ({"retention": "limits"}, {"retention": "workqueue"}, Difference("retention", "workqueue", "limits", False)),
        ({"deny_delete": True}, {"deny_delete": False}, Difference("deny_delete", None, True, True)),
        ({"deny_delete": False}, {"deny_delete": True}, Difference("deny_delete", True, None, False)),
        ({"compression": "s2"}, {}, Difference("compression", "none", "s2", True)),
        ({"metadata": {"a": "b"}}, {"metadata": {"_nats.level": "1"}}, Difference("metadata", None, {"a": "b"}, True)),
    ],
)
def test_a_stream_difference_says_both_values_and_whether_it_may_change(
    declared: dict[str, Any], server: dict[str, Any], difference: Difference
) -> None:
    assert diff_stream(declared, server) == [difference]


@pytest.mark.parametrize(
    ("declared", "server", "difference"),
    [
        ({"ack_wait": 5}, {"ack_wait": 7}, Difference("ack_wait", 7, 5, True)),
        ({"ack_wait": 5}, {"ack_wait": 5, "backoff": [5, 9]}, Difference("backoff", [5, 9], None, True)),
        ({"filter_subjects": []}, {"filter_subject": "a"}, Difference("filter_subjects", ["a"], None, True)),
        ({"filter_subject": "b"}, {"filter_subject": "a"}, Difference("filter_subjects", ["a"], ["b"], True)),
        ({"max_waiting": 7}, {"max_waiting": 512}, Difference("max_waiting", 512, 7, False)),
        ({}, {"deliver_subject": "to.me"}, Difference("deliver_subject", "to.me", "", False)),
    ],
)
def test_a_consumer_difference_says_both_values_and_whether_it_may_change(
    declared: dict[str, Any], server: dict[str, Any], difference: Difference
) -> None:
    assert diff_consumer(declared, server) == [difference]


@pytest.mark.parametrize(
    "declared", [{"deliver_policy": "new"}, {"opt_start_seq": 5}, {"opt_start_time": "2024-01-01T00:00:00Z"}]
)
def test_where_a_consumer_starts_is_no_difference(declared: dict[str, Any]) -> None:
    assert diff_consumer(declared, {"deliver_policy": "all"}) == []
