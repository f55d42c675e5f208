"""Sections of a configuration to and from the contracts."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.config import objects
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.contracts import (
    AckPolicy,
    ClusterConfig,
    ConsumerConfig,
    DeliverPolicy,
    Duration,
    JetStreamConfig,
    KafkaConfig,
    ResourceLimits,
    RetentionPolicy,
    StreamConfig,
)
from eventbus_runtime.contracts.convert import from_bus, from_consumer, from_stream, to_bus, to_consumer, to_stream
from eventbus_runtime.errors import ContractError
from tests.contracts.values import TEXTS

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
SUBJECTS = st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}|\.\*){0,3}(\.>)?", fullmatch=True)
AGES = st.integers(1, 2**63 - 1).map(Duration.of)
REPLICAS = st.integers(1, 5)
BYTES = st.integers(1, 2**63 - 1)

CLUSTERS = st.builds(
    ClusterConfig,
    provider=TEXTS.filter(bool),
    deploy_target=TEXTS,
    version=TEXTS,
    replicas=st.integers(-(2**31), 2**31 - 1),
    jetstream=st.none()
    | st.builds(JetStreamConfig, enabled=st.just(True), max_storage_bytes=BYTES, max_memory_bytes=BYTES | st.just(0)),
    limits=st.none() | st.builds(ResourceLimits, cpu=TEXTS.filter(bool), memory=TEXTS, storage=TEXTS),
)
STREAMS = st.builds(
    StreamConfig,
    name=NAMES,
    subjects=st.lists(SUBJECTS, min_size=1, max_size=3).map(tuple),
    retention_policy=st.sampled_from(list(RetentionPolicy)[1:]),
    num_replicas=REPLICAS,
    max_bytes=BYTES | st.just(0),
    max_age=AGES | st.none(),
)
CONSUMERS = st.builds(
    ConsumerConfig,
    name=NAMES,
    stream_name=NAMES,
    filter_subject=SUBJECTS | st.just(""),
    deliver_policy=st.sampled_from(list(DeliverPolicy)[1:4]),
    ack_policy=st.sampled_from(list(AckPolicy)[1:]),
    max_deliver=st.integers(0, 2**31 - 1),
)


@settings(deadline=None)
@given(CLUSTERS)
def test_a_bus_comes_back_as_it_was(config: ClusterConfig) -> None:
    assert from_bus(to_bus(config)) == config


@settings(deadline=None)
@given(STREAMS)
def test_a_stream_comes_back_as_it_was(config: StreamConfig) -> None:
    assert from_stream(config.name, to_stream(config, bus="main")) == config


@settings(deadline=None)
@given(CONSUMERS)
def test_a_consumer_comes_back_as_it_was(config: ConsumerConfig) -> None:
    assert from_consumer(config.name, to_consumer(config)) == config


@settings(deadline=None)
@given(CLUSTERS, STREAMS, CONSUMERS)
def test_sections_come_back_as_they_were(bus: ClusterConfig, stream: StreamConfig, consumer: ConsumerConfig) -> None:
    sections = to_bus(bus), to_stream(stream), to_consumer(consumer)
    assert to_bus(from_bus(sections[0])) == sections[0]
    assert to_stream(from_stream("S", sections[1])) == sections[1]
    assert to_consumer(from_consumer("C", sections[2])) == sections[2]


def test_an_unset_field_of_a_stream_is_left_to_the_server() -> None:
    section = to_stream(StreamConfig(name="ORDERS", subjects=("orders.>",)), bus="main")
    assert section.to_server("ORDERS") == {"name": "ORDERS", "subjects": ["orders.>"]}
    assert (section.bus, section.retention, section.num_replicas, section.max_bytes) == ("main", "limits", 1, -1)


@pytest.mark.seed("S-8", "S-13", "S-41")
@pytest.mark.parametrize("unset", [0, -1, -(2**31)])
def test_numbers_that_are_not_positive_are_unset(unset: int) -> None:
    """S-8, S-13, S-41: 0 is unlimited, which is -1 with us."""
    stream = StreamConfig(name="S", subjects=("s",), num_replicas=unset, max_bytes=unset, max_age=Duration())
    assert to_stream(stream).to_server("S") == {"name": "S", "subjects": ["s"]}
    assert to_consumer(ConsumerConfig(name="c", stream_name="S", max_deliver=unset)).max_deliver == -1
    limits = to_bus(ClusterConfig(provider="nats", jetstream=JetStreamConfig(max_storage_bytes=unset))).jetstream
    assert (limits.enabled, limits.max_storage_bytes) == (False, 0)


def test_without_jetstream_a_bus_has_none() -> None:
    assert to_bus(ClusterConfig(provider="nats")).jetstream.enabled is False
    assert to_bus(ClusterConfig(provider="nats", jetstream=JetStreamConfig(enabled=True))).jetstream.enabled is True


@pytest.mark.seed("S-13")
def test_ack_wait_of_a_stream_is_of_its_consumers() -> None:
    """S-13: it is told of the stream, and the server has it on the consumer."""
    stream = StreamConfig(name="S", subjects=("s",), ack_wait=Duration(seconds=5))
    assert to_stream(stream).to_server("S") == {"name": "S", "subjects": ["s"]}
    consumer = ConsumerConfig(name="c", stream_name="S")
    assert to_consumer(consumer, ack_wait=stream.ack_wait).ack_wait == 5 * 10**9
    assert "ack_wait" not in to_consumer(consumer).to_server("c")


def test_max_age_of_a_bus_is_of_the_streams_that_have_none() -> None:
    bus = ClusterConfig(provider="nats", jetstream=JetStreamConfig(enabled=True, max_age=Duration(seconds=9)))
    assert bus.jetstream is not None
    age = bus.jetstream.max_age
    assert to_bus(bus).jetstream.enabled is True
    assert to_stream(StreamConfig(name="S", subjects=("s",)), max_age=age).max_age == 9 * 10**9
    own = StreamConfig(name="S", subjects=("s",), max_age=Duration(seconds=1))
    assert to_stream(own, max_age=age).max_age == 10**9


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: to_bus(ClusterConfig()), "ClusterConfig: provider: is required"),
        (
            lambda: to_bus(ClusterConfig(provider="kafka", kafka=KafkaConfig(min_insync_replicas=1))),
            "ClusterConfig: kafka: a bus of this runtime has no such settings; leave it out",
        ),
        (lambda: to_stream(StreamConfig(subjects=("s",))), "StreamConfig: name: is required"),
        (lambda: to_stream(StreamConfig(name="S")), "StreamConfig: subjects: at least one is required"),
        (lambda: to_stream(StreamConfig(name="a.b", subjects=("s",))), "StreamConfig: name: 'a.b' can't be a name: "),
        (
            lambda: to_stream(StreamConfig(name="S", subjects=("s", "a b"))),
            "StreamConfig: subjects[1]: 'a b' is not a sub",
        ),
        (
            lambda: to_stream(StreamConfig(name="S", subjects=("s",), num_replicas=6)),
            "StreamConfig: num_replicas: Input should be less than or equal to 5",
        ),
        (
            lambda: to_stream(StreamConfig(name="S", subjects=("s",), max_age=Duration(seconds=-1))),
            "StreamConfig: max_age: -1s is out of range; a server takes 0 or more, at most 292 years",
        ),
        (
            lambda: to_stream(StreamConfig(name="S", subjects=("s",), ack_wait=Duration(seconds=10**10))),
            "StreamConfig: ack_wait: 10000000000s is out of range",
        ),
        (lambda: to_consumer(ConsumerConfig(stream_name="S")), "ConsumerConfig: name: is required"),
        (lambda: to_consumer(ConsumerConfig(name="c")), "ConsumerConfig: stream_name: is required"),
        (
            lambda: to_consumer(ConsumerConfig(name="c", stream_name="a.b")),
            "ConsumerConfig: stream_name: 'a.b' can't be a name: ",
        ),
        (
            lambda: to_consumer(ConsumerConfig(name="c", stream_name="S", filter_subject="a..b")),
            "ConsumerConfig: filter_subject: 'a..b' is not a subject",
        ),
        (
            lambda: to_consumer(
                ConsumerConfig(name="c", stream_name="S", deliver_policy=DeliverPolicy.DELIVER_POLICY_BY_START_TIME)
            ),
            "ConsumerConfig: deliver_policy: DELIVER_POLICY_BY_START_TIME needs a sequence or time to begin at",
        ),
        (
            lambda: from_bus(BusConfig(url=("nats://me:secret@h",), domain="d")),
            "ClusterConfig has no place for domain, url;",
        ),
        (
            lambda: from_stream("S", objects.StreamConfig(subjects=("s",), storage="memory")),
            "StreamConfig has no place for s",
        ),
        (lambda: from_stream("S", objects.StreamConfig(declare=False)), "StreamConfig has no place for declare;"),
        (
            lambda: from_consumer("c", objects.ConsumerConfig(ack_wait=cast(Any, "5s"))),
            "ConsumerConfig has no place for ack_w",
        ),
        (
            lambda: from_consumer("c", objects.ConsumerConfig(filter_subjects=("a", "b"))),
            "ConsumerConfig has no place for filter_subjects: it takes one filter",
        ),
        (
            lambda: from_consumer("c", objects.ConsumerConfig(deliver_policy="last_per_subject")),
            "ConsumerConfig has no place for deliver_policy last_per_subject",
        ),
    ],
)
def test_what_has_no_place_or_is_wrong_is_told_by_its_field(made: Any, text: str) -> None:
    with pytest.raises(ContractError) as raised:
        made()
    assert str(raised.value).startswith(text)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_single_filter_in_either_form_has_its_place() -> None:
    one = from_consumer("c", objects.ConsumerConfig(stream="S", filter_subjects=("a.b",)))
    assert one == from_consumer("c", objects.ConsumerConfig(stream="S", filter_subject="a.b"))
    assert one.filter_subject == "a.b"


def test_what_is_set_to_its_default_needs_no_place() -> None:
    assert from_bus(BusConfig(inbox_prefix="_INBOX", auth=cast(Any, {}))).provider == "nats"
    assert to_bus(ClusterConfig(provider="nats", kafka=KafkaConfig())).provider == "nats"
