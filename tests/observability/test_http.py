"""The HTTP endpoint on a real port: what each route answers, to whom, and how it starts and ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import ConfigError, EventbusError
from eventbus_runtime.events import State
from eventbus_runtime.observability.http import parse_address, serve
from tests.observability.views import View


@asynccontextmanager
async def served(
    view: View, address: str = "127.0.0.1:0", token: str | None = None, public: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running endpoint; its `base_url` is a loopback address, wherever the endpoint is bound."""
    bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    secret = None if token is None else SecretStr(token)
    left: set[asyncio.Task[object]] = set()

    async def run() -> None:
        before = asyncio.all_tasks()
        try:
            await serve(view, address=address, token=secret, public=public, started=bound.set_result)
        finally:
            left.update(asyncio.all_tasks() - before)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        port = (await bound).rpartition(":")[2]
        host = "[::1]" if address.startswith("[::1]") else "127.0.0.1"
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            yield client
        tasks.cancel_scope.cancel()
    assert left == set()


# Routes.


async def test_livez_answers_200_even_when_nothing_is_ready() -> None:
    async with served(View(reasons=["bus main: not connected"])) as client:
        answer = await client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


async def test_readyz_answers_503_with_the_reasons_until_there_are_none() -> None:
    view = View(reasons=["bus main: not connected", "trigger billing: starting"])
    async with served(view) as client:
        unready = await client.get("/readyz")
        view.reasons = []
        ready = await client.get("/readyz")
    assert unready.status_code == 503
    assert unready.json() == {"ready": False, "reasons": ["bus main: not connected", "trigger billing: starting"]}
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})


async def test_metrics_are_in_the_format_that_the_answer_says() -> None:
    view = View(triggers={"billing": (State.RUNNING, TriggerCounters(received=3))})
    async with served(view) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    [family] = [family for family in text_string_to_metric_families(answer.text) if family.name == "eventbus_received"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"trigger": "billing"}, 3)]


async def test_status_is_the_views_status_whatever_bytes_its_subjects_hold() -> None:
    status = {"triggers": {"billing": {"stuck": ["orders.\udcff"]}}}
    async with served(View(all_there_is=status)) as client:
        answer = await client.get("/status")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == status


async def test_head_answers_as_get_without_a_body() -> None:
    async with served(View(reasons=["not yet"])) as client:
        answers = [await client.head(path) for path in ("/livez", "/readyz", "/metrics", "/status")]
    assert [answer.status_code for answer in answers] == [200, 503, 200, 200]
    assert all(answer.content == b"" for answer in answers)


async def test_what_does_not_exist_is_refused_in_json() -> None:
    async with served(View()) as client:
        unknown = await client.get("/nowhere")
        posted = await client.post("/livez")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Not Found"})
    assert (posted.status_code, posted.json()) == (405, {"error": "Method Not Allowed"})
    assert "GET" in posted.headers["allow"]


async def test_a_failing_view_is_a_500_and_the_endpoint_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(View):
        def unready(self) -> list[str]:
            raise RuntimeError("broken view")

    async with served(Failing()) as client:
        failed = await client.get("/readyz")
        alive = await client.get("/livez")
    assert (failed.status_code, alive.status_code) == (500, 200)
    assert "broken view" in caplog.text


# Who may read /status.


@pytest.mark.parametrize(
    ("token", "authorization", "status_code"),
    [
        (None, None, 403),
        (None, "Bearer", 403),
        ("", "Bearer", 403),
        ("hunter2", None, 403),
        ("hunter2", "Bearer hunter", 403),
        ("hunter2", "Basic hunter2", 403),
        ("hunter2", "hunter2", 403),
        ("hunter2", "Bearer hunter2", 200),
        ("hunter2", "bearer hunter2", 200),
        ("schlüssel", "Bearer schlüssel", 200),
    ],
)
async def test_status_is_closed_beyond_loopback_but_to_the_token(
    token: str | None, authorization: str | None, status_code: int
) -> None:
    headers = {} if authorization is None else {b"authorization": authorization.encode()}
    async with served(View(), "0.0.0.0:0", token) as client:
        answer = await client.get("/status", headers=headers)
        open_ones = [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/metrics")]
    assert answer.status_code == status_code
    assert open_ones == [200, 200, 200]
    if status_code == 403:
        assert "runtime.http_token" in answer.json()["error"]


async def test_public_opens_status_beyond_loopback() -> None:
    async with served(View(), "0.0.0.0:0", "hunter2", public=True) as client:
        assert (await client.get("/status")).status_code == 200


async def test_on_loopback_status_is_open_even_with_a_token() -> None:
    async with served(View(), "127.0.0.1:0", "hunter2") as client:
        assert (await client.get("/status")).status_code == 200


# Addresses.


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8080", ("::1", 8080)),
        (":8080", ("", 8080)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "::1:8080"]
)
def test_what_is_no_address_is_a_mistake_of_the_configuration(address: str) -> None:
    with pytest.raises(ConfigError, match=r'runtime\.http: .*expected host and port, as "127\.0\.0\.1:8080"'):
        parse_address(address)


@pytest.mark.parametrize("address", ["localhost:0", "0.0.0.0:0", ":0", "[::]:0", "[::1]:0"])
async def test_each_kind_of_address_is_served(address: str) -> None:
    if "::1" in address and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    async with served(View(), address) as client:
        assert (await client.get("/livez")).status_code == 200


async def test_the_bound_address_is_told_in_the_form_that_it_is_configured_in() -> None:
    told: list[str] = []
    for address in ("127.0.0.1:0", "[::]:0") if socket.has_dualstack_ipv6() else ("127.0.0.1:0",):
        with anyio.CancelScope() as scope:

            def took(bound: str, scope: anyio.CancelScope = scope) -> None:
                told.append(bound)
                scope.cancel()

            await serve(
                View(),
                address=address,
                token=None,
                public=False,
                started=took,
            )
        host, port = parse_address(told[-1])
        assert host == parse_address(address)[0]
        assert port > 0


async def test_a_port_in_use_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EventbusError) as caught:
            await serve(View(), address=f"127.0.0.1:{port}", token=None, public=False, started=pytest.fail)
    assert str(caught.value).startswith(f"runtime.http: can't listen on 127.0.0.1:{port}: Address already in use. ")


async def test_a_host_that_is_not_ours_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(EventbusError, match=r"runtime\.http: can't listen on no\.such\.invalid:80: "):
        await serve(View(), address="no.such.invalid:80", token=None, public=False, started=pytest.fail)


# Start and end.


async def test_the_hosts_signal_handlers_stay() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with served(View()) as client:
        await client.get("/livez")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_hosts_uvicorn_loggers_stay() -> None:
    access = logging.getLogger("uvicorn.access")
    before = (access.handlers[:], access.propagate, access.level)
    async with served(View()):
        assert (access.handlers, access.propagate, access.level) == before


async def test_cancelled_it_leaves_no_task_no_connection_and_a_free_port() -> None:
    async with served(View()) as client:
        await client.get("/livez")  # its connection is kept alive
        port = client.base_url.port
        idle = socket.create_connection(("127.0.0.1", port or 0))
        half = socket.create_connection(("127.0.0.1", port or 0))
        half.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        await client.get("/livez")  # the two before it are accepted by now
    for connection in (idle, half):
        connection.settimeout(5)
        with connection:
            assert connection.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port or 0))


@pytest.mark.parametrize("requests", [1, 2])
async def test_a_client_that_does_not_read_its_answers_does_not_hold_up_the_end(
    requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(View(all_there_is={"big": "x" * 50_000_000})) as client:
        reader = socket.create_connection(("127.0.0.1", client.base_url.port or 0))
        reader.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
        assert await asyncio.to_thread(reader.recv, 100)
    assert caplog.text == ""
    reader.close()


async def test_it_can_be_cancelled_before_it_has_started() -> None:
    before = asyncio.all_tasks()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await serve(View(), address="localhost:0", token=None, public=False, started=pytest.fail)
    assert asyncio.all_tasks() == before
