"""Streams and consumers as abstract resources, to the letter (S-13)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.objects import (
    ConsumerSpec,
    StreamSpec,
    declared,
    go_duration,
    stream_resources,
)
from eventbus_runtime.provisioning.resources import Output, Resource, State

SECOND, HOUR = 10**9, 3600 * 10**9
LABELS = {"provider": "nats"}


@pytest.mark.seed("S-13")
def test_a_stream_with_all_that_can_be_said() -> None:
    """S-13."""
    spec = StreamSpec("ORDERS", ("orders.>", "returns.*"), "workqueue", 3, 1 << 30, 72 * HOUR, 30 * SECOND)
    assert stream_resources([spec], State({"uri": Output("nats://h:4222")})) == (
        Resource(
            "nats.stream_create",
            "ORDERS",
            {
                "name": "ORDERS",
                "subjects": "orders.>,returns.*",
                "retention_policy": "workqueue",
                "num_replicas": "3",
                "max_bytes": "1073741824",
                "server_uri": "nats://h:4222",
                "max_age": "72h0m0s",
                "ack_wait": "30s",
            },
            LABELS,
        ),
    )


@pytest.mark.seed("S-13")
@pytest.mark.parametrize("replicas", [-1, 0])
def test_a_stream_with_nothing_said(replicas: int) -> None:
    """S-13."""
    (resource,) = stream_resources([StreamSpec("S", ("s",), num_replicas=replicas)], State())
    assert resource.properties == {
        "name": "S",
        "subjects": "s",
        "retention_policy": "limits",
        "num_replicas": "1",
        "max_bytes": "0",
    }


@pytest.mark.seed("S-13")
def test_no_streams_are_no_resources_and_missing_ones_are_skipped() -> None:
    """S-13."""
    assert stream_resources([], State()) == ()
    assert stream_resources([None], State(), [None]) == ()
    found = stream_resources([None, StreamSpec("A", ("a",)), None, StreamSpec("B", ("b",))], State())
    assert [one.name for one in found] == ["A", "B"]


@pytest.mark.seed("S-13")
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (StreamSpec("", ("a",)), "streams[1] has no name"),
        (StreamSpec("S", ()), "stream S has no subjects; give it at least one"),
        (
            StreamSpec("S", ("s",), "forever"),
            'stream S: retention "forever" is unknown; known: limits, interest, workqueue',
        ),
    ],
)
def test_a_stream_that_can_not_be_made_is_named(spec: StreamSpec, text: str) -> None:
    """S-13."""
    with pytest.raises(ConfigError) as caught:
        stream_resources([None, spec], State())
    assert str(caught.value) == text


@pytest.mark.seed("S-3")
@pytest.mark.parametrize("uri", [Output("nats://h", sensitive=True), Output("nats://me:hunter2@h")])
def test_an_address_that_is_secret_is_named_and_not_written(uri: Output) -> None:
    """S-3: resources are shown in plans."""
    (resource,) = stream_resources([StreamSpec("S", ("s",))], State({"uri": uri}))
    assert resource.properties["server_uri_output"] == "uri"
    assert "server_uri" not in resource.properties
    assert uri.value not in repr(resource)


def test_a_consumer() -> None:
    spec = ConsumerSpec("billing", "ORDERS", ("orders.created", "orders.paid"), "new", "explicit", 90 * SECOND, 5, 200)
    state = State({"uri": Output("nats://h")})
    assert stream_resources([StreamSpec("ORDERS", ("orders.>",))], state, [spec])[1:] == (
        Resource(
            "nats.consumer_create",
            "billing",
            {
                "name": "billing",
                "stream_name": "ORDERS",
                "filter_subjects": "orders.created,orders.paid",
                "deliver_policy": "new",
                "ack_policy": "explicit",
                "max_deliver": "5",
                "max_ack_pending": "200",
                "server_uri": "nats://h",
                "ack_wait": "1m30s",
            },
            LABELS,
        ),
    )


def test_a_consumer_with_nothing_said() -> None:
    (resource,) = stream_resources([], State(), [ConsumerSpec("c", "S")])
    assert resource.properties == {
        "name": "c",
        "stream_name": "S",
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "max_deliver": "-1",
    }


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (ConsumerSpec("", "S"), "consumers[0] has no name"),
        (ConsumerSpec("c", ""), "consumer c has no stream; name the one that it reads"),
    ],
)
def test_a_consumer_that_can_not_be_made_is_named(spec: ConsumerSpec, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stream_resources([], State(), [spec])
    assert str(caught.value) == text


def test_what_a_configuration_declares() -> None:
    config = RuntimeConfig.model_validate(
        {
            "buses": {"main": {}, "other": {}},
            "streams": {
                "ORDERS": {"bus": "main", "subjects": ["orders.>"], "max_age": "72h", "num_replicas": 3},
                "COPY": {"bus": "main", "mirror": {"name": "ORDERS"}},
                "THERE": {"bus": "main", "declare": False},
                "ELSE": {"bus": "other", "subjects": ["else"]},
            },
            "consumers": {
                "one": {"stream": "ORDERS", "filter_subject": "orders.a", "backoff": ["1s", "5s"]},
                "two": {"stream": "THERE"},
                "three": {"stream": "ELSE"},
                "four": {"stream": "ORDERS", "declare": False},
            },
        }
    )
    found = declared(config, "main")
    assert found.streams == (StreamSpec("ORDERS", ("orders.>",), "limits", 3, -1, 72 * HOUR),)
    assert found.consumers == (
        ConsumerSpec("one", "ORDERS", ("orders.a",), "all", "explicit", SECOND, -1, 1000),
        ConsumerSpec("two", "THERE", (), "all", "explicit", 30 * SECOND, -1, 1000),
    )


@pytest.mark.seed("S-13")
@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_000, "1µs"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (300_000_000, "300ms"),
        (999_999_999, "999.999999ms"),
        (SECOND, "1s"),
        (1_500_000_000, "1.5s"),
        (SECOND + 1, "1.000000001s"),
        (60 * SECOND, "1m0s"),
        (90 * SECOND, "1m30s"),
        (HOUR, "1h0m0s"),
        (72 * HOUR, "72h0m0s"),
        (5 * 60 * SECOND + 5_001_000_000, "5m5.001s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
    ],
)
def test_a_duration_is_written_as_go_does(nanoseconds: int, text: str) -> None:
    """S-13, and the examples of Go's own tests (time_test.go, durationTests), and some more."""
    assert go_duration(nanoseconds) == text


UNITS = {"h": HOUR, "m": 60 * SECOND, "s": SECOND, "ms": 10**6, "µs": 10**3, "ns": 1}


@given(st.integers(0, 2**63 - 1))
def test_a_duration_read_as_go_does_is_the_same_again(nanoseconds: int) -> None:
    total, number, unit = 0, "", ""
    for sign in go_duration(nanoseconds) + "0":
        if unit and (sign.isdigit() or sign == "."):
            whole, _, part = number.partition(".")
            total += int(whole) * UNITS[unit] + (int(part) * UNITS[unit] // 10 ** len(part) if part else 0)
            number = unit = ""
        if sign.isdigit() or sign == ".":
            number += sign
        else:
            unit += sign
    assert total == nanoseconds
