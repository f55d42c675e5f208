"""The short way from the socket to the parser, past nats-py's read loop: it spares a copy of each read, a future and a
turn of the event loop, all of which a message would wait for."""

from __future__ import annotations

from asyncio import StreamReader, StreamReaderProtocol
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client


def shorten(client: Client, take: Callable[[bytes], bytes]) -> Callable[[], None]:
    """Offer each read of a connected client to `take`, as long as nothing waits for nats-py's read loop; that gets what
    `take` returns.

    It stands on asyncio's handing reads to the `feed_data` of a stream reader, and on that reader's buffer. Where these
    are built otherwise, or the connection is a WebSocket, nothing changes: the long way is as good, and slower.

    Returns:
        What ends it. It may be called by `take`.
    """
    stream: Any = getattr(getattr(client, "_transport", None), "_io_reader", None)
    if not _is_known(stream):
        return lambda: None
    feed = stream.feed_data

    def feed_data(data: bytes) -> None:
        rest = data if stream._buffer else take(data)
        if rest:
            feed(rest)

    def end() -> None:
        if stream.__dict__.get("feed_data") is feed_data:  # else somebody put another over it, and `take` takes nothing
            del stream.__dict__["feed_data"]

    stream.__dict__["feed_data"] = feed_data
    return end


def _is_known(stream: Any) -> bool:
    return (
        type(stream) is StreamReader
        and type(getattr(stream, "_buffer", None)) is bytearray
        and "feed_data" in StreamReaderProtocol.data_received.__code__.co_names
    )
