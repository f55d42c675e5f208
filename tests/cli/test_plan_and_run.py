"""What `eventbus-run` makes at its start is what `eventbus plan` says and `eventbus apply` makes, by the same code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.cli.topology import run
from tests.service.worker import Worker
from tests.triggers.live import Observer

TOML = """
[buses.main]
url = "{url}"
[streams.ORDERS]
subjects = ["orders.>"]
max_age = "7d"
[streams.ADVISORIES]
subjects = ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"]
[consumers.billing]
stream = "ORDERS"
max_deliver = 7
[triggers.billing]
stream = "ORDERS"
dead_letter = "dead.billing"
"""
HANDLERS = """
from eventbus_runtime import Message, pipeline, subscribe

@pipeline
async def billing(message: Message) -> None: ...

@subscribe("orders.shipped", stream="ORDERS")
async def shipping(message: Message) -> None: ...
"""


@pytest.mark.parametrize("embedded", [False, True], ids=["server", "embedded"])
def test_after_a_run_there_is_nothing_to_do_and_nothing_unmanaged(
    server: NatsServer, tmp_path: Path, embedded: bool
) -> None:
    toml = TOML.format(url="embedded" if embedded else server.url)
    with Worker(tmp_path / "app", toml, HANDLERS) as worker:
        for trigger in ("billing", "shipping"):
            worker.wait_logged(f"trigger {trigger}: running")
        worker.wait_logged("consumer exhausted--ORDERS--billing of stream ADVISORIES")
        code, out, err = run("plan", worker.folder / "app.toml")
        assert (code, err) == (0, "")
        assert out.splitlines()[1:] == [
            "Plan: 0 to create, 0 to change, 0 that can't be done, 4 as declared, 0 not in the file, 0 warnings."
        ]
        worker.signal()
        assert worker.wait() == 0


async def test_after_an_apply_the_start_makes_only_its_own_reader(server: NatsServer, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.toml").write_text(TOML.format(url=server.url))
    (folder / "handlers.py").write_text(HANDLERS)
    assert (await asyncio.to_thread(run, "apply", folder / "app.toml", "--yes"))[0] == 0
    async with Observer(
        server.url, "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.CONSUMER.CREATE.>"
    ) as observer:
        with Worker(folder, TOML.format(url=server.url), HANDLERS) as worker:
            for trigger in ("billing", "shipping"):
                await asyncio.to_thread(worker.wait_logged, f"trigger {trigger}: running")
            await asyncio.to_thread(worker.wait_logged, "consumer exhausted--ORDERS--billing of stream ADVISORIES")
            worker.signal()
            assert await asyncio.to_thread(worker.wait) == 0
        await observer.flush()
        made = {one.subject.removeprefix("$JS.API.") for one in observer.seen}
    assert {subject.rpartition(".$JS.")[0] or subject for subject in made} == {
        "CONSUMER.CREATE.ADVISORIES.exhausted--ORDERS--billing"
    }
