"""Credentials that expire while the worker runs, and a file of them that is written anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.testing.server import NatsServer
from tests.buses.credentials import Operator
from tests.chaos.scene import ACK_WAIT, LOST, Scene, until
from tests.conftest import MakeServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(90)]


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def server(operator: Operator, make_server: MakeServer) -> NatsServer:
    """A server that takes this operator's users alone."""
    return make_server(operator.server_config())


@pytest_asyncio.fixture
async def scene(
    tmp_path: Path, operator: Operator, server: NatsServer, say: Callable[[str], None]
) -> AsyncIterator[Scene]:
    """A scene whose driver's own credentials last."""
    auth = {"creds": operator.creds(tmp_path / "driver.creds")}
    async with Scene(tmp_path, [server.url], say, BusConfig.model_validate({"auth": auth})) as made:
        yield made


def auth(path: Path) -> str:
    return f'[buses.main.auth]\ncreds = "{path}"'


async def test_credentials_renewed_in_time_lose_nothing_and_double_nothing(
    scene: Scene, operator: Operator, tmp_path: Path
) -> None:
    """The server closes the connection when they expire; the file holds fresh ones by then."""
    path = tmp_path / "worker.creds"
    operator.creds(path, valid=4)
    worker = await scene.worker(more=auth(path))
    async with scene.feed():
        await asyncio.sleep(2)  # so that the next ones always last 2 s longer than those in use
        for time in (1, 2, 3):
            operator.creds(path, valid=4)
            await until(lambda time=time: worker.errors.count(LOST) >= time, "they expire")  # type: ignore[misc]
            await scene.more(300)
    await scene.drained()
    assert "refuses the credentials" not in worker.errors
    assert (await scene.close()).left == 0


async def test_credentials_renewed_late_lose_nothing_and_double_nothing(
    scene: Scene, operator: Operator, tmp_path: Path
) -> None:
    path = tmp_path / "worker.creds"
    operator.creds(path, valid=3)
    worker = await scene.worker(more=auth(path))
    async with scene.feed():
        await until(lambda: "refuses the credentials" in worker.errors, "they are refused")
        await asyncio.sleep(2 * ACK_WAIT)
        operator.creds(path)
        await scene.more(300)
    await scene.drained()
    assert "BEGIN" not in worker.errors
    assert (await scene.close()).left == 0
