"""One plugin process, from its handshake to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from eventbus_runtime.observability.logging import LogListener, configure, get_logger
from eventbus_runtime.plugin.broker import Broker
from eventbus_runtime.plugin.callback import Callback
from eventbus_runtime.plugin.handshake import Place
from eventbus_runtime.plugin.parent import parent_gone
from eventbus_runtime.plugin.server import listen, make_server
from eventbus_runtime.plugin.service import PluginService
from eventbus_runtime.plugin.stdio import Stdout
from eventbus_runtime.signals import on_stop_signals

# Seconds. A go-plugin host kills what has not ended 2 s after it was told to: what runs gets the first of these, all
# the rest must be done by the second.
_DRAIN, _LEAVE = 1.0, 1.8


async def serve(stdout: Stdout, parent: int, environ: Mapping[str, str]) -> None:
    """Serve a host until it says that it is enough, or is gone, or a signal comes.

    Args:
        stdout: where it is told where we are.
        parent: its process id.
        environ: the variables.

    Raises:
        PluginError: nothing can be listened at, or the host does not hear where.
    """
    configure("info", "console" if sys.stderr.isatty() else "hclog")
    ending, log = asyncio.Event(), get_logger()
    broker = Broker()
    callback = Callback(broker)
    service = PluginService(callback, LogListener().on_fact, environ)
    watch = asyncio.create_task(parent_gone(parent))
    watch.add_done_callback(lambda _: ending.set())
    place = Place(environ)
    try:
        server = await make_server(service, broker, stdout, ending)
        try:
            address = await listen(place, server)
            with on_stop_signals(ending.set, ending.set), _interrupts_left_to_the_host(ending.set):
                stdout.say(address.line())
                log.info("plugin: serving", network=address.network, address=address.address)
                await ending.wait()
                log.info("plugin: stopping", reason="the host is gone" if watch.done() else "told to")
                _leave_within(_LEAVE, place)
                await service.close(_DRAIN)
                await server.stop(0.1)
        finally:
            await server.stop(None)
    finally:
        watch.cancel()
        place.close()


@contextmanager
def _interrupts_left_to_the_host(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C in a terminal goes to the host, too, whose workflows still need us: it tells us when to end. The second
    one counts."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        get_logger().info("plugin: interrupted; the host decides when it ends, a second one ends it")
        loop.add_signal_handler(signal.SIGINT, stop)

    with suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGINT, first)
    yield


def _leave_within(seconds: float, place: Place) -> None:
    """Whatever hangs, the host must not have to kill us."""

    def leave() -> None:
        place.close()
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
