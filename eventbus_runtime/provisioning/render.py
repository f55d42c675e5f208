"""From a configuration to a target's files, or to all that speaks against them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple, cast

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.findings import Finding, Level, refuse
from eventbus_runtime.provisioning.inputs import Inputs, resolve
from eventbus_runtime.provisioning.renderer import Renderer

_RENDERERS = {
    "kubernetes": "kubernetes",
    "aws.eks": "eks",
    "self_hosted": "compose",
    "digitalocean.app_platform": "app_platform",
}


class Rendered(NamedTuple):
    """What a target gets.

    Args:
        files: text by path below the output folder.
        findings: what to know; no errors.
    """

    files: Mapping[str, str]
    findings: tuple[Finding, ...]


def renderer(target: str) -> Renderer:
    """The renderer of a NATS bus on a target.

    Raises:
        ConfigError: there is none yet (S-11).
    """
    if target not in _RENDERERS:
        known = ", ".join(_RENDERERS)
        raise ConfigError(f"rendering nats on {target} is not implemented; targets that are: {known}")
    try:
        module = import_module(f"eventbus_runtime.provisioning.nats.{_RENDERERS[target]}")
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        raise ConfigError("rendering needs PyYAML: pip install 'eventbus-runtime[deploy]'") from None
    return cast(Renderer, module.RENDERER)


def render(config: RuntimeConfig, bus: str, target: str, *, text: str, where: str) -> Rendered:
    """Render a bus and its worker.

    Args:
        config, bus, target, text, where: as in `inputs.resolve`.

    Raises:
        ConfigError: everything that can't work there.
    """
    found = renderer(target)
    inputs: Inputs = resolve(config, bus, target, text=text, where=where)
    findings = tuple(found.findings(inputs))
    refuse(findings, where)
    return Rendered(found.files(inputs), tuple(one for one in findings if one.level is not Level.ERROR))
