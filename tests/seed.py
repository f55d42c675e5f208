"""The rules of the origin, and which tests name them: `python -m tests.seed` fails where a rule has no test.

A test names the rules that it holds by a mark, `@pytest.mark.seed("S-30", "S-33")`; `pytest -q -m seed` runs these.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping, Sequence

import pytest

RULES = {
    "S-1": "what a provider has; others can be registered",
    "S-2": "a resource holds texts alone",
    "S-3": "a sensitive value shows nowhere",
    "S-4": "the deploy targets",
    "S-5": "the matrix of providers and targets",
    "S-6": "NATS on App Platform is a container service",
    "S-7": "a version is pinned; latest is refused",
    "S-8": "no replicas are one",
    "S-9": "the run command starts a server",
    "S-10": "JetStream brings a storage",
    "S-11": "a target that is not implemented fails by name",
    "S-12": "the connection string, by environment",
    "S-13": "the resource of a stream",
    "S-14": "the probe: healthy, degraded, unreachable",
    "S-20": "three modules and a trigger: init, start, stop",
    "S-21": "a bus needs a provider and a deploy target",
    "S-22": "what a stream and a consumer need",
    "S-23": "where a bus's address comes from",
    "S-24": "one connection per bus, for ever; an adopted one is never closed",
    "S-25": "several buses and none named",
    "S-26": "a stopped module can be made again",
    "S-30": "the step publish",
    "S-31": "the step consume",
    "S-32": "the step ack, and what is no ack token",
    "S-33": "errors carry the step's name",
    "S-40": "seven contracts, all strict",
    "S-41": "messages, fields and numbers",
    "S-42": "enums and their numbers",
    "S-50": "the trigger's keys; a wrong type is never read as absent",
    "S-51": "one loop; a second start is an error; stop is idempotent",
    "S-52": "bounded pulls, one timer, what appears later is picked up",
    "S-53": "the six fields of a message",
    "S-54": "who acknowledges",
    "S-60": "a process serves it all over gRPC",
    "S-61": "the registry carries every protobuf file",
    "S-70": "the suite takes a provider through its life",
    "S-71": "end to end against a child process",
    "S-72": "the trigger against a real server",
}


class Names:
    """A plugin of pytest: what the marks of the collected tests name, by rule."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self.wrong: list[str] = []

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Read the marks; before `-m` takes tests out."""
        for item in items:
            for mark in item.iter_markers("seed"):
                if not mark.args or mark.kwargs:
                    self.wrong.append(f"{item.nodeid}: a mark names rules, as seed({'S-30'!r})")
                for rule in mark.args:
                    self.found.setdefault(str(rule), []).append(item.nodeid)


def report(found: Mapping[str, Sequence[str]], wrong: Sequence[str] = ()) -> tuple[list[str], int]:
    """What to print, and the exit code.

    Args:
        found: the tests that name a rule, by rule.
        wrong: what is wrong with marks.
    """
    lines = [f"{rule:5}{len(found.get(rule, ())):5}  {text}" for rule, text in RULES.items()]
    strange = sorted(found.keys() - RULES.keys())
    problems = [*wrong, *(f"there is no rule {one}, which {', '.join(sorted(found[one]))} names" for one in strange)]
    problems += [f"no test names {rule}: {text}" for rule, text in RULES.items() if not found.get(rule)]
    return [*lines, *problems], 1 if problems else 0


def collected(arguments: Sequence[str] = ()) -> Names:
    """The marks of all tests, by pytest's own collection.

    Args:
        arguments: what pytest is given besides; files to look at, for one.

    Raises:
        RuntimeError: they can't be collected; says what pytest printed.
    """
    names, printed = Names(), io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "-m", "", *arguments], plugins=[names])
    if code != pytest.ExitCode.OK:
        raise RuntimeError(printed.getvalue())
    return names


def main(arguments: Sequence[str]) -> int:
    """Print the rules with how many tests name each; 1 if one has none, or a mark is wrong."""
    names = collected(arguments)
    lines, code = report(names.found, names.wrong)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
