"""Where the messages of our own subscriptions wait until they are handed out."""

from __future__ import annotations

import asyncio

from eventbus_runtime.buses.base import Sink
from eventbus_runtime.message import Raw


class Slot:
    """One subscription: its sink, and what came for it since the last flush."""

    __slots__ = ("items", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink: Sink | None = sink
        self.items: list[Raw] = []


class Slots:
    """The slots of one nats-py client, by subscription id as it is on the wire.

    Who puts the first item into a slot puts the slot into `touched`, too.
    """

    def __init__(self) -> None:
        self.by_sid: dict[bytes, Slot] = {}
        self.touched: list[Slot] = []
        self._loop = asyncio.get_running_loop()

    def add(self, sid: int, sink: Sink) -> None:
        """All that comes to `sid` is the sink's from now on."""
        self.by_sid[b"%d" % sid] = Slot(sink)

    def forget(self, sid: int) -> None:
        """Drop a sink and what it has not been given yet."""
        slot = self.by_sid.pop(b"%d" % sid, None)
        if slot is not None:
            slot.sink = None

    def put(self, slot: Slot, raw: Raw) -> None:
        """Keep `raw` until the next flush."""
        if not slot.items:
            self.touched.append(slot)
        slot.items.append(raw)

    def flush(self) -> None:
        """Hand every sink what came for it so far, in one list. A sink that raises is reported to the event loop."""
        touched = self.touched
        while touched:  # a sink may flush, too: then nothing is left for us
            slot = touched.pop(0)
            items, slot.items = slot.items, []
            if slot.sink is None:
                continue
            try:
                slot.sink(items)
            except Exception as error:  # noqa: BLE001 - nats-py's reader, which calls us, would end with it
                context = {"message": f"the sink {slot.sink!r} of a subscription failed", "exception": error}
                self._loop.call_exception_handler(context)
