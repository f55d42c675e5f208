"""Keys that this version does not carry out yet. Refused, since accepting them would promise it."""

from __future__ import annotations

from eventbus_runtime.config.report import Report
from eventbus_runtime.config.tables import Tables, whole

_TEXT = "not available in this version; it arrives with a later release"


def refuse_not_yet(tables: Tables, report: Report) -> None:
    """Report each such key."""
    if whole(tables.get("runtime", "workers"), 1) > 1:
        report.error(("runtime", "workers"), f"more than 1 is {_TEXT}; start the command several times instead")
    for name, trigger in tables.section("triggers").items():
        for key in ("batch", "ordering_key"):
            if key in trigger:
                report.error(("triggers", name, key), _TEXT)
        if trigger.get("ordering") in ("key", "strict"):
            report.error(("triggers", name, "ordering"), f'"{trigger["ordering"]}" is {_TEXT}')
    for name in ("ecs", "systemd"):
        if tables.get("deploy", name) is not None:
            report.error(("deploy", name), _TEXT)
