"""The sizes that App Platform has for a container (`instance_size_slug`)."""

from __future__ import annotations

from typing import NamedTuple

_MiB = 1 << 20


class Size(NamedTuple):
    """One of them.

    Args:
        slug: what the app spec calls it.
        cpu: thousandths of a processor.
        memory: bytes.
        alone: whether a component of this size has one instance only (`single_instance_only` in DigitalOcean's API).
    """

    slug: str
    cpu: int
    memory: int
    alone: bool = False


SIZES = (
    Size("apps-s-1vcpu-0.5gb", 1000, 512 * _MiB, alone=True),
    Size("apps-s-1vcpu-1gb-fixed", 1000, 1024 * _MiB, alone=True),
    Size("apps-s-1vcpu-1gb", 1000, 1024 * _MiB),
    Size("apps-s-1vcpu-2gb", 1000, 2048 * _MiB),
    Size("apps-s-2vcpu-4gb", 2000, 4096 * _MiB),
    Size("apps-d-1vcpu-0.5gb", 1000, 512 * _MiB),
    Size("apps-d-1vcpu-1gb", 1000, 1024 * _MiB),
    Size("apps-d-1vcpu-2gb", 1000, 2048 * _MiB),
    Size("apps-d-1vcpu-4gb", 1000, 4096 * _MiB),
    Size("apps-d-2vcpu-4gb", 2000, 4096 * _MiB),
    Size("apps-d-2vcpu-8gb", 2000, 8192 * _MiB),
    Size("apps-d-4vcpu-8gb", 4000, 8192 * _MiB),
    Size("apps-d-4vcpu-16gb", 4000, 16384 * _MiB),
    Size("apps-d-8vcpu-32gb", 8000, 32768 * _MiB),
)
"""Those on shared processors first, since they cost less; then the smallest."""


def fitting(cpu: int, memory: int, *, several: bool = False) -> list[Size]:
    """Those that hold so much, in the order of SIZES.

    Args:
        cpu: thousandths of a processor.
        memory: bytes.
        several: whether there is to be more than one instance.
    """
    return [size for size in SIZES if size.cpu >= cpu and size.memory >= memory and not (several and size.alone)]


def smallest(cpu: int, memory: int, *, several: bool = False) -> Size | None:
    """The first of `fitting`; None: there is none."""
    return next(iter(fitting(cpu, memory, several=several)), None)
