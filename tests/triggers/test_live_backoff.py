"""A consumer made by hand with a `backoff`: the server waits as long as the trigger's own retry schedule says."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from eventbus_runtime import Runtime
from eventbus_runtime.events import DeliveryFailed, Fact
from eventbus_runtime.testing.server import NatsServer

CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [streams.ADVISORIES]
    subjects = ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"]
    [consumers.work]
    stream = "ORDERS"
    declare = false
    [triggers.work]
    attempts = 5
    retry = {{ delays = ["1s", "1s", "1s"], jitter = 0.0 }}
    dead_letter = "dead.work"
"""
HANDLERS = """
    from eventbus_runtime import pipeline

    @pipeline
    async def work(message) -> None:
        raise ValueError
"""


class Times(list[float]):
    """A listener that notes when a delivery failed."""

    def on_fact(self, fact: Fact) -> None:
        if isinstance(fact, DeliveryFailed):
            self.append(time.monotonic())


@pytest.mark.timed
@pytest.mark.parametrize("max_deliver", [-1, 5])
async def test_a_backoff_of_1_3_and_10_seconds_and_delays_of_1_second_give_gaps_of_1_second(
    tmp_path: Path, server: NatsServer, max_deliver: int
) -> None:
    client = await nats.connect(server.url)
    js = client.jetstream()
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    steps = ConsumerConfig(
        durable_name="work", ack_policy=AckPolicy.EXPLICIT, backoff=[1, 3, 10], max_deliver=max_deliver
    )
    if max_deliver < 0 and client.connected_server_version.minor < 10:
        await client.close()
        pytest.skip("servers before 2.10 take no backoff without a limit")
    await js.add_consumer("ORDERS", steps)
    await js.publish("orders.created", b"")
    await client.close()
    (tmp_path / "app.toml").write_text(dedent(CONFIG.format(url=server.url)))
    (tmp_path / "handlers.py").write_text(dedent(HANDLERS))
    times = Times()
    async with Runtime.from_file(tmp_path / "app.toml", listeners=[times]) as runtime:
        await runtime.wait_idle(0.5)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == pytest.approx([1.0] * 4, rel=0.15)
