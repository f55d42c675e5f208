"""docs/plugin.md: what it says is so."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from eventbus_runtime.plugin import describe
from eventbus_runtime.plugin.triggers import IN_FLIGHT, Subscription
from eventbus_runtime.testing.server import NatsServer

TEXT = (Path(__file__).parents[2] / "docs" / "plugin.md").read_text("utf-8")


async def test_its_python_works(server: NatsServer) -> None:
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0].replace("nats://127.0.0.1:4222", server.url)
    found: dict[str, object] = {}
    exec(f"async def example():\n{textwrap.indent(code, '    ')}    return answer", found)
    answer = await found["example"]()  # type: ignore[operator]  # the function that was just made
    assert answer.sequence == "1"


def test_it_names_every_type_and_every_key_of_a_trigger() -> None:
    for kind in (*describe.MODULE_TYPES, *describe.STEP_TYPES, *describe.TRIGGER_TYPES):
        assert f"`{kind}`" in TEXT, kind
    keys = ("name", "consumer", "stream_name", "filter_subject", "bus", "broker_ref", "ack", "max_in_flight")
    assert all(f"`{key}`" in TEXT for key in keys)
    subscription = Subscription.of(
        {"consumer": "c", "stream_name": "S", "bus": "b", "ack": "manual", "max_in_flight": 8.0, "workflowType": "w"}
    )
    assert (subscription.consumer.name, subscription.bus, subscription.max_in_flight) == ("c", "b", 8)
    assert f"left out, {IN_FLIGHT}" in TEXT
