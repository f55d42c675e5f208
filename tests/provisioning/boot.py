"""The boot check: real servers on loopback, each with the nats.conf that was rendered for it, to the letter.

Only what can't be so on one machine is put in its place: ports, hosts, folders, and the file of the auth block. What is
to be replaced must be there, so that no change of the rendered text slips through.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from eventbus_runtime.buses.embedded import find_server
from eventbus_runtime.testing.server import free_port

_LOOPBACK = "127.0.0.1"


class Deployed(NamedTuple):
    """What a target's files say of a deployment.

    Args:
        conf: nats.conf of all servers.
        hosts: the servers' hosts by server name, as these reach each other.
        reached: the servers behind each host that the worker knows.
        config: text of the worker's configuration.
        variables: the worker's environment.
    """

    conf: str
    hosts: dict[str, str]
    reached: dict[str, list[str]]
    config: str
    variables: dict[str, str]


def of_compose(files: Mapping[str, str]) -> Deployed:
    """What compose.yaml and the files beside it say."""
    services = yaml.safe_load(files["compose.yaml"])["services"]
    servers = {name: service for name, service in services.items() if service["image"].startswith("nats:")}
    [worker] = [service for name, service in services.items() if name not in servers]
    hosts = {service["environment"]["SERVER_NAME"]: service["hostname"] for service in servers.values()}
    return Deployed(
        conf=files["nats.conf"],
        hosts=hosts,
        reached={host: [name] for name, host in hosts.items()},
        config=files["config.toml"],
        variables={key: value.replace("$$", "$") for key, value in worker["environment"].items()},
    )


def of_kubernetes(files: Mapping[str, str]) -> Deployed:
    """What the manifests say; a pod is called as the StatefulSet, and numbered."""
    objects = [document for text in files.values() for document in yaml.safe_load_all(text)]
    texts = {name: text for one in objects if one["kind"] == "ConfigMap" for name, text in one["data"].items()}
    [servers] = [one for one in objects if one["kind"] == "StatefulSet"]
    [worker] = [one for one in objects if one["kind"] == "Deployment"]
    name, spec = servers["metadata"]["name"], servers["spec"]
    pods = [f"{name}-{number}" for number in range(spec["replicas"])]
    return Deployed(
        conf=texts["nats.conf"],
        hosts={pod: f"{pod}.{spec['serviceName']}" for pod in pods},
        reached={name: pods},
        config=texts["config.toml"],
        variables={one["name"]: one["value"] for one in worker["spec"]["template"]["spec"]["containers"][0]["env"]},
    )


class Server:
    """One of the servers.

    Args:
        name: SERVER_NAME.
        folder: for its files.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.clients, self.routes, self.monitor = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{_LOOPBACK}:{self.clients}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def write(self, deployed: Deployed, peers: Mapping[str, Server], auth: str) -> None:
        """Its nats.conf, and the auth block that this includes."""
        text = self.moved(deployed.conf)
        for name, host in deployed.hosts.items() if len(peers) > 1 else ():
            text = replaced(text, f'"nats://{host}:6222"', f'"nats://{_LOOPBACK}:{peers[name].routes}"')
        (self.folder / "auth.conf").write_text(auth)
        (self.folder / "nats.conf").write_text(text)

    def moved(self, text: str) -> str:
        """A nats.conf with this server's own ports and folders; the auth block is expected beside it."""
        host = f'host: "{_LOOPBACK}"'
        text = replaced(text, r"^port: 4222$", f"{host}\nport: {self.clients}", pattern=True)
        text = replaced(text, r"^http_port: 8222$", f'http: "{_LOOPBACK}:{self.monitor}"', pattern=True)
        text = replaced(text, r'^pid_file: "[^"]+"$', f'pid_file: "{self.folder}/nats.pid"', pattern=True)
        text = replaced(text, '  store_dir: "/data"\n', f'  store_dir: "{self.folder}/store"\n')
        text = replaced(text, r'^include "[^"]+"$', 'include "auth.conf"', pattern=True)
        if "cluster {" in text:
            text = replaced(text, r"^  port: 6222$", f"  {host}\n  port: {self.routes}", pattern=True)
        return text

    def start(self) -> None:
        """Start it; it takes as long as it needs."""
        environment = {**os.environ, "SERVER_NAME": self.name}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_server()), "--config", str(self.folder / "nats.conf")], env=environment, stderr=log
            )

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def health(self, query: str = "") -> int:
        """Status of /healthz; 0: nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{_LOOPBACK}:{self.monitor}/healthz{query}", timeout=1) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0


def replaced(text: str, what: str, by: str, *, pattern: bool = False) -> str:
    """The text with `what`, which must be there once."""
    found = re.findall(what if pattern else re.escape(what), text, re.MULTILINE)
    assert len(found) == 1, f"{what!r} is {len(found)} times in\n{text}"
    return text.replace(found[0], by)


class Boot:
    """All servers of a deployment.

    Args:
        deployed: what was rendered.
        folder: for their files.
        auth: the auth block that the operator would put into the secret.
    """

    def __init__(self, deployed: Deployed, folder: Path, auth: str) -> None:
        self.deployed = deployed
        self.servers = {name: Server(name, folder) for name in deployed.hosts}
        for server in self.servers.values():
            server.write(deployed, self.servers, auth)

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers.values()]

    async def until_healthy(self, within: float = 20.0) -> None:
        """Wait until /healthz of every server is 200."""
        deadline = time.monotonic() + within
        while (codes := await asyncio.to_thread(self._health)) != {200}:
            for server in self.servers.values():
                assert server.is_running, f"{server.name} has ended:\n{server.log}"
            assert time.monotonic() < deadline, f"not healthy within {within:g} s: {codes}"
            await asyncio.sleep(0.02)

    def _health(self) -> set[int]:
        return {server.health() for server in self.servers.values()}

    def worker_variables(self, uri: str, creds: Path) -> dict[str, str]:
        """The worker's environment, moved to this machine.

        Args:
            uri: the variable that holds the bus's address.
            creds: nats.creds, as the operator would put it into the secret.
        """
        said = dict(self.deployed.variables)
        for host, names in self.deployed.reached.items():
            urls = ",".join(self.servers[name].url for name in names)
            said[uri] = replaced(said[uri], f"nats://{host}:4222", urls)
        http = said["EVENTBUS__RUNTIME__HTTP"]
        said["EVENTBUS__RUNTIME__HTTP"] = replaced(http, ":8080", f"{_LOOPBACK}:{free_port()}")
        [key] = [key for key in said if key.endswith("__AUTH__CREDS")]
        return said | {key: str(creds)}


@asynccontextmanager
async def booted(deployed: Deployed, folder: Path, auth: str) -> AsyncIterator[Boot]:
    """The servers, all healthy; they end with the block."""
    boot = Boot(deployed, folder, auth)
    try:
        for server in boot.servers.values():
            server.start()
        await boot.until_healthy()
        yield boot
    except BaseException:
        for server in boot.servers.values():
            print(server.name, server.log)  # noqa: T201 - shown by pytest with the failure
        raise
    finally:
        for server in boot.servers.values():
            server.kill()
