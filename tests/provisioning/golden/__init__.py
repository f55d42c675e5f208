"""What renderers wrote when somebody last looked: `TARGET/CASE/app.toml`, and its files in `TARGET/CASE/out`.

`EVENTBUS_GOLDEN=write` writes these anew; the difference is to be read before it is committed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
VARIABLE = "EVENTBUS_GOLDEN"


def cases(folder: str) -> list[str]:
    """The names of a target's cases, as `kubernetes/production`."""
    return [f"{folder}/{path.parent.name}" for path in sorted((FOLDER / folder).glob("*/app.toml"))]


def source(case: str) -> str:
    """The configuration of a case."""
    return (FOLDER / case / "app.toml").read_text("utf-8")


def written(case: str) -> dict[str, str]:
    """The files of a case, by name."""
    out = FOLDER / case / "out"
    return {str(path.relative_to(out)): path.read_text("utf-8") for path in sorted(out.rglob("*")) if path.is_file()}


def compared(case: str, files: Mapping[str, str]) -> dict[str, str]:
    """The files of a case, to compare with `files`; which are written first where that is asked for."""
    if os.environ.get(VARIABLE) == "write":
        out = FOLDER / case / "out"
        shutil.rmtree(out, ignore_errors=True)
        for name, text in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return written(case)
