"""What is written for self_hosted, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventbus_runtime.buses.embedded import find_server
from eventbus_runtime.config.loader import load
from eventbus_runtime.provisioning.findings import Level
from tests.config.project import Project
from tests.provisioning import golden
from tests.provisioning.deployments import files_of, said_of

TARGET = "self_hosted"
CASES = golden.cases("compose")
SMALL = '[buses.main]\n[deploy.worker]\nimage = "shop:1"\n'
SECRET = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"


def services(text: str) -> dict[str, Any]:
    """The services of a compose.yaml."""
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def said(toml: str, level: Level = Level.ERROR) -> list[str]:
    """What is said of a file for this target."""
    return said_of(toml, TARGET, level)


@pytest.mark.parametrize("case", ["compose/cluster", "compose/own_names"])
def test_the_loader_takes_the_workers_file_with_the_variables_that_go_with_it(case: str, project: Project) -> None:
    files = golden.written(case)
    [worker] = [one for one in services(files["compose.yaml"]).values() if "depends_on" in one]
    creds = project.write("mounted.creds", "made by nsc")
    variables = {
        key: str(creds) if value == "/run/secrets/nats.creds" else value for key, value in worker["environment"].items()
    }
    config = load(project.write("config.toml", files["config.toml"]), environ=variables).config
    [(name, bus)] = config.buses.items()
    replicas = 3 if name == "main" else 1
    assert bus.url == tuple(f"nats://{name}-{number}:4222" for number in range(replicas))
    assert bus.auth.creds == creds
    assert config.runtime.http == (":8080" if name == "main" else ":9090")


def dry_run(conf: str, root: Path) -> subprocess.CompletedProcess[str]:
    """What `nats-server -t` says of a nats.conf where it is in the container, with the secret where that is."""
    path, secrets = root / "etc" / "nats" / "nats.conf", root / "run" / "secrets"
    path.parent.mkdir(parents=True)
    secrets.mkdir(parents=True)
    path.write_text(conf)
    (secrets / "auth.conf").write_text("authorization { token: x }\n")
    return subprocess.run(
        [find_server(), "-t", "-c", path],
        env={"SERVER_NAME": "main-0"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("case", CASES)
def test_nats_server_takes_the_nats_conf_and_finds_the_auth_block(case: str, tmp_path: Path) -> None:
    done = dry_run(golden.written(case)["nats.conf"], tmp_path)
    assert (done.returncode, "is valid" in done.stderr) == (0, True), done.stderr


def test_nats_server_refuses_a_misspelt_key(tmp_path: Path) -> None:
    conf = golden.written("compose/cluster")["nats.conf"].replace("no_advertise", "not_advertise")
    done = dry_run(conf, tmp_path)
    assert done.returncode != 0
    assert 'unknown field "not_advertise"' in done.stderr


def test_the_workers_file_is_the_users_to_the_letter(project: Project) -> None:
    toml = SMALL + "# odd: $HOME ${HOME} ü \\ \t\n\n\n"
    assert files_of(project, toml, TARGET)["config.toml"] == toml


def test_a_dollar_is_none_to_compose(project: Project) -> None:
    files = files_of(project, '[buses.main]\n[deploy.worker]\nimage = "shop:1"\nfolder = "/$HOME"\n', TARGET)
    assert services(files["compose.yaml"])["main-worker"]["command"] == ["/$$HOME/config.toml"]


def test_without_an_auth_block_nothing_asks_for_secrets(project: Project) -> None:
    files = files_of(project, SMALL + '[deploy.compose]\nauth_secret = ""\n', TARGET)
    assert set(files) == {"compose.yaml", "nats.conf", "config.toml"}
    assert "secrets" not in files["compose.yaml"]
    assert "include" not in files["nats.conf"]
    assert "CREDS" not in files["compose.yaml"]


@pytest.mark.parametrize(
    ("auth", "creds", "ignored"),
    [
        ("./secrets/auth.conf", "shop", "/secrets/auth.conf\n/secrets/shop.creds\n"),
        ("auth.conf", "/etc/shop.creds", "/auth.conf\n"),
        ("../auth.conf", "./a/../shop.creds", "/shop.creds\n"),
        ("/etc/auth.conf", "../shop.creds", None),
    ],
)
def test_git_ignores_the_secrets_that_lie_below_the_folder(
    project: Project, auth: str, creds: str, ignored: str | None
) -> None:
    toml = f'{SMALL}creds_secret = "{creds}"\n[deploy.compose]\nauth_secret = "{auth}"\n'
    assert files_of(project, toml, TARGET).get(".gitignore") == ignored


def test_no_server_publishes_its_monitor_and_each_another_port(project: Project) -> None:
    toml = '[buses.main]\nreplicas = 5\n[buses.main.limits]\ncpu = "2"\nmemory = "8Gi"\n'
    servers = services(files_of(project, toml, TARGET)["compose.yaml"])
    assert [one["ports"] for one in servers.values()] == [[f"127.0.0.1:{4222 + at}:4222"] for at in range(5)]


def test_a_server_without_jetstream_has_no_volume(project: Project) -> None:
    document = yaml.safe_load(files_of(project, "[buses.main.jetstream]\nenabled = false\n", TARGET)["compose.yaml"])
    assert "volumes" not in document
    assert "volumes" not in document["services"]["main-0"]


@pytest.mark.parametrize(
    ("toml", "error"),
    [
        ('[buses.main]\nversion = "latest"', 'buses.main.version: "latest" is not pinned'),
        ("[buses.main]\nreplicas = 2", "buses.main.replicas: 2 loses its quorum with one server down"),
        ("[buses.Main_1]", 'buses.Main_1: bus name "Main_1" is not a DNS label'),
        (f"{SMALL}# {SECRET}", ": an nkey seed stands in the file"),
        ('[buses.main]\n[deploy.compose]\nproject = "Shop"', 'deploy.compose.project: "Shop" is no name of a Compose'),
        ('[buses.main]\n[deploy.compose]\nproject = ""', 'deploy.compose.project: "" is no name of a Compose project'),
        ("[buses.main]\nreplicas = 3\n[deploy.compose]\nhost_port_base = 65534", "65534 leaves no port for server 3"),
        ("[buses.main]\n[deploy.compose]\nhost_port_base = 8222", "8222 would publish 8222, where everybody expects"),
        ("[buses.main]\nreplicas = 3\n[deploy.compose]\nhost_port_base = 8220", "8220 would publish 8222, where"),
        (f'{SMALL}name = "main-0"', 'deploy.worker.name: "main-0" is the name of a server; choose another'),
        (f'{SMALL}name = "Shop"', 'deploy.worker.name: "Shop" is not a DNS label'),
        (f'{SMALL}name = "{"w" * 64}"', f'deploy.worker.name: "{"w" * 64}" is not a DNS label'),
        (f'{SMALL}folder = "app"', 'deploy.worker.folder: "app" is not absolute; give it as "/app"'),
        ('[buses.main]\n[deploy.worker]\nimage = "shop"', 'deploy.worker.image: "shop" is not pinned'),
        ('[buses.main]\n[deploy.worker]\nimage = "a:5000/shop:latest"', '"a:5000/shop:latest" is not pinned'),
        ('[buses.main]\n[deploy.worker]\nimage = "shop :1"', '"shop :1" has white space in it'),
    ],
)
def test_what_cant_work_is_refused(toml: str, error: str) -> None:
    [found] = said(toml)
    assert error in found


@pytest.mark.parametrize(
    ("toml", "warning"),
    [
        (
            '[buses.main]\nreplicas = 3\n[buses.main.limits]\ncpu = "2"\nmemory = "8Gi"',
            "buses.main.replicas: compose runs all replicas on one host: 3 servers protect against a crash",
        ),
        ('[buses.main]\n[deploy.compose]\nauth_secret = ""', "deploy.compose.auth_secret: is empty: whatever runs on"),
        (f'{SMALL}creds_secret = ""', "deploy.worker.creds_secret: empty, though the bus asks for credentials"),
    ],
)
def test_what_will_hurt_is_said(toml: str, warning: str) -> None:
    assert said(toml) == []
    [found] = said(toml, Level.WARNING)
    assert warning in found


def test_that_no_worker_is_rendered_is_said() -> None:
    assert "deploy.worker.image: missing, so that the bus alone is rendered" in said("[buses.main]", Level.NOTE)[0]
