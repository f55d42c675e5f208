"""What a plan warns about, each on a real server; and that what is no risk is not called one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest

from eventbus_runtime.provisioning.risks import risks
from eventbus_runtime.testing.server import NatsServer
from tests.provisioning.buses import is_older
from tests.provisioning.planned import Site, consumer, done, said_of, stream, table

TRIGGER = '[triggers.billing]\nstream = "ORDERS"\n'
DEAD = f'{TRIGGER}dead_letter = "dead.billing"\n'


async def ten_messages(site: Site) -> None:
    """Five for each of two subjects, of 100 bytes and more."""
    for number in range(10):
        await site.bus.publish(f"orders.{number % 2}", b"x" * 100)


async def stored(site: Site) -> int:
    return int((await site.bus.api("STREAM.INFO.ORDERS"))["state"]["messages"])


@pytest.mark.parametrize(
    ("field", "limit", "text", "left"),
    [
        ("max_msgs", 4, "-1 -> 4 deletes the oldest 6 of 10 messages now", 4),
        ("max_bytes", "512B", "-1 -> 512 deletes the oldest", 3),
        ("max_msgs_per_subject", 3, "-1 -> 3 deletes 4 of 10 messages", 6),
    ],
)
async def test_a_lower_limit_says_what_it_deletes(site: Site, field: str, limit: Any, text: str, left: int) -> None:
    await site.apply(stream())
    await ten_messages(site)
    (found,) = said_of(await site.plan(stream(**{field: limit})), f"streams.ORDERS.{field}")
    assert found.startswith(text)
    await site.apply(stream(**{field: limit}))
    if field != "max_msgs_per_subject" or not is_older(site.bus, "2.14"):  # older ones do it at the next message
        assert await stored(site) == left


@pytest.mark.parametrize("fields", [{"max_msgs": 10}, {"max_bytes": "1MiB"}, {"max_msgs_per_subject": 5}])
async def test_a_limit_that_deletes_nothing_is_no_risk(site: Site, fields: dict[str, Any]) -> None:
    await site.apply(stream())
    await ten_messages(site)
    shown = await site.plan(stream(**fields))
    assert (done(shown), shown.findings) == ({"stream ORDERS": "update"}, ())


async def test_with_discard_new_a_lower_limit_deletes_nothing_but_takes_nothing_more(site: Site) -> None:
    await site.apply(stream(discard="new"))
    await ten_messages(site)
    after = stream(discard="new", max_msgs=4)
    (found,) = said_of(await site.plan(after), "streams.ORDERS.max_msgs")
    await site.apply(after)
    if is_older(site.bus, "2.10"):
        assert ("deletes the oldest 6" in found, await stored(site)) == (True, 4)
    else:
        assert ("nothing more is taken" in found, await stored(site)) == (True, 10)


@pytest.mark.parametrize(
    ("later", "text"), [(timedelta(hours=2), "deletes all 10 messages now"), (timedelta(0), None)], ids=["old", "new"]
)
async def test_a_lower_age_says_what_is_too_old(site: Site, later: timedelta, text: str | None) -> None:
    await site.apply(stream(max_age="7d"))
    await ten_messages(site)
    shown = await site.plan(stream(max_age="1h"))
    config = site.loaded.config
    found = [one.text for one in risks(shown.plan, config, (), datetime.now(UTC) + later)]
    assert found == ([f'"7d" -> "1h" {text}'] if text else [])


async def test_retention_by_interest_says_that_it_deletes(site: Site) -> None:
    await site.apply(stream())
    await ten_messages(site)
    shown = await site.plan(stream(retention="interest"))
    if is_older(site.bus, "2.10"):
        assert done(shown) == {"stream ORDERS": "refuse"}
    else:
        (found,) = said_of(shown, "streams.ORDERS.retention")
        assert "deletes what no consumer waits for of 10 messages" in found


async def test_what_is_for_good_is_said(site: Site) -> None:
    await site.apply(stream())
    (found,) = said_of(await site.plan(stream(deny_delete=True)), "streams.ORDERS.deny_delete")
    assert found == "is for good: no update takes it back"


async def test_a_subject_that_is_dropped_is_said_with_the_consumers_that_it_starves(site: Site) -> None:
    await site.apply(stream(subjects=["orders.a", "orders.b"]) + consumer("b", filter_subjects=["orders.b"]))
    found = said_of(await site.plan(stream(subjects=["orders.a"])), "streams.ORDERS.subjects")
    assert found == [
        'what is published to "orders.b" is not stored any more',
        "nothing more would come to the consumer b, by its filters",
    ]


@pytest.mark.parametrize(
    ("retention", "text"),
    [("workqueue", "nobody ever gets it"), ("interest", "can be deleted unseen"), ("limits", "")],
)
async def test_another_filter_is_risky_where_consumers_hold_messages(site: Site, retention: str, text: str) -> None:
    before, after = (consumer(filter_subjects=[f"orders.{name}"]) for name in "ab")
    await site.apply(stream(retention=retention) + before)
    found = said_of(await site.plan(stream(retention=retention) + after), "consumers.billing.filter_subjects")
    assert [text in each for each in found] == ([True] if text else [])


async def test_a_lower_max_deliver_says_what_is_in_flight(server: NatsServer, site: Site) -> None:
    await site.apply(stream() + consumer())
    await ten_messages(site)
    client = await nats.connect(server.url)
    pulled = await client.jetstream().pull_subscribe_bind("billing", "ORDERS")
    await pulled.fetch(3)
    await client.close()
    (found,) = said_of(await site.plan(stream() + consumer(max_deliver=2)), "consumers.billing.max_deliver")
    assert "-1 -> 2: what has been delivered so often is given up; of 3 in flight, 0 came more than once" in found


async def test_a_higher_max_deliver_is_no_risk(site: Site) -> None:
    await site.apply(stream() + consumer(max_deliver=2))
    assert (await site.plan(stream() + consumer(max_deliver=5))).findings == ()


async def test_a_limit_whose_advisories_nobody_stores_is_said_until_somebody_does(site: Site) -> None:
    toml = stream() + consumer(max_deliver=5) + DEAD
    (found,) = said_of(await site.plan(toml), "consumers.billing.max_deliver")
    assert "no stream stores $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ORDERS.billing" in found
    kept = stream("ADVISORIES", subjects=["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"])
    assert said_of(await site.plan(toml + kept), "consumers.billing.max_deliver") == []


async def test_filters_outside_what_an_attach_only_stream_stores_are_said(site: Site) -> None:
    await site.apply(stream())
    toml = table("streams.ORDERS", {"declare": False}) + consumer(filter_subjects=["returns.>"])
    (found,) = said_of(await site.plan(toml), "consumers.billing.filter_subjects")
    assert found == '"returns.>" is outside the subjects of ORDERS, "orders.>": nothing would come by it'


async def test_a_dead_letter_that_no_stream_stores_is_said(site: Site) -> None:
    toml = stream() + f"{DEAD}declare_dead_letter = false\n"
    (found,) = said_of(await site.plan(toml), "triggers.billing.dead_letter")
    assert 'no stream stores the dead_letter "dead.billing" of the trigger billing' in found
    await site.apply(stream("MORGUE", subjects=["dead.>"], duplicate_window="10m"))
    assert said_of(await site.plan(toml), "triggers.billing.dead_letter") == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"retention": "interest"}, "drops at once what no consumer wants"),
        ({"max_msgs": 100}, "deletes the oldest at its limit (max_msgs = 100)"),
        ({"duplicate_window": "1s"}, "remembers ids for 1 s (duplicate_window)"),
    ],
)
async def test_a_stream_that_is_bad_for_dead_letters_is_said(site: Site, fields: dict[str, Any], text: str) -> None:
    await site.apply(stream("MORGUE", subjects=["dead.>"], **{"duplicate_window": "10m", **fields}))
    (found,) = said_of(await site.plan(stream() + DEAD), "triggers.billing.dead_letter")
    assert text in found


@pytest.mark.parametrize("declared", [{"max_ack_pending": 5}, {}], ids=["by the file", "by the server"])
async def test_fewer_pending_than_may_be_in_flight_is_said_once(site: Site, declared: dict[str, Any]) -> None:
    await site.apply(stream() + consumer(max_ack_pending=5))
    (found,) = said_of(
        await site.plan(f"{stream()}{consumer(**declared)}{TRIGGER}"), "consumers.billing.max_ack_pending"
    )
    assert found.startswith("5 is less than the 256 deliveries that may be in flight (workers x max_in_flight)")


async def test_new_priorities_are_said(site: Site) -> None:
    if is_older(site.bus, "2.11"):
        pytest.skip("priorities came with 2.11")
    await site.apply(stream() + consumer())
    shown = await site.plan(stream() + consumer(priority_policy="overflow", priority_groups=["all"]))
    (found,) = said_of(shown, "consumers.billing.priority_policy")
    assert "clients that pull for another group, or for none, are refused" in found
