"""What a cluster can't do now, since it elects a leader or is not complete; commands that nobody starts again wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from eventbus_runtime.errors import ApiError, BusUnavailableError, NotPermittedError

T = TypeVar("T")

_PAUSE: Final = 0.5
_UNAVAILABLE: Final = 503
_NO_PEERS: Final = 10005


class PlacementError(BusUnavailableError):
    """A cluster has no place for an object: a server is away, or there is none that it fits."""


@contextmanager
def unavailable() -> Iterator[None]:
    """What JetStream can't do now is worth another try: an ApiError that says so becomes a BusUnavailableError."""
    try:
        yield
    except ApiError as error:
        if error.err_code == _NO_PEERS:
            raise PlacementError(str(error)) from error
        if error.code == _UNAVAILABLE:
            raise BusUnavailableError(str(error)) from error
        raise


class Patience:
    """Waits for some seconds in all, however often.

    Args:
        seconds: how many. An election takes up to 9, and then the leader has yet to hear of its peers.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self._left = seconds

    async def once_possible(self, do: Callable[[], Awaitable[T]], waiting: Callable[[BusUnavailableError], None]) -> T:
        """The result of `do`, tried again while the server does not answer or can't do it now.

        Args:
            do: may be called more than once.
            waiting: is told why, before the first wait.

        Raises:
            BusError: what `do` raises in the end, or what waiting can't mend: what is not permitted, say.
        """
        clock, has_told = asyncio.get_running_loop().time, False
        while True:
            begun = clock()
            try:
                return await do()
            except NotPermittedError:
                raise
            except BusUnavailableError as error:
                self._left -= clock() - begun
                if self._left <= 0:
                    raise
                if not has_told:
                    waiting(error)
                    has_told = True
            self._left -= _PAUSE
            await asyncio.sleep(_PAUSE)
