"""Raw messages of our own subscriptions, taken off nats-py before it parses their headers or builds objects.

nats-py keeps one value of a repeated header and replaces bytes that are not UTF-8; we may lose neither.
"""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

from nats.aio.client import Client

from eventbus_runtime.buses.base import Sink
from eventbus_runtime.errors import BusError
from eventbus_runtime.message import Raw

# The private parts of nats-py that this package stands on, with their parameters; tried on 2.10.0 to 2.16.0.
_METHODS = {
    "_process_msg": ("sid", "subject", "reply", "data", "headers"),
    "_process_err": ("err_msg",),
    "_process_op_err": ("e",),
    "_process_info": ("info", "initial_connection"),
}
_ATTRIBUTES = ("_pongs", "_reading_task", "_server_info", "_sid", "_transport")


def check_client(client: Client) -> None:
    """Make sure that this nats-py is built as we expect.

    Raises:
        BusError: it is not; the text names its version.
    """
    wrong = [name for name in _ATTRIBUTES if not hasattr(client, name)]
    for name, parameters in _METHODS.items():
        method = getattr(Client, name, None)
        if method is None or tuple(inspect.signature(method).parameters)[1:] != parameters:
            wrong.append(name)
    if wrong:
        raise BusError(
            f"nats-py {version('nats-py')} is not built as expected ({', '.join(wrong)}): "
            "install a version that this package allows, as its metadata says"
        )


class Slot:
    """One subscription: its sink, and what came for it since the last flush."""

    __slots__ = ("items", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink: Sink | None = sink
        self.items: list[Raw] = []


class Reader:
    """Stands in for `_process_msg` of one nats-py client, for as long as one connection lasts.

    Each sink gets one list per turn of the event loop. Messages of other subscriptions go nats-py's own way.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._slots: dict[int, Slot] = {}
        self._touched: list[Slot] = []
        self._replaced = client.__dict__.get("_process_msg")
        self._original: Any = client._process_msg
        client.__dict__["_process_msg"] = self._process_msg

    def add(self, sink: Sink) -> int:
        """Give `sink` a subscription id that nats-py will not use; all that comes to that id is the sink's."""
        self._client._sid += 1
        sid: int = self._client._sid
        self._slots[sid] = Slot(sink)
        return sid

    def forget(self, sid: int) -> None:
        """Drop a sink and what it has not been given yet."""
        slot = self._slots.pop(sid, None)
        if slot is not None:
            slot.sink = None

    def flush(self) -> None:
        """Hand every sink what came for it so far."""
        touched, self._touched = self._touched, []
        for slot in touched:
            items, slot.items = slot.items, []
            if slot.sink is not None:
                slot.sink(items)

    def detach(self) -> None:
        """Hand out what is there, forget every sink, and give nats-py its method back."""
        self.flush()
        self._slots.clear()
        if self._replaced is None:
            self._client.__dict__.pop("_process_msg", None)
        else:
            self._client.__dict__["_process_msg"] = self._replaced

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        slot = self._slots.get(sid)
        if slot is None:
            await self._original(sid, subject, reply, data, headers)
            return
        if not slot.items:
            if not self._touched:
                self._loop.call_soon(self.flush)
            self._touched.append(slot)
        slot.items.append((subject, reply, data, headers))
