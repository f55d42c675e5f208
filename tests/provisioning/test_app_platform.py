"""What is written for App Platform, and what is refused."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from eventbus_runtime.buses.embedded import find_server
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import AuthConfig, BusConfig
from eventbus_runtime.provisioning.findings import Level
from eventbus_runtime.provisioning.nats.app_images import Image, parse_image
from eventbus_runtime.provisioning.nats.app_sizes import smallest
from tests.config.project import HANDLERS, Project
from tests.provisioning import golden
from tests.provisioning.boot import Server
from tests.provisioning.deployments import files_of, said_of
from tests.triggers.live import until

TARGET = "digitalocean.app_platform"
CASES = golden.cases("app_platform")
ELSEWHERE = '[deploy.app_platform]\nexternal_url_secret = "SHOP_URL"\n'
WORKER = '[deploy.worker]\nimage = "acme/shop:1"\n'
EPHEMERAL = """\
[buses.main.jetstream]
max_storage_bytes = "1GiB"
[deploy.app_platform]
allow_ephemeral = true
"""
LONG = "a" * 33
GiB = 1 << 30


def spec_of(project: Project, toml: str) -> dict[str, Any]:
    """The app spec."""
    found: dict[str, Any] = yaml.safe_load(files_of(project, toml, TARGET)["app.yaml"])
    return found


def said(toml: str, level: Level = Level.ERROR) -> list[str]:
    """What is said of a file for this target."""
    return said_of(toml, TARGET, level)


def test_workers_of_a_bus_elsewhere_come_without_one(project: Project) -> None:
    spec = spec_of(project, f"[buses.main]\n{WORKER}{ELSEWHERE}")
    assert "services" not in spec
    [worker] = spec["workers"]
    assert {"key": "SHOP_URL", "scope": "RUN_TIME", "type": "SECRET"} in worker["envs"]
    assert "EVENTBUS_MAIN_URI" not in [one["key"] for one in worker["envs"]]


def test_a_worker_whose_metrics_are_wanted_is_a_service_that_only_the_app_reaches(project: Project) -> None:
    spec = spec_of(project, f'[runtime]\nhttp = ":9000"\n[buses.main]\n{WORKER}{ELSEWHERE}')
    assert "workers" not in spec
    [service] = spec["services"]
    assert service["internal_ports"] == [9000]
    assert {"http_port", "routes"} & set(service) == set()


def test_no_secret_has_a_value(project: Project) -> None:
    spec = spec_of(project, golden.source("app_platform/ephemeral"))
    secrets = [one for part in spec["services"] for one in part["envs"] if one["type"] == "SECRET"]
    assert {one["key"] for one in secrets} == {"MAIN_NATS_AUTH", "MAIN_WORKER_NATS_CREDS"}
    assert [one for one in secrets if "value" in one] == []


def command_of(component: dict[str, Any], root: Path, *folders: str) -> list[str]:
    """The command of a component, with these folders of its container below `root` in their place."""
    command = str(component["run_command"])
    for folder in folders:
        assert folder in command
        (root / folder.strip("/")).mkdir(parents=True)
    # At once: the root may lie in a folder of such a name.
    return shlex.split(re.sub("|".join(map(re.escape, folders)), lambda found: f"{root}{found[0]}", command))


def environment(component: dict[str, Any], **secrets: str) -> dict[str, str]:
    """What App Platform would give a component: its variables, and the secrets that the user has entered there."""
    assert set(secrets) == {one["key"] for one in component["envs"] if one["type"] == "SECRET"}
    path = os.pathsep.join([str(Path(sys.executable).parent), str(find_server().parent), os.environ["PATH"]])
    ours = {"PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return {**ours, **{one["key"]: one.get("value", "") for one in component["envs"]}, **secrets}


def test_the_workers_command_starts_it_beside_its_handlers_with_all_that_it_is_given(project: Project) -> None:
    """`eventbus-run` for real, with `--dry-run`: the file is whole, its handlers are found, secrets are in place."""
    toml = f"""\
[buses.main]
[streams.ORDERS]
subjects = ["orders.>"]
[triggers.billing]
filter_subjects = ["orders.created"]
{WORKER}folder = "/srv/it's"
{ELSEWHERE}"""
    [worker] = spec_of(project, toml)["workers"]
    root = project.folder / "root"
    command = command_of(worker, root, "/srv/", "/tmp/")
    project.write("root/srv/it's/handlers.py", HANDLERS)
    (project.folder / "handlers.py").unlink()
    variables = environment(worker, SHOP_URL="nats://u:p@shop:4222", MAIN_WORKER_NATS_CREDS="from nsc\nin lines")
    creds = root / "tmp" / "nats.creds"
    variables["EVENTBUS__BUSES__MAIN__AUTH__CREDS"] = str(creds)
    command[-1] += " --dry-run"
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'url = ["nats://********@shop:4222"]' in done.stdout
    assert f'creds = "{creds}"' in done.stdout
    assert 'imports = ["handlers.py"]' in done.stdout
    assert creds.read_text() == "from nsc\nin lines\n"
    assert creds.stat().st_mode & 0o777 == 0o600


async def test_the_bus_command_starts_a_server_with_its_auth_block(project: Project) -> None:
    bus = spec_of(project, golden.source("app_platform/ephemeral"))["services"][0]
    command = command_of(bus, project.folder, "/tmp/nats")
    variables = environment(bus, MAIN_NATS_AUTH="authorization { token: s3cret }")
    server = Server("moved", project.folder)
    variables["NATS_CONF"] = server.moved(variables["NATS_CONF"])
    process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: server.health("?js-enabled-only=true") == 200)
        config = BusConfig(auth=AuthConfig(token=SecretStr("s3cret")))
        async with NatsBus("main", config, urls=[server.url]) as connected:
            await connected.wait_connected()
            assert (await connected.api("INFO"))["limits"]["max_storage"] == -1
        assert (project.folder / "tmp" / "nats" / "auth.conf").stat().st_mode & 0o777 == 0o600
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("toml", "error"),
    [
        (
            "[buses.main.jetstream]\nmax_storage_bytes = '1GiB'",
            "buses.main: app_platform has no volumes: JetStream data is lost at every deploy and restart. Use target "
            "kubernetes (DOKS block storage) or self_hosted (droplet + volume), set "
            "deploy.app_platform.external_url_secret to run only workers here, or set "
            "deploy.app_platform.allow_ephemeral = true",
        ),
        (f"{EPHEMERAL}[buses.main]\nreplicas = 3", "buses.main.replicas: app_platform cannot cluster NATS (no stable"),
        (
            f"{EPHEMERAL.replace('1GiB', '2GiB')}[buses.main]",
            "buses.main.jetstream.max_storage_bytes: 2 GiB exceeds the 2 GiB local disk of app_platform; set 1.5 GiB",
        ),
        (f'{EPHEMERAL}[buses.main]\nversion = "LATEST"', 'buses.main.version: "LATEST" is not pinned'),
        (
            f'{EPHEMERAL}[buses.main.limits]\ncpu = "16"',
            "buses.main.limits: no App Platform size has 16 CPUs and 2 GiB",
        ),
        (
            f'{EPHEMERAL}size = "big"',
            'deploy.app_platform.size: "big" is no size of App Platform; there are apps-s-1vcpu',
        ),
        (
            f'{EPHEMERAL}size = "apps-s-1vcpu-1gb"',
            '"apps-s-1vcpu-1gb" does not hold the 1 CPUs and 2 GiB of limits; the smallest that does is apps-s-1vcpu',
        ),
        (f'{EPHEMERAL}name = "Shop"', 'deploy.app_platform.name: "Shop" is no name for App Platform (2 to 32 of'),
        (f"{EPHEMERAL.replace('main', 'a')}[buses.a]", 'buses.a: "a" is no name for App Platform'),
        (f"{EPHEMERAL.replace('main', LONG)}[buses.{LONG}]", f'bus name "{LONG}" is not a DNS label'),
        (f'{EPHEMERAL}{WORKER}name = "main"', 'deploy.worker.name: "main" is the name of the bus; choose another'),
        (f'[buses.main]\n{ELSEWHERE}{WORKER}name = "x"', 'deploy.worker.name: "x" is no name for App Platform'),
        (f"[buses.main]\n{ELSEWHERE}", "deploy.worker.image: is not set, and the bus is elsewhere, so that there is"),
        (
            f"[buses.main]\n{WORKER}{ELSEWHERE}allow_ephemeral = true",
            "external_url_secret: goes without allow_ephemeral",
        ),
        (f"[buses.main]\n{WORKER}{ELSEWHERE.replace('SHOP_URL', 'SHOP-URL')}", "is not the name of a variable"),
        (
            f"[buses.main]\n{WORKER}{ELSEWHERE.replace('SHOP_URL', 'EVENTBUS_CONFIG')}",
            'external_url_secret: "EVENTBUS_CONFIG" is a variable that the worker reads as something else',
        ),
        (
            f"[buses.Bus_1]\n{WORKER}{ELSEWHERE}name = 'shop'",
            'deploy.worker.name: "Bus_1-worker" is no name for App Platform',
        ),
        (
            f"[buses.main]\n{WORKER}{ELSEWHERE}#{'x' * (127 << 10)}",
            ": the file is larger than a variable may be (127 KiB); shorten it",
        ),
        (
            f'[buses.main.auth]\nuser = "u"\npassword = "x"\n{WORKER}creds_secret = ""\n{ELSEWHERE}',
            "buses.main.auth.password: is a secret",
        ),
        (f'[buses.main]\n{ELSEWHERE}{WORKER}cpu = "9"', "deploy.worker: no App Platform size has 9 CPUs and 512 MiB"),
        (
            f'[runtime]\nshutdown_timeout = "10m"\n[buses.main]\n{WORKER}{ELSEWHERE}',
            "runtime.shutdown_timeout: 600 s: app_platform ends a stop after 10 min; set 590 s at most",
        ),
        (f"[buses.main]\n{WORKER}{ELSEWHERE}# ${{HOME}}", "${…} stands in the file, which App Platform would replace"),
        (f'[buses.main]\n{WORKER}folder = "app"\n{ELSEWHERE}', 'deploy.worker.folder: "app" is not absolute'),
        (f'[buses.main]\nstore = "here"\n{WORKER}{ELSEWHERE}', "buses.main.store: is for an embedded server"),
    ],
)
def test_what_cant_work_is_refused(toml: str, error: str) -> None:
    [found] = said(toml)
    assert error in found


def test_an_address_in_the_place_of_its_secrets_name_is_not_shown() -> None:
    found = said(f"[buses.main]\n{WORKER}{ELSEWHERE.replace('SHOP_URL', 'nats://u:s3cret@shop')}")
    assert len(found) == 2
    assert "s3cret" not in "".join(found)


def test_what_is_to_be_known_is_said() -> None:
    assert "all streams are lost at every deploy and restart" in said(EPHEMERAL, Level.WARNING)[0]
    assert "is elsewhere: its version, replicas" in said(f"[buses.main]\n{WORKER}{ELSEWHERE}", Level.NOTE)[0]


@pytest.mark.parametrize(
    ("cpu", "memory", "several", "slug"),
    [
        (500, GiB // 2, False, "apps-s-1vcpu-0.5gb"),
        (500, GiB // 2, True, "apps-s-1vcpu-1gb"),
        (1000, GiB + 1, False, "apps-s-1vcpu-2gb"),
        (1001, GiB, False, "apps-s-2vcpu-4gb"),
        (1000, 5 * GiB, False, "apps-d-2vcpu-8gb"),
        (8000, 32 * GiB, True, "apps-d-8vcpu-32gb"),
    ],
)
def test_the_smallest_size_that_holds_both_is_taken(cpu: int, memory: int, several: bool, slug: str) -> None:
    found = smallest(cpu, memory, several=several)
    assert found is not None
    assert found.slug == slug


def test_no_size_holds_more_than_the_biggest() -> None:
    assert smallest(8001, GiB) is None
    assert smallest(1000, 32 * GiB + 1) is None


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("acme/shop:1", Image("DOCKER_HUB", "shop", "acme", tag="1")),
        ("docker.io/acme/shop:1", Image("DOCKER_HUB", "shop", "acme", tag="1")),
        ("ghcr.io/acme/team/shop:1", Image("GHCR", "team/shop", "acme", tag="1")),
        ("registry.digitalocean.com/acme/shop:1", Image("DOCR", "shop", tag="1")),
        (f"acme/shop:1@sha256:{'a' * 64}", Image("DOCKER_HUB", "shop", "acme", digest=f"sha256:{'a' * 64}")),
    ],
)
def test_an_image_is_named_in_parts(text: str, image: Image) -> None:
    assert parse_image(text) == image


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "quay.io/acme/shop:1",
            "App Platform pulls from docker.io, ghcr.io, registry.digitalocean.com alone, not from",
        ),
        ("localhost/acme/shop:1", "alone, not from localhost"),
        ("shop:1", '"shop:1" says not whose it is; write it as "ghcr.io/acme/shop:1.4.2"'),
        ("acme/shop:1:2", '"acme/shop:1:2" is no image'),
        ("acme/shop@sha256:12", '"acme/shop@sha256:12" is no image'),
    ],
)
def test_an_image_that_app_platform_cant_pull_is_refused(text: str, problem: str) -> None:
    assert problem in str(parse_image(text))
    [found] = said(f'[buses.main]\n[deploy.worker]\nimage = "{text}"\n{ELSEWHERE}')
    assert problem in found


def test_the_bus_has_an_auth_secret_of_its_own_and_is_warned_about_without_one(project: Project) -> None:
    bus = '[buses.main]\njetstream = { max_storage_bytes = "1GiB" }\n[deploy.app_platform]\nallow_ephemeral = true\n'
    named = spec_of(project, f'{bus}auth_secret = "shop-auth"\n[deploy.kubernetes]\nauth_secret = "other"\n')
    assert [one["key"] for one in named["services"][0]["envs"] if one["type"] == "SECRET"] == ["SHOP_AUTH"]
    open_to_all = f'{bus}auth_secret = ""\n'
    assert "SECRET" not in str(spec_of(project, open_to_all))
    assert said(open_to_all, Level.WARNING)[:1] == [
        "deploy.app_platform.auth_secret: is empty: whatever runs in this app can use the bus"
    ]
