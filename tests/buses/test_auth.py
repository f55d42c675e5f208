"""Every kind of credentials, right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nkeys
import pytest

from eventbus_runtime.errors import AuthenticationError, ConfigError
from eventbus_runtime.events import State, Warned
from tests.buses.credentials import Operator, new_key, public
from tests.buses.helpers import Facts, bus_on, poll, written
from tests.conftest import MakeServer

PASSWORD = 'authorization { user: ann, password: "p@ss w/rd" }'
TOKEN = 'authorization { token: "s3cr3t/token" }'


@pytest.mark.parametrize(
    ("config", "url", "auth"),
    [
        (PASSWORD, "nats://127.0.0.1:{}", {"user": "ann", "password": "p@ss w/rd"}),
        (PASSWORD, "nats://ann:p%40ss%20w%2Frd@127.0.0.1:{}", {}),
        (TOKEN, "nats://127.0.0.1:{}", {"token": "s3cr3t/token"}),
        (TOKEN, "nats://s3cr3t%2Ftoken@127.0.0.1:{}", {}),
    ],
    ids=["password", "password in the url", "token", "token in the url"],
)
async def test_the_right_credentials_connect(
    make_server: MakeServer, config: str, url: str, auth: dict[str, str]
) -> None:
    server = make_server(config, jetstream=False)
    async with bus_on(url.format(server.port), auth=auth) as bus:
        await bus.wait_connected()
        assert await bus.ping()
        assert bus.url == server.url, "a url that is shown bears no credentials"


async def test_an_nkey_connects(make_server: MakeServer, tmp_path: Path) -> None:
    user = new_key(nkeys.PREFIX_BYTE_USER)
    server = make_server(f"authorization {{ users: [ {{ nkey: {public(user)} }} ] }}", jetstream=False)
    seed = written(tmp_path / "user.nk", f"{user.seed.decode()}\n")
    async with bus_on(server.url, auth={"nkey_seed_file": str(seed)}) as bus:
        await bus.wait_connected()
    stranger = written(tmp_path / "other.nk", new_key(nkeys.PREFIX_BYTE_USER).seed.decode())
    async with bus_on(server.url, auth={"nkey_seed_file": str(stranger)}) as bus:
        with pytest.raises(AuthenticationError, match=r"^buses\.main\.auth\.nkey_seed_file: "):
            await bus.wait_connected()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_a_credentials_file_connects(make_server: MakeServer, tmp_path: Path, line_end: str) -> None:
    operator = Operator()
    server = make_server(operator.server_config(), jetstream=False)
    creds = operator.creds(tmp_path / "user.creds")
    creds.write_text(creds.read_text(), newline=line_end)
    async with bus_on(server.url, auth={"creds": str(creds)}) as bus:
        await bus.wait_connected()
        assert await bus.ping()
    async with bus_on(server.url, auth={"creds": str(Operator().creds(tmp_path / "other.creds"))}) as bus:
        with pytest.raises(AuthenticationError, match=r"^buses\.main\.auth\.creds: "):
            await bus.wait_connected()


async def test_credentials_that_expire_are_read_again_from_their_file(make_server: MakeServer, tmp_path: Path) -> None:
    """nats-py's own reconnecting gives up for good here."""
    operator = Operator()
    server = make_server(operator.server_config(), jetstream=False)
    creds = operator.creds(tmp_path / "user.creds", valid=2)
    facts = Facts()
    async with bus_on(server.url, auth={"creds": str(creds)}, tell=facts) as bus:
        await bus.wait_connected()
        await facts.until_state(State.BACKING_OFF)
        await poll(lambda: "refuses the credentials" in bus.reason)
        operator.creds(creds)
        await bus.wait_connected()
        assert await bus.ping()
    # In the second of the expiry the server may let it in again, and out again at once.
    assert facts.states[-2:] == [State.RUNNING, State.STOPPED]
    [warned] = [fact for fact in facts.all if isinstance(fact, Warned)]
    assert warned.text.startswith("buses.main.auth.creds: ")


@pytest.mark.parametrize(
    ("config", "userinfo", "auth", "key"),
    [
        (PASSWORD, "", {"user": "ann", "password": "no"}, "buses.main.auth.password"),
        (PASSWORD, "ann:no@", {}, "buses.main.url"),
        (PASSWORD, "", {}, "buses.main.auth"),
        (TOKEN, "", {"token": "no"}, "buses.main.auth.token"),
    ],
    ids=["password", "url", "none given", "token"],
)
async def test_refused_credentials_are_fatal_before_any_connection_stood(
    make_server: MakeServer, config: str, userinfo: str, auth: dict[str, str], key: str
) -> None:
    server = make_server(config, jetstream=False)
    facts = Facts()
    async with bus_on(f"nats://{userinfo}127.0.0.1:{server.port}", auth=auth, tell=facts) as bus:
        with pytest.raises(AuthenticationError) as caught:
            await bus.wait_connected()
        assert str(caught.value).startswith(f"{key}: {server.url} refuses the credentials of bus 'main'")
        assert bus.state is State.FAILED
    assert facts.states == [State.FAILED], "what failed is not called stopped"


async def test_credentials_that_are_refused_after_a_break_are_tried_again(make_server: MakeServer) -> None:
    server = make_server(PASSWORD, jetstream=False)
    facts = Facts()
    async with bus_on(server.url, auth={"user": "ann", "password": "p@ss w/rd"}, tell=facts) as bus:
        await bus.wait_connected()
        server.kill()
        right, server._config = server._config, PASSWORD.replace("p@ss", "other")
        server.start()
        await facts.until(lambda fact: isinstance(fact, Warned) and "buses.main.auth.password" in fact.text)
        assert (bus.state, bus.is_connected) == (State.BACKING_OFF, False)
        server.kill()
        server._config = right
        server.start()
        await bus.wait_connected()


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        ("nkey_seed_file", None, "No such file"),
        ("nkey_seed_file", "no seed", "does not hold an nkey seed"),
        ("nkey_seed_file", "", "does not hold an nkey seed"),
        ("nkey_seed_file", "SUACHANGED", "does not hold an nkey seed"),
        ("creds", None, "No such file"),
        ("creds", "no creds", 'nothing under "BEGIN NATS USER JWT"'),
        ("creds", "-----BEGIN NATS USER JWT-----\nx\n", 'nothing under "BEGIN USER NKEY SEED"'),
        ("creds", "-----BEGIN NATS USER JWT-----\nx\n-----BEGIN USER NKEY SEED-----\nno", "does not hold an nkey seed"),
    ],
)
async def test_a_file_that_can_not_be_used_is_named_with_its_key(
    tmp_path: Path, key: str, content: str | None, said: str
) -> None:
    path = tmp_path / "file"
    if content is not None:
        written(path, content)
    section: dict[str, Any] = {key: str(path)}
    async with bus_on("nats://127.0.0.1:1", auth=section) as bus:
        with pytest.raises(ConfigError) as caught:
            await bus.wait_connected()
    assert str(caught.value).startswith(f"buses.main.auth.{key}: {path} ")
    assert said in str(caught.value)


async def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xfe")
    async with bus_on("nats://127.0.0.1:1", auth={"creds": str(path)}) as bus:
        with pytest.raises(ConfigError, match="it is not text"):
            await bus.wait_connected()
