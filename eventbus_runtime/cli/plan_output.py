"""A plan for people, and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import typer

from eventbus_runtime.config.objects import ConsumerConfig
from eventbus_runtime.provisioning.findings import Finding, Level
from eventbus_runtime.provisioning.plan import Action, BusPlan, Item
from eventbus_runtime.provisioning.shown import file_value, said
from eventbus_runtime.provisioning.unmanaged import Unmanaged

_SIGNS = {Action.CREATE: "+", Action.UPDATE: "~", Action.REFUSE: "!"}
_COLOURS = {"+": "green", "~": "yellow", "!": "red", "?": "cyan"}


class Shown(NamedTuple):
    """All that is to be said of one bus.

    Args:
        plan: what would be done.
        unmanaged: what is there besides.
        findings: what to know.
    """

    plan: BusPlan
    unmanaged: tuple[Unmanaged, ...]
    findings: tuple[Finding, ...]


def exit_code(shown: Sequence[Shown]) -> int:
    """As Terraform's `-detailed-exitcode`: 0 nothing to do, 2 changes, 1 something that can't be done."""
    if any(one.plan.having(Action.REFUSE) for one in shown):
        return 1
    return 2 if any(one.plan.having(Action.CREATE, Action.UPDATE) for one in shown) else 0


def lines(shown: Sequence[Shown]) -> Iterator[str]:
    """For people; colours stand where the output is a terminal."""
    for one in shown:
        version = f" (nats-server {one.plan.server.version})" if one.plan.server.version else ""
        yield f"bus {one.plan.bus}{version}"
        for item in one.plan.having(*_SIGNS):
            yield from _item(item)
        for thing in one.unmanaged:
            yield f"  {_sign('?')} {thing.label} is not in the file: {thing.what}"
        for finding in one.findings:
            yield f"  {finding}"
    yield summary(shown)


def summary(shown: Sequence[Shown]) -> str:
    """Everything in one line."""
    counts = {action: sum(len(one.plan.having(action)) for one in shown) for action in Action}
    risky = sum(finding.level is not Level.NOTE for one in shown for finding in one.findings)
    parts = [
        f"{counts[Action.CREATE]} to create",
        f"{counts[Action.UPDATE]} to change",
        f"{counts[Action.REFUSE]} that can't be done",
        f"{counts[Action.NOTHING]} as declared",
        f"{sum(len(one.unmanaged) for one in shown)} not in the file",
        f"{risky} warning{'' if risky == 1 else 's'}",
    ]
    return f"Plan: {', '.join(parts)}."


def as_json(shown: Sequence[Shown]) -> dict[str, Any]:
    """For machines; values are as a file would hold them."""
    return {
        "exit_code": exit_code(shown),
        "buses": {
            one.plan.bus: {
                "server_version": one.plan.server.version,
                "streams": [_item_json(item) for item in one.plan.streams],
                "consumers": [_item_json(item) for item in one.plan.consumers],
                "unmanaged": [
                    {"stream": each.stream, "consumer": each.consumer, "messages": each.messages, "bytes": each.size}
                    for each in one.unmanaged
                ],
                "findings": [{"level": str(each.level), "key": each.key, "text": each.text} for each in one.findings],
            }
            for one in shown
        },
    }


def _item(item: Item) -> Iterator[str]:
    yield f"  {_sign(_SIGNS[item.action])} {item.label}"
    is_there = item.action is Action.UPDATE or any(one.old is not None for one in item.differences)
    for one in item.differences:
        old, new = said(one.field, one.old), said(one.field, one.new)
        sign = "" if one.editable else f"{_sign('!')} "
        yield f"      {sign}{one.field}" + (f": {old} -> {new}" if is_there else f" = {new}")
    for text in item.refusals:
        yield f"      {typer.style('error', fg='red')}: {text}"


def _item_json(item: Item) -> dict[str, Any]:
    config = item.config
    return {
        "name": item.name,
        **({"stream": config.stream} if isinstance(config, ConsumerConfig) else {}),
        "action": str(item.action),
        "changes": [
            {
                "field": one.field,
                "old": file_value(one.field, one.old),
                "new": file_value(one.field, one.new),
                "possible": one.editable,
            }
            for one in item.differences
        ],
        "errors": list(item.refusals),
    }


def _sign(sign: str) -> str:
    return typer.style(sign, fg=_COLOURS[sign], bold=True)
