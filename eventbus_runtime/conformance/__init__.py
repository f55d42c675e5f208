"""The suite that any bus or provider can be held to (S-70 to S-72); runs under any test runner, or under none.

candidate = Candidate(provider, "kubernetes", open_bus=open_my_bus, broker=MyBroker)
report = await run([targets_suite(provider), provider_suite(candidate, uri), trigger_suite(candidate, uri)])
assert report.passed, report.text()
"""

from eventbus_runtime.conformance.broker import Broker, Count, JetStream
from eventbus_runtime.conformance.candidate import Candidate, open_nats
from eventbus_runtime.conformance.phases import (
    NotApplicableError,
    Phase,
    Suite,
    UnmetError,
    eventually,
    expect,
    expect_equal,
    expect_just_now,
    refused,
)
from eventbus_runtime.conformance.process import process_suite
from eventbus_runtime.conformance.provider import provider_suite
from eventbus_runtime.conformance.report import Report, Result, Verdict
from eventbus_runtime.conformance.running import run
from eventbus_runtime.conformance.targets import targets_suite
from eventbus_runtime.conformance.trigger import trigger_suite

__all__ = [
    "Broker",
    "Candidate",
    "Count",
    "JetStream",
    "NotApplicableError",
    "Phase",
    "Report",
    "Result",
    "Suite",
    "UnmetError",
    "Verdict",
    "eventually",
    "expect",
    "expect_equal",
    "expect_just_now",
    "open_nats",
    "process_suite",
    "provider_suite",
    "refused",
    "run",
    "targets_suite",
    "trigger_suite",
]
