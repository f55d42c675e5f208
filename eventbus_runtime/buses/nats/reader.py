"""Raw messages of our own subscriptions, taken off nats-py before it parses their headers or builds objects.

nats-py keeps one value of a repeated header and replaces bytes that are not UTF-8; we may lose neither.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from nats.aio.client import Client

from eventbus_runtime.buses.base import Sink
from eventbus_runtime.buses.nats.compatible import CompatibleReader
from eventbus_runtime.errors import BusError, ConfigError, Problem

if TYPE_CHECKING:
    from eventbus_runtime.buses.nats.parser import BatchParser

VARIABLE = "EVENTBUS_READER"
"""Environment variable that chooses the reader: `batch` (the default) or `compatible`."""

# The private parts of nats-py that this package stands on, with their parameters; tried on 2.10.0 to 2.16.0.
_METHODS = {
    "_process_msg": ("sid", "subject", "reply", "data", "headers"),
    "_process_err": ("err_msg",),
    "_process_op_err": ("e",),
    "_process_info": ("info", "initial_connection"),
}
_ATTRIBUTES = ("_pongs", "_reading_task", "_server_info", "_sid", "_transport")


def check_client(client: Client) -> None:
    """Make sure that this nats-py is built as we expect, and that the environment asks for a reader that there is.

    Raises:
        BusError: it is not; the text names its version.
        ConfigError: `EVENTBUS_READER` is wrong.
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
    _asks_for_compatible()


class Reader:
    """The subscriptions of one link, on one nats-py client, for as long as one connection lasts.

    Each sink gets one list per read. Messages of other subscriptions go nats-py's own way. The environment variable
    `EVENTBUS_READER` is read now.

    Args:
        client: the connected client, which `check_client` has passed.
        warn: called with what an operator should know of the reader that was chosen.

    Raises:
        ConfigError: `EVENTBUS_READER` is wrong.
    """

    def __init__(self, client: Client, warn: Callable[[str], None]) -> None:
        self._client = client
        self._sids: set[int] = set()
        self._plugged = self._plug(warn)
        self._plugged.users += 1

    def add(self, sink: Sink) -> int:
        """Give `sink` a subscription id that nats-py will not use; all that comes to that id is the sink's."""
        self._client._sid += 1
        sid: int = self._client._sid
        self._sids.add(sid)
        self._plugged.slots.add(sid, sink)
        return sid

    def forget(self, sid: int) -> None:
        """Drop a sink and what it has not been given yet."""
        self._sids.discard(sid)
        self._plugged.slots.forget(sid)

    def detach(self) -> None:
        """Hand out what is there, forget every sink, and give nats-py back what is its own."""
        self._plugged.slots.flush()
        for sid in tuple(self._sids):
            self.forget(sid)
        self._plugged.users -= 1
        if self._plugged.users == 0:
            self._plugged.unplug()

    def _plug(self, warn: Callable[[str], None]) -> BatchParser | CompatibleReader:
        client = self._client
        # Another bus may use the same connection: two readers on it would take each other's messages for nats-py's.
        hook = getattr(client.__dict__.get("_process_msg"), "__self__", None)
        for there in (getattr(client, "_ps", None), hook):
            if hasattr(there, "slots"):
                return cast("BatchParser | CompatibleReader", there)
        if _asks_for_compatible():
            return CompatibleReader(client)
        try:
            from eventbus_runtime.buses.nats.parser import BatchParser, is_known
        except ImportError:
            known = False
        else:
            known = is_known(client)
        if known:
            return BatchParser(client)
        warn(
            f"the parser of nats-py {version('nats-py')} is not built as expected: messages are read by the slower "
            f"compatible reader; install a version that was tried (2.10 to 2.16), or set {VARIABLE}=compatible"
        )
        return CompatibleReader(client)


def _asks_for_compatible() -> bool:
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "batch", "compatible"):
        text = f"is {value!r}: set it to 'batch' (the default) or 'compatible', or unset it"
        raise ConfigError([Problem(VARIABLE, "", text)])
    return value == "compatible"
