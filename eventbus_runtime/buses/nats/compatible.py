"""The compatible reader: nats-py's own parser does the parsing, and its messages are taken raw.

It is not nats-py's public callback: that keeps one value of a repeated header, replaces bytes that are not UTF-8, and
drops what arrives between UNSUB and its PONG.

It can't take what nats-py can't parse: a message whose subject or reply holds a vertical tab, a form feed or a carriage
return, which servers let anybody publish, ends the connection, and ends the next one when it is delivered again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client

from eventbus_runtime.buses.nats.slots import Slots


class CompatibleReader:
    """Stands in for `_process_msg` of one nats-py client, from now until `unplug`.

    Messages of the subscriptions in `slots` go to their sinks, in one list per turn of the event loop; all others go
    nats-py's own way.
    """

    def __init__(self, client: Client) -> None:
        self.slots = Slots()
        self.users = 0
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._before = client.__dict__.get("_process_msg")
        self._original: Any = client._process_msg
        client.__dict__["_process_msg"] = self._process_msg

    def unplug(self) -> None:
        """Give nats-py its method back, unless somebody put another over ours."""
        if self._client.__dict__.get("_process_msg") != self._process_msg:
            return
        if self._before is None:
            self._client.__dict__.pop("_process_msg", None)
        else:
            self._client.__dict__["_process_msg"] = self._before

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        slot = self.slots.by_sid.get(b"%d" % sid)
        if slot is None:
            await self._original(sid, subject, reply, data, headers)
            return
        if not self.slots.touched:
            self._loop.call_soon(self.slots.flush)
        self.slots.put(slot, (subject, reply, data, headers))
