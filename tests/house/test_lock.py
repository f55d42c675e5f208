"""requirements.lock can be installed by its hashes alone, whatever the index has got since."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LOCK = Path(__file__).parents[2] / "requirements.lock"


def test_it_pins_each_extra_that_an_installed_package_asks_for() -> None:
    """pip takes `coverage[toml]` for another thing than the pinned `coverage`, and looks for the newest one: there is
    no hash of it in the lock, so all installs fail from the day on which the index has a newer one."""
    wanted = {
        (canonicalize_name(requirement.name), extra)
        for distribution in distributions()
        for requirement in map(Requirement, distribution.requires or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        for extra in requirement.extras
    }
    pins = re.findall(r"^([\w.-]+)(?:\[(.*)\])?==", _LOCK.read_text("utf-8"), re.MULTILINE)
    pinned = {(canonicalize_name(name), extra) for name, extras in pins for extra in extras.split(",")}
    assert ("nats-py", "nkeys") in wanted
    assert wanted <= pinned
