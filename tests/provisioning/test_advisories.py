"""A consumer with a finite `max_deliver` needs a stream that keeps the server's advisories, on real servers."""

from __future__ import annotations

import pytest

from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.errors import TopologyError
from eventbus_runtime.provisioning.advisories import advisory_consumer, advisory_stream
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream

SUBJECT = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ORDERS.billing"


async def limited(bus: NatsBus) -> ConsumerInfo:
    await ensure_stream(bus, "ORDERS", StreamConfig(subjects=("orders.>",)))
    await ensure_consumer(bus, "billing", ConsumerConfig(stream="ORDERS", max_deliver=3))
    return ConsumerInfo.parse(await bus.api("CONSUMER.INFO.ORDERS.billing"))


@pytest.mark.parametrize("subject", [SUBJECT, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.>"])
async def test_any_stream_that_stores_them_will_do(bus: NatsBus, subject: str) -> None:
    consumer = await limited(bus)
    await ensure_stream(bus, "ANY", StreamConfig(subjects=(subject,)))
    assert await advisory_stream(bus, "work", TriggerConfig(dead_letter="dead"), consumer) == "ANY"
    assert await advisory_stream(bus, "work", TriggerConfig(on_exhausted="terminate"), consumer) == "ANY"


async def test_the_consumer_of_advisories_brings_those_of_one_consumer_alone(bus: NatsBus) -> None:
    consumer = await limited(bus)
    await ensure_stream(bus, "ANY", StreamConfig(subjects=("$JS.EVENT.ADVISORY.>",)))
    for expected in (Changed.CREATED, Changed.UNCHANGED):
        assert await ensure_consumer(bus, *advisory_consumer("ANY", consumer)) is expected
    made = ConsumerInfo.parse(await bus.api("CONSUMER.INFO.ANY.exhausted--ORDERS--billing"))
    assert (made.filter_subjects, made.max_deliver) == ((SUBJECT,), -1)


async def test_without_such_a_stream_it_is_refused_with_the_lines_that_make_one(bus: NatsBus) -> None:
    consumer = await limited(bus)
    with pytest.raises(TopologyError, match=r"billing of stream ORDERS has max_deliver = 3.*no stream stores") as found:
        await advisory_stream(bus, "work", TriggerConfig(dead_letter="dead"), consumer)
    assert "\n[streams.ADVISORIES]\nsubjects = " in str(found.value)


async def test_a_stream_that_keeps_few_of_them_is_refused(bus: NatsBus) -> None:
    consumer = await limited(bus)
    await ensure_stream(bus, "ANY", StreamConfig(subjects=("$JS.EVENT.ADVISORY.>",), max_msgs_per_subject=1))
    with pytest.raises(TopologyError, match=r"the stream ANY keeps 1 messages of .* \(max_msgs_per_subject\)"):
        await advisory_stream(bus, "work", TriggerConfig(dead_letter="dead"), consumer)


async def test_a_trigger_without_an_end_for_them_is_refused(bus: NatsBus) -> None:
    consumer = await limited(bus)
    await ensure_stream(bus, "ANY", StreamConfig(subjects=("$JS.EVENT.ADVISORY.>",)))
    with pytest.raises(TopologyError, match="the trigger work has no end for it"):
        await advisory_stream(bus, "work", TriggerConfig(), consumer)
