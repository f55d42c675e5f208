"""When the process ends: told to, by a signal, with its host. Nothing is lost then."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from eventbus_runtime.plugin.parent import parent_gone
from eventbus_runtime.testing.server import NatsServer
from tests.plugin.hosting import BUS, NATS, SUBSCRIBE, Workflow, plugin, publish, stocked, until_counts, variables
from tests.triggers.live import connected, make_stream, until

# A host that dies without a word: it starts a plugin with a running trigger, whose workflow never ends.
HOST = """
import asyncio, json, os, sys
from eventbus_runtime.plugin.client import PluginProcess
from tests.plugin.hosting import BUS, NATS, SUBSCRIBE

async def main():
    async with PluginProcess() as plugin:
        await plugin.run_module(BUS, "main", NATS)
        async def for_ever(fired):
            print(json.dumps({"fired": fired.data["sequence"]}), flush=True)
            await asyncio.Event().wait()
        await plugin.serve_callbacks(for_ever)
        config = {"name": "billing", "stream_name": "ORDERS"}
        await plugin.start_module(await plugin.create_trigger(SUBSCRIBE, "flow", config))
        print(json.dumps({"pid": plugin.pid, "socket": plugin.address.address}), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.timed
async def test_told_to_end_it_does_within_the_time_that_go_plugin_gives() -> None:
    """go-plugin kills what has not ended two seconds after `Shutdown`."""
    async with plugin() as process:
        assert await process.shutdown(within=2.0) == 0
        assert "Traceback" not in "\n".join(process.stderr)


@pytest.mark.timed
async def test_with_a_workflow_that_hangs_it_ends_in_time_too_and_hands_the_message_back(server: NatsServer) -> None:
    begun, hang = asyncio.Event(), asyncio.Event()

    async def hanging(fired: object) -> None:
        begun.set()
        await hang.wait()

    async with stocked(server) as (process, outside):
        await process.serve_callbacks(hanging)
        await process.start_module(await process.create_trigger(SUBSCRIBE, "flow", {"consumer": "billing"}))
        await publish(process, "orders.created")
        await asyncio.wait_for(begun.wait(), 10)
        now = asyncio.get_running_loop().time
        asked = now()
        assert await process.shutdown(within=5.0) in (0, 1)
        assert now() - asked < 2.0
        hang.set()
        info = await outside.api("CONSUMER.INFO.ORDERS.billing")
        assert info["ack_floor"]["stream_seq"] == 0, "it was acknowledged, though its workflow did not end"


async def test_sigterm_ends_it() -> None:
    async with plugin() as process:
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 0
        assert not Path(process.address.address).parent.exists()


async def test_ctrl_c_in_the_hosts_terminal_is_the_hosts_business_and_the_second_one_ends_it() -> None:
    async with plugin() as process:
        os.kill(process.pid, signal.SIGINT)
        await until(lambda: any("interrupted" in line for line in process.stderr))
        assert await process.healthy()
        os.kill(process.pid, signal.SIGINT)
        assert await process.wait() == 0


async def test_a_host_that_is_killed_takes_the_plugin_along_and_nothing_is_lost(
    server: NatsServer, tmp_path: Path
) -> None:
    async with connected(server.url, name="outside") as outside:
        await make_stream(outside, "ORDERS", ["orders.>"])
        with (tmp_path / "err.txt").open("wb") as err:
            host = subprocess.Popen(
                [sys.executable, "-c", HOST],
                env=variables(server),
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=err,
            )
        assert host.stdout is not None
        try:
            told = json.loads(await asyncio.to_thread(host.stdout.readline))
            await outside.publish("orders.created", b"precious")
            assert json.loads(await asyncio.to_thread(host.stdout.readline)) == {"fired": "1"}
        finally:
            host.kill()
            host.wait()
            host.stdout.close()
        await until(lambda: not psutil.pid_exists(told["pid"]))
        assert not Path(told["socket"]).parent.exists()
        workflow = Workflow()
        async with plugin(server) as process:
            await process.run_module(BUS, "main", NATS)
            await process.serve_callbacks(workflow)
            config = {"name": "billing", "stream_name": "ORDERS"}
            await process.start_module(await process.create_trigger(SUBSCRIBE, "flow", config))
            assert [fired.payload for fired in await workflow.wait(1)] == [b"precious"]
            await until_counts(outside, (1, 0, 0))


async def test_where_the_kernel_tells_nothing_a_new_parent_is_noticed() -> None:
    parents = iter([7, 7, 1])
    async with asyncio.timeout(10):
        await parent_gone(7, lambda: next(parents))
    assert list(parents) == []
