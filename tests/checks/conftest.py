"""The validators are in the environment of `make checks` alone; `make test` does not even look at these files."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("kubernetes_validate") else ["test_*.py"]
