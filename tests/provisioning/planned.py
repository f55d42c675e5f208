"""A configuration file, planned and applied on a real server, without the command line."""

from __future__ import annotations

from typing import Any

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.plan import look_at
from eventbus_runtime.cli.plan_output import Shown
from eventbus_runtime.config.toml import toml_key, toml_value
from eventbus_runtime.provisioning.apply import carry_out
from eventbus_runtime.provisioning.plan import Action, Item
from tests.config.project import Project


class Site:
    """A folder with `app.toml` and `handlers.py`, and the server that they are for.

    Args:
        project: the folder.
        bus: connected.
        url: the server's.
    """

    def __init__(self, project: Project, bus: NatsBus, url: str) -> None:
        self._project, self.bus, self._url = project, bus, url

    async def plan(self, toml: str) -> Shown:
        """What is said of a file with these tables beside its bus `main`."""
        return await self.plan_of(f'[buses.main]\nurl = "{self._url}"\n{toml}')

    async def plan_of(self, text: str) -> Shown:
        """What is said of a whole file."""
        self.loaded = self._project.load(text)
        return await look_at(self.loaded, self.bus)

    async def apply(self, toml: str) -> list[str]:
        """Have it be so; returns what was done, as "created stream ORDERS", and what was refused."""
        done = list[str]()
        shown = await self.plan(toml)
        failures = await carry_out(self.bus, shown.plan, lambda item, how: done.append(f"{how} {item.label}"))
        return done + failures

    async def config(self, subject: str) -> dict[str, Any]:
        """The configuration that an INFO request gets."""
        config: dict[str, Any] = (await self.bus.api(subject))["config"]
        return config


def stream(name: str = "ORDERS", **fields: Any) -> str:
    """The table of a stream."""
    return table(f"streams.{name}", {"subjects": [f"{name.lower()}.>"], **fields})


def consumer(name: str = "billing", **fields: Any) -> str:
    """The table of a consumer of ORDERS."""
    return table(f"consumers.{name}", {"stream": "ORDERS", **fields})


def table(name: str, fields: dict[str, Any]) -> str:
    """A table of the file; None leaves a key out."""
    lines = [f"{toml_key(key)} = {toml_value(value)}" for key, value in fields.items() if value is not None]
    return "\n".join([f"[{name}]", *lines, ""])


def changes(item: Item) -> list[str]:
    """Its differences as words: "max_age", and "storage!" for what can't change."""
    return [one.field + ("" if one.editable else "!") for one in item.differences]


def done(shown: Shown) -> dict[str, str]:
    """What would be done, by label."""
    return {one.label: str(one.action) for one in shown.plan.items if one.action is not Action.NOTHING}


def said_of(shown: Shown, key: str) -> list[str]:
    """The texts of the findings about a key."""
    return [str(one.text) for one in shown.findings if one.key == key]
