"""The end of who started us."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_LOOKS = 0.5


async def parent_gone(parent: int, getppid: Callable[[], int] = os.getppid) -> None:
    """Return when the parent process has ended.

    On Linux the kernel tells it at once; elsewhere, and in addition, it is looked at twice a second: a process that
    lost its parent gets another one. Not by PR_SET_PDEATHSIG: that comes when the thread ends that started us, which
    in a host written in Go need not be the end of the host. Windows keeps the number:
    there only the host's word ends us.

    Args:
        parent: its number, read when this process began.
        getppid: for tests.
    """
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    descriptor = _descriptor(parent)
    if descriptor is not None:
        loop.add_reader(descriptor, gone.set)
    try:
        while getppid() == parent and not gone.is_set():
            try:
                async with asyncio.timeout(_LOOKS):
                    await gone.wait()
            except TimeoutError:
                continue
    finally:
        if descriptor is not None:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _descriptor(parent: int) -> int | None:
    try:
        return os.pidfd_open(parent)
    except (AttributeError, OSError):  # no Linux, an old kernel, or it is gone already
        return None
