"""Where dead letters go: found, made, refused or doubted, on real servers."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.objects import StreamConfig
from eventbus_runtime.errors import TopologyError
from eventbus_runtime.provisioning.dead_letters import check_dead_letter, dead_letter_stream
from eventbus_runtime.provisioning.topology import Changed, ensure_stream

SUBJECT = "dead.billing"


async def check(bus: NatsBus, **changed: Any) -> tuple[str, list[str]]:
    asked: dict[str, Any] = {
        "trigger": "billing",
        "subject": SUBJECT,
        "stream": "ORDERS",
        "filter_subjects": ("orders.>",),
        "ack_wait": 30.0,
        "longest_delay": 30.0,
        "declared": dead_letter_stream("billing", SUBJECT, 30.0, 30.0),
        "note": lambda what, changed: None,
    }
    return await check_dead_letter(bus, **{**asked, **changed})


async def store(bus: NatsBus, name: str = "DEAD", **fields: Any) -> None:
    await ensure_stream(bus, name, StreamConfig.model_validate({"subjects": ["dead.>"], **fields}))


@pytest.mark.parametrize(
    ("trigger", "name"), [("billing", "DEAD_BILLING"), ("a.b c", "DEAD_A_B_C"), ("x-1>*/\\", "DEAD_X-1____")]
)
def test_the_default_stream_bears_the_triggers_name(trigger: str, name: str) -> None:
    assert dead_letter_stream(trigger, SUBJECT, 30, 30)[0] == name


@pytest.mark.parametrize(("ack_wait", "delay", "window"), [(30, 30, 120), (30, 0.5, 120), (60, 3600, 7320)])
def test_the_default_stream_remembers_ids_for_twice_the_time_between_deliveries(
    ack_wait: float, delay: float, window: int
) -> None:
    config = dead_letter_stream("billing", SUBJECT, ack_wait, delay)[1].to_server("DEAD_BILLING")
    assert (config["subjects"], config["duplicate_window"]) == ([SUBJECT], window * 10**9)


async def test_a_subject_that_no_stream_stores_gets_a_stream_of_its_own_once(bus: NatsBus) -> None:
    assert await check(bus) == ("DEAD_BILLING", [])
    assert await check(bus) == ("DEAD_BILLING", [])
    assert await ensure_stream(bus, *dead_letter_stream("billing", SUBJECT, 30, 30)) is Changed.UNCHANGED


async def test_a_stream_that_stores_the_subject_is_used_and_left_alone(bus: NatsBus) -> None:
    await store(bus, description="by hand")
    assert await check(bus) == ("DEAD", [])
    assert (await bus.api("STREAM.NAMES"))["streams"] == ["DEAD"]


async def test_a_stream_of_its_own_keeps_the_subjects_that_it_has(bus: NatsBus) -> None:
    await check(bus)
    later = dead_letter_stream("Billing", "failed.billing", 30, 30)
    assert (await check(bus, subject="failed.billing", declared=later))[0] == "DEAD_BILLING"
    config = (await bus.api("STREAM.INFO.DEAD_BILLING"))["config"]
    assert set(config["subjects"]) == {SUBJECT, "failed.billing"}


async def test_a_subject_that_no_stream_stores_is_refused_when_none_may_be_made(bus: NatsBus) -> None:
    with pytest.raises(TopologyError, match=r'no stream stores the dead_letter "dead.billing" of the trigger billing'):
        await check(bus, declared=None)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"retention": "interest"}, "drops at once what no consumer wants"),
        ({"no_ack": True}, "confirms nothing"),
        ({"max_msgs_per_subject": 3}, r"keeps 3 messages of each subject \(max_msgs_per_subject\)"),
    ],
)
async def test_a_stream_that_could_lose_a_dead_letter_is_refused(
    bus: NatsBus, fields: dict[str, Any], text: str
) -> None:
    await store(bus, **fields)
    with pytest.raises(TopologyError, match=rf"dead_letter \"dead.billing\" .* goes to the stream DEAD, .*{text}"):
        await check(bus)


@pytest.mark.parametrize("filters", [(), ("dead.*",), ("other", "dead.billing"), (">",)])
async def test_a_trigger_must_not_get_its_own_dead_letters(bus: NatsBus, filters: tuple[str, ...]) -> None:
    await store(bus, "ORDERS")
    with pytest.raises(TopologyError, match="would get its own dead letters"):
        await check(bus, filter_subjects=filters)


async def test_dead_letters_beside_the_filter_on_the_same_stream_are_fine(bus: NatsBus) -> None:
    await store(bus, "ORDERS", subjects=["orders.>", "dead.>"])
    assert await check(bus) == ("ORDERS", [])


async def test_the_filter_counts_on_the_triggers_own_stream_only(bus: NatsBus) -> None:
    await store(bus)
    assert await check(bus, filter_subjects=()) == ("DEAD", [])


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({"max_msgs": 10}, ["deletes the oldest at its limit (max_msgs = 10)"]),
        ({"max_bytes": "1MiB"}, ["deletes the oldest at its limit (max_bytes = 1048576)"]),
        ({"max_bytes": "1MiB", "discard": "new"}, []),
        ({"duplicate_window": "119s"}, ["remembers ids for 119 s (duplicate_window): below 120 s"]),
        ({"duplicate_window": "120s"}, []),
        ({"max_age": "60s", "max_msgs": 1}, ["deletes the oldest", "remembers ids for 60 s"]),
    ],
)
async def test_what_could_lose_or_double_a_dead_letter_later_is_warned_about(
    bus: NatsBus, fields: dict[str, Any], warned: list[str]
) -> None:
    await store(bus, **fields)
    name, warnings = await check(bus)
    assert (name, len(warnings)) == ("DEAD", len(warned))
    assert all(part in warning for part, warning in zip(warned, warnings, strict=True))
