"""Runs suites: each phase in order, within its time, and at the end all that must be cleaned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable

import anyio

from eventbus_runtime.conformance.phases import NotApplicableError, Phase, Suite, UnmetError, describe
from eventbus_runtime.conformance.report import Report, Result, Verdict
from eventbus_runtime.provisioning.resources import HIDDEN

_CLEAN_WITHIN = 10.0

Tell = Callable[[Result], None]
"""Told of each phase as it ends."""


def _silent(result: Result) -> None:
    pass


async def run(
    suites: Iterable[Suite], subject: str = "", *, tell: Tell = _silent, secrets: Collection[str] = ()
) -> Report:
    """Run suites one after another. A phase that fails ends nothing but those that need it.

    Args:
        suites: which.
        subject: what is held to them, for the report.
        tell: told of each phase as it ends, so that a cancelled run has said what it knows.
        secrets: texts that no result shows, as a password in the address: what somebody else's bus says may quote it.
    """
    results = list[Result]()

    def note(result: Result) -> None:
        text = result.text
        for secret in filter(None, secrets):
            text = text.replace(secret, HIDDEN)
        results.append(result._replace(text=text))
        tell(results[-1])

    for suite in suites:
        await _run(suite, note)
    return Report(subject, tuple(results))


async def _run(suite: Suite, note: Tell) -> None:
    verdicts = dict[str, Verdict]()
    try:
        for phase in suite.phases:
            result = _without(suite, phase, verdicts) or await _phase(suite, phase)
            verdicts[phase.name] = result.verdict
            note(result)
    finally:
        if (failed := await _cleaned(suite)) is not None:
            note(failed)


def _without(suite: Suite, phase: Phase, verdicts: dict[str, Verdict]) -> Result | None:
    """The result of a phase that can't be run, since one that it needs has not passed."""
    for name in phase.needs:
        verdict = verdicts[name]
        if verdict is Verdict.PASSED:
            continue
        kept = Verdict.NOT_APPLICABLE if verdict is Verdict.NOT_APPLICABLE else Verdict.NOT_RUN
        return Result(suite.name, phase.name, phase.rule, kept, f"needs {name!r}: {verdict}")
    return None


async def _phase(suite: Suite, phase: Phase) -> Result:
    began = time.monotonic()

    def result(verdict: Verdict, text: str) -> Result:
        return Result(suite.name, phase.name, phase.rule, verdict, text, time.monotonic() - began)

    limit = asyncio.timeout(phase.within)
    try:
        async with limit:
            return result(Verdict.PASSED, await phase.run())
    except NotApplicableError as error:
        return result(Verdict.NOT_APPLICABLE, str(error))
    except UnmetError as error:
        return result(Verdict.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - whatever somebody else's bus or provider raises is a finding
        is_late = limit.expired() and isinstance(error, TimeoutError)
        seen = f"not done within {phase.within:g} s" if is_late else describe(error)
        return result(Verdict.FAILED, f"expected that {phase.shows}; seen: {seen}")


async def _cleaned(suite: Suite) -> Result | None:
    """Clean up, under a shield: somebody who cancels the run wants nothing left behind. The result where that fails."""
    began, why = time.monotonic(), f"not done within {_CLEAN_WITHIN:g} s"
    with anyio.move_on_after(_CLEAN_WITHIN, shield=True):
        try:
            await suite.clean()
            return None
        except Exception as error:  # noqa: BLE001 - as above
            why = describe(error)
    text = f"expected nothing left behind; seen: {why}"
    return Result(suite.name, "clean-up", "", Verdict.FAILED, text, time.monotonic() - began)
