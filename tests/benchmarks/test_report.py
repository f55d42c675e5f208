"""What a race prints and writes, from rounds that were not run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks import chart, results, table
from benchmarks.arena import seconds
from benchmarks.cases import CASES
from benchmarks.contenders.registry import CONTENDERS
from benchmarks.goals import GOALS, judge
from benchmarks.model import Entry, Outcome, Sample
from benchmarks.race import entrants
from benchmarks.soak import drift


def outcome(case: str = "ack-128", **given: list[float] | str) -> Outcome:
    """Contenders with these rates, one a round, at 2 us each; a text is a problem instead."""
    made = Outcome(CASES[case], "2.15.1")
    for name, rates in given.items():
        samples: list[Sample] = [] if isinstance(rates, str) else [{"rate": rate, "cpu": 2.0} for rate in rates]
        made.entries[name] = Entry(samples, rates if isinstance(rates, str) else "")
    return made


def test_a_median_is_of_the_rounds_and_a_ratio_of_the_medians() -> None:
    raced = outcome(ours=[100, 900, 200], hand=[50, 1, 60])
    assert raced.median("ours", "rate") == 200
    assert raced.ratio("ours", "hand", "rate") == 4


def test_what_is_missing_has_neither_median_nor_ratio() -> None:
    raced = outcome(ours=[100], c="not available: gcc is not installed")
    assert raced.median("c", "rate") is None
    assert raced.ratio("ours", "c", "rate") is None
    assert raced.ratio("ours", "go", "rate") is None


def test_a_goal_is_reached_at_its_bound_missed_below_and_open_without_its_base() -> None:
    raced = {"ack-128": outcome(ours=[400], hand=[100], faststream=[21])}
    verdicts = {(verdict.goal.metric, verdict.goal.base): verdict.reached for verdict in judge(raced)}
    assert verdicts == {("rate", "faststream"): False, ("rate", "hand"): True, ("rate", "c"): None, ("cpu", ""): True}


def test_a_bound_that_less_is_better_for_may_have_something_added() -> None:
    raced = Outcome(CASES["start"], "2.15.1", {"ours": Entry([{"seconds": 0.44}]), "hand": Entry([{"seconds": 0.2}])})
    (verdict,) = judge({"start": raced})
    assert verdict.bound is not None
    assert round(verdict.bound, 9) == 0.45
    assert verdict.reached


def test_goals_name_cases_metrics_and_contenders_that_exist() -> None:
    for goal in GOALS:
        assert goal.metric in {metric.name for metric in CASES[goal.case].metrics}
        assert goal.base in {"", *(contender.name for contender in entrants(CASES[goal.case], CONTENDERS.values()))}


def test_the_table_shows_medians_ratios_problems_and_goals() -> None:
    raced = {"ack-128": outcome(ours=[40_000], hand=[10_000], c="not available: gcc is not installed")}
    lines = table.render(raced, judge(raced)).splitlines()
    hand = next(line for line in lines if "hand-written" in line)
    assert hand.split()[-3:] == ["10,000", "2.0", "0.25"]
    assert any("libnats" in line and line.endswith("not available: gcc is not installed") for line in lines)
    assert "  reached      consume+ack, 128 B: messages/s >= 4 x hand (ours 40,000, 4.00 x hand)" in lines
    assert "  not measured consume+ack, 128 B: messages/s >= 0.9 x c" in lines


def test_a_contender_that_failed_once_shows_its_rounds_and_why() -> None:
    raced = outcome(ours=[40_000])
    raced.entries["ours"].problem = "stalled at 7 of 9 messages"
    (line,) = [line for line in table.render({"ack-128": raced}, []).splitlines() if "eventbus-run" in line]
    assert "40,000" in line
    assert line.endswith("stalled at 7 of 9 messages")


def test_the_results_file_holds_rounds_medians_verdicts_and_versions(tmp_path: Path) -> None:
    raced = {"ack-128": outcome(ours=[100, 300, 200], hand=[50], c="no")}
    path = tmp_path / "results" / "latest.json"
    results.write(path, raced, judge(raced))
    read = json.loads(path.read_text())
    contenders = read["cases"]["ack-128"]["contenders"]
    assert [sample["rate"] for sample in contenders["ours"]["rounds"]] == [100, 300, 200]
    assert contenders["hand"]["ratio"] == 0.25
    assert contenders["c"] == {"rounds": [], "median": {"rate": None, "cpu": None}, "ratio": None, "problem": "no"}
    assert read["versions"]["nats-server"] == "2.15.1"
    assert read["machine"]["cores"] > 0
    assert {"case", "metric", "goal", "measured", "bound", "reached"} == set(read["goals"][0])


def test_the_chart_is_xml_with_a_bar_for_each_median_in_order_and_proportion() -> None:
    drawn = ET.fromstring(chart.draw(outcome(hand=[100], ours=[400], c="no")))
    name = "{http://www.w3.org/2000/svg}"
    bars = drawn.findall(f"{name}rect")
    assert [bar.get("class") for bar in bars] == ["bar ours", "bar"]
    assert float(bars[0].get("width", 0)) == 4 * float(bars[1].get("width", 0))
    assert [text.text for text in drawn.findall(f"{name}text")][1:] == [
        *("eventbus-run", "400"),
        *("nats-py, hand-written", "100"),
    ]


def test_a_servers_nanoseconds_are_read_to_the_microsecond() -> None:
    assert seconds("1970-01-01T00:00:01.123456789Z") == 1.123456
    assert seconds("1970-01-01T00:00:01.5Z") == 1.5
    assert seconds("1970-01-01T00:00:01Z") == 1


def test_drift_compares_the_first_minute_after_the_warm_up_with_the_last() -> None:
    found = drift([10.0] * 60 + [50.0] * 60 + [90.0] * 400 + [51.0] * 60)
    assert (found.first, found.last) == (50, 51)
    assert round(found.percent, 6) == 2
