"""Our own connections: one nats-py client per attempt, for ever.

nats-py's own reconnecting has no jitter, gives up for good when credentials expire, and hides why it waits.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import nats.errors
from nats.aio.client import Client

from eventbus_runtime.buses.nats.errors import PERMISSIONS_VIOLATION, is_refusal, sentence
from eventbus_runtime.buses.nats.lifecycle import Lifecycle
from eventbus_runtime.buses.nats.link import Link
from eventbus_runtime.buses.nats.options import Endpoint, connect_options, credentials_key, discovered
from eventbus_runtime.buses.nats.reader import check_client
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import AuthenticationError, BusUnavailableError, EventbusError
from eventbus_runtime.events import State

# Attempts are 2 s apart in the mean (S-24), under full jitter; the first ones after a break come quicker.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 4.0
# A connection that stood shorter than this does not make the next attempts quick again.
_STEADY = 2.0
_CLOSE_WITHIN = 1.0


class DialledClient(Client):
    """A nats-py client that never closes or reconnects itself: it says that it ended, and its keeper acts.

    Args:
        denied: called with what the server refuses without closing the connection.
    """

    def __init__(self, denied: Callable[[str], None], *, wants_tls: bool) -> None:
        super().__init__()
        self.ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.last_noted: Exception | None = None
        self._denied = denied
        self._wants_tls = wants_tls

    def end(self, error: BaseException | None) -> None:
        """The connection is lost; the first reason counts."""
        if not self.ended.done():
            self.ended.set_result(error)

    async def note(self, error: Exception) -> None:
        """nats-py's error callback."""
        self.last_noted = error

    async def _process_err(self, err_msg: str) -> None:
        text = err_msg.strip("'")
        if PERMISSIONS_VIOLATION in text:
            self._denied(text)
        else:
            self.end(nats.errors.Error(text))

    async def _process_op_err(self, e: Exception) -> None:
        self.end(e)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._wants_tls and not self.options["tls_handshake_first"]:
            # nats-py encrypts only where the server insists, and would send our credentials in the clear elsewhere.
            if not (info.get("tls_required") or info.get("tls_available")):
                raise nats.errors.Error("the server does not offer TLS, and this bus asks for it")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


async def keep_dialled(life: Lifecycle, config: BusConfig, places: Sequence[Endpoint]) -> None:
    """Keep `life` connected to one of `places`, or of the servers that these tell of, until cancelled.

    Ends by itself only where no connection ever stood and trying again can't help: refused credentials, unusable files.
    """
    pool = _shuffled(places)
    pauses = 0
    loop = asyncio.get_running_loop()
    while True:
        place = next(pool)
        try:
            client = await dial(life, config, place)
        except BusUnavailableError as error:
            life.away(str(error))
        except EventbusError as error:
            if not life.stood:
                life.fail(error)
                return
            life.warn(str(error))
            life.away(str(error))
        else:
            if life.state is State.STOPPED:
                await dispose(client)
                return
            began = loop.time()
            await _use(life, client)
            told = discovered(place, (url.netloc for url in client.discovered_servers))
            declared = {there.url for there in places}
            pool = _shuffled([*places, *(there for there in told if there.url not in declared)])
            if loop.time() - began >= _STEADY:
                pauses = 0
        if life.state is State.STOPPED:
            return  # the `wait_for` of Python 3.11, which nats-py uses, can swallow the cancellation that told us
        await asyncio.sleep(random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**pauses)))
        pauses = min(pauses + 1, 10)


def _shuffled(places: Sequence[Endpoint]) -> Iterator[Endpoint]:
    return cycle(random.sample(places, len(places)))


async def dial(life: Lifecycle, config: BusConfig, place: Endpoint) -> DialledClient:
    """One attempt.

    Raises:
        BusUnavailableError: not now.
        AuthenticationError: the server refuses the credentials; the text names their key.
        ConfigError: a file that the configuration names can't be used.
        BusError: this nats-py is not one that we know.
    """
    options = connect_options(life.name, config, place)
    client = DialledClient(life.denied, wants_tls="tls" in options)
    try:
        check_client(client)
        async with asyncio.timeout(config.connect_timeout):
            await client.connect(**options, error_cb=client.note)
    except BaseException as error:
        await dispose(client)
        # Whatever nats-py raises in an attempt, the answer is the next attempt.
        if not isinstance(error, Exception) or isinstance(error, EventbusError):
            raise
        raise _attempt_failed(life.name, config, place, _cause(client, error)) from None
    assert client._reading_task is not None, "a connected client reads"
    client._reading_task.add_done_callback(lambda _: client.end(None))
    return client


async def _use(life: Lifecycle, client: DialledClient) -> None:
    link: Link | None = None
    reason = "the bus was stopped"
    try:
        link = life.attach(client, client.end)
        reason = sentence(await client.ended)
    finally:
        life.detach(reason)
        await dispose(client, grace=_CLOSE_WITHIN)
        if link is not None:
            await asyncio.wait({link.writing})


async def dispose(client: Client, *, grace: float = 0.0) -> None:
    """End a client of ours, connected or not: no task, timer or socket of it is left.

    nats-py's own `close` leaves tasks behind when it is cancelled, and waits for ever for a server that takes nothing.

    Args:
        client: the client.
        grace: seconds that the socket gets to take what was written to it.
    """
    client._status = Client.CLOSED
    tasks = [client._reading_task, client._ping_interval_task, client._flusher_task]
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    transport: Any = client._transport
    if transport:
        transport.close()
    try:
        await asyncio.gather(*running, return_exceptions=True)
        if transport and grace:
            async with asyncio.timeout(grace):
                await transport.wait_closed()
    except OSError:  # TimeoutError is one, too
        pass
    finally:
        writer = getattr(transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


def _cause(client: DialledClient, error: Exception) -> Exception:
    if isinstance(error, nats.errors.NoServersError) and client.last_noted is not None:
        return client.last_noted
    return error


def _attempt_failed(bus: str, config: BusConfig, place: Endpoint, error: Exception) -> EventbusError:
    text = sentence(error)
    # A server that greets first spoils the handshake; or the greeting is lost in it, and waited for.
    is_spoilt = isinstance(error, ssl.SSLError | TimeoutError) and not isinstance(error, ssl.SSLCertVerificationError)
    if is_spoilt and config.tls and config.tls.handshake_first:
        text += f"; buses.{bus}.tls.handshake_first wants a server that has it too (nats-server 2.10.4 or later)"
    if not is_refusal(text):
        return BusUnavailableError(f"{place.url}: {text}")
    key = credentials_key(bus, config, place)
    cure = "the server wants credentials; set them there" if key.endswith(".auth") else "correct what is given there"
    return AuthenticationError(f"{key}: {place.url} refuses the credentials of bus {bus!r} ({text}): {cure}")
