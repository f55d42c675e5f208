"""Phases are run in order, within their time, each told, and what was opened is cleaned up whatever happens."""

from __future__ import annotations

import asyncio
import json

import pytest

from eventbus_runtime.conformance import (
    NotApplicableError,
    Phase,
    Report,
    Result,
    Suite,
    UnmetError,
    Verdict,
    eventually,
    expect,
    refused,
    run,
)
from eventbus_runtime.errors import BusError, BusUnavailableError


class Script:
    """A suite whose phases note that they ran, and do as they are told."""

    def __init__(self) -> None:
        self.ran = list[str]()
        self.cleaned = 0

    def phase(self, name: str, *needs: str, error: Exception | None = None, within: float = 5.0) -> Phase:
        async def do() -> str:
            self.ran.append(name)
            if error is not None:
                raise error
            return f"{name} seen"

        return Phase(name, f"{name} works", "S-70", do, needs, within)

    async def clean(self) -> None:
        self.cleaned += 1

    def suite(self, *phases: Phase) -> Suite:
        return Suite("life", phases, self.clean)


def verdicts(report: Report) -> dict[str, str]:
    return {one.phase: str(one.verdict) for one in report.results}


def text_of(report: Report, phase: str) -> str:
    return next(one.text for one in report.results if one.phase == phase)


async def test_phases_run_in_order_and_tell_what_they_saw() -> None:
    script, told = Script(), list[Result]()
    report = await run([script.suite(script.phase("a"), script.phase("b", "a"))], "it", tell=told.append)
    assert script.ran == ["a", "b"]
    assert [(one.phase, one.rule, one.verdict, one.text) for one in report.results] == [
        ("a", "S-70", Verdict.PASSED, "a seen"),
        ("b", "S-70", Verdict.PASSED, "b seen"),
    ]
    assert tuple(told) == report.results
    assert (report.passed, script.cleaned) == (True, 1)


async def test_after_a_failure_what_needs_it_is_told_as_not_run_and_the_rest_runs() -> None:
    script = Script()
    failing = script.phase("a", error=UnmetError("ten messages", 9))
    report = await run([script.suite(failing, script.phase("b", "a"), script.phase("c", "b"), script.phase("d"))])
    assert script.ran == ["a", "d"]
    assert verdicts(report) == {"a": "failed", "b": "not run", "c": "not run", "d": "passed"}
    assert text_of(report, "a") == "expected ten messages; seen: 9"
    assert (text_of(report, "b"), text_of(report, "c")) == ("needs 'a': failed", "needs 'b': not run")
    assert (report.passed, script.cleaned) == (False, 1)


def test_a_phase_can_need_only_what_is_before_it() -> None:
    script = Script()
    with pytest.raises(ValueError, match=r"^phase 'a' needs b, which is not before it$"):
        script.suite(script.phase("a", "b"), script.phase("b"))


async def test_what_is_not_applicable_says_why_and_is_no_failure() -> None:
    script = Script()
    absent = script.phase("a", error=NotApplicableError("install eventbus-runtime[rpc]"))
    report = await run([script.suite(absent, script.phase("b", "a"), script.phase("c"))])
    assert verdicts(report) == {"a": "not applicable", "b": "not applicable", "c": "passed"}
    assert text_of(report, "a") == "install eventbus-runtime[rpc]"
    assert report.passed


async def test_where_nothing_was_shown_nothing_passed() -> None:
    script = Script()
    report = await run([script.suite(script.phase("a", error=NotApplicableError("no")))])
    assert not report.passed
    assert report.summary() == "1 not applicable: does not conform"


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (BusUnavailableError("no answer"), "no answer"),
        (KeyError("x"), "KeyError: 'x'"),
        (ExceptionGroup("two", [ValueError("one"), BusError("other")]), "ValueError: one; other"),
        (TimeoutError(), "TimeoutError: no text"),
    ],
)
async def test_whatever_a_phase_raises_is_told_with_what_was_expected(error: Exception, seen: str) -> None:
    script = Script()
    report = await run([script.suite(script.phase("a", error=error))])
    assert verdicts(report) == {"a": "failed"}
    assert text_of(report, "a") == f"expected that a works; seen: {seen}"


async def test_a_phase_that_hangs_ends_with_its_time() -> None:
    script = Script()
    hanging = Phase("a", "it answers", "S-70", asyncio.Event().wait, within=0.05)  # type: ignore[arg-type]  # never returns
    report = await run([script.suite(hanging, script.phase("b"))])
    assert verdicts(report) == {"a": "failed", "b": "passed"}
    assert text_of(report, "a") == "expected that it answers; seen: not done within 0.05 s"


async def test_a_cancelled_run_has_told_what_it_knew_and_is_cleaned_up() -> None:
    script, told, begun = Script(), list[Result](), asyncio.Event()

    async def hang() -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    suite = script.suite(script.phase("a"), Phase("b", "it ends", "S-70", hang))
    running = asyncio.create_task(run([suite], tell=told.append))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [one.phase for one in told] == ["a"]
    assert script.cleaned == 1


async def test_what_can_not_be_cleaned_up_is_a_failure() -> None:
    async def clean() -> None:
        raise BusError("stream X is still there")

    report = await run([Suite("life", (Script().phase("a"),), clean)])
    assert verdicts(report) == {"a": "passed", "clean-up": "failed"}
    assert text_of(report, "clean-up") == "expected nothing left behind; seen: stream X is still there"
    assert not report.passed


async def test_no_result_shows_a_secret() -> None:
    script = Script()
    failing = script.phase("a", error=BusError("can't reach nats://u:hush@host"))
    report = await run([script.suite(failing)], secrets=("hush", ""))
    assert text_of(report, "a") == "expected that a works; seen: can't reach nats://u:********@host"


async def test_what_comes_late_is_waited_for_and_what_never_comes_is_told() -> None:
    looks = iter([1, 2, 3])

    async def look() -> int:
        return next(looks)

    await eventually(look, 3, "count", within=5.0)
    with pytest.raises(UnmetError, match=r"^expected count 5 within 0.1 s; seen: 4$"):
        await eventually(lambda: asyncio.sleep(0, 4), 5, "count", within=0.1)


async def test_who_does_not_answer_yet_is_asked_again() -> None:
    answers = iter([BusUnavailableError("elects"), None])

    async def look() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "there"

    await eventually(look, "there", "leader", within=5.0)
    assert list(answers) == []


async def test_what_must_be_refused_and_is_not_is_told() -> None:
    async def take() -> str:
        return "taken"

    async def refuse() -> None:
        raise BusError("No such Target kubernets")

    async def crash() -> None:
        raise AttributeError("x")

    assert await refused("a target", refuse(), "KUBERNETS") == "No such Target kubernets"
    with pytest.raises(UnmetError, match="expected a target refused; seen: it was taken, with the result 'taken'"):
        await refused("a target", take())
    with pytest.raises(
        UnmetError, match="expected a target refused, with a text that says 'eks'; seen: No such Target kubernets"
    ):
        await refused("a target", refuse(), "eks")
    with pytest.raises(UnmetError, match="seen: AttributeError: x"):
        await refused("a target", crash())


def test_a_report_is_a_table_and_json() -> None:
    long = "one two three four five six seven eight nine ten eleven dozen thirteen fourteen fifteen"
    report = Report(
        "nats",
        (
            Result("provider", "publish", "S-30", Verdict.PASSED, long, 0.123456),
            Result("provider", "ack", "S-32", Verdict.FAILED, "expected 0; seen: 1"),
        ),
    )
    assert report.text().splitlines() == [
        "nats",
        "",
        f"provider  publish  S-30  passed           0.12 s  {long[:70]}",
        f"{'':50}{long[71:]}",
        "provider  ack      S-32  failed           0.00 s  expected 0; seen: 1",
        "",
        "1 passed, 1 failed: does not conform",
    ]
    told = json.loads(report.json())
    assert (told["subject"], told["passed"]) == ("nats", False)
    assert told["phases"][0] == {
        "suite": "provider",
        "phase": "publish",
        "rule": "S-30",
        "verdict": "passed",
        "text": long,
        "seconds": 0.123,
    }


def test_expect_says_what_and_what_instead() -> None:
    expect(True, "x", "y")
    with pytest.raises(UnmetError, match=r"^expected x; seen: y$"):
        expect(False, "x", "y")
