"""go-plugin's broker: how the host tells where a further connection may be made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.handshake import Address
from eventbus_runtime.plugin.messages import BROKER, Proto, message

_PATIENCE = 5.0


class Broker:
    """What the host has announced, by number."""

    def __init__(self) -> None:
        self._announced: dict[int, Address] = {}
        self._news = asyncio.Condition()

    async def stream(self, infos: AsyncIterator[Proto]) -> AsyncIterator[Proto]:
        """Serve `plugin.GRPCBroker/StartStream`: note what is announced; a knock, which asks for a connection of ours
        that goes over this one, is refused."""
        knows = message(f"{BROKER}.ConnInfo")
        async for info in infos:
            if info.HasField("knock") and info.knock.knock and not info.knock.ack:
                refused = "this plugin has no multiplexed connections"
                yield knows(service_id=info.service_id, knock={"knock": True, "ack": True, "error": refused})
                continue
            async with self._news:
                self._announced[info.service_id] = Address(info.network, info.address)
                self._news.notify_all()

    async def address(self, number: int, patience: float = _PATIENCE) -> Address:
        """Where the host serves connection `number`; it may be announced before this is asked, or after.

        Args:
            number: as the host told it.
            patience: seconds to wait for it.

        Raises:
            PluginError: it was not announced in time, or is of no kind that can be dialled.
        """
        try:
            async with asyncio.timeout(patience), self._news:
                await self._news.wait_for(lambda: number in self._announced)
        except TimeoutError:
            raise PluginError(
                f"the host has not announced broker connection {number} within {patience:g} s "
                "(plugin.GRPCBroker/StartStream)"
            ) from None
        address = self._announced[number]
        if address.network not in ("unix", "tcp"):
            raise PluginError(f"broker connection {number} is at {address.network!r}; only unix and tcp can be dialled")
        return address
