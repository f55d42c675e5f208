"""A package that brings a provider, installed as pip would leave it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from textwrap import dedent

from eventbus_runtime.provisioning.providers import GROUP

PROVIDER = """
from eventbus_runtime.provisioning.providers import not_implemented
from eventbus_runtime.provisioning.resources import Resource


class Provider:
    name = "{name}"
    {body}

    def resources(self, bus, target):
        if target != self.targets[0]:
            raise not_implemented(self.name, target, "write it in {name}_plug_in")
        return [Resource("infra.{name}", bus.name)]

    def warnings(self, bus, target):
        return ()

    def connection_string(self, state, env=""):
        return state.value("uri")

    def stream_resources(self, streams, state, consumers=()):
        return ()

    async def probe(self, uri, *, timeout=5.0):
        raise NotImplementedError


provider = Provider()
"""


def install(site: Path, name: str, body: str, module: str = PROVIDER) -> None:
    """Put a plug-in on the path; the tests' own fixture takes it off again.

    Args:
        site: folder of its own, made here.
        name: of the provider.
        body: line of its class.
        module: text of its module.
    """
    info = site / f"{name}_plug_in-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plug-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}_plug_in:provider\n")
    (site / f"{name}_plug_in.py").write_text(dedent(module).replace("{name}", name).replace("{body}", body))
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
