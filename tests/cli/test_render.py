"""`eventbus render`: what is wrong is said, each thing by its own message, and then nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.command import eventbus

BASE = """
[runtime]
imports = []

[buses.shop]
url = "nats://shop:4222"
version = "2.14.6"
replicas = 3
[buses.shop.limits]
storage = "100Gi"

[streams.ORDERS]
subjects = ["orders.>"]
num_replicas = 3
max_bytes = "40GiB"

[deploy.kubernetes]
namespace = "shop"
"""


class Wrong(NamedTuple):
    """One thing that is wrong.

    Args:
        old, new: what of BASE is put in place of what.
        says: the line that is said of it.
        target: where it is rendered for.
        is_told_by_plan: whether the file is wrong for whatever command.
    """

    old: str
    new: str
    says: str
    target: str = "kubernetes"
    is_told_by_plan: bool = False


_NACK = {"EVENTBUS__DEPLOY__KUBERNETES__NACK": "true"}

WRONG = {
    "latest": Wrong(
        '"2.14.6"',
        '"latest"',
        'buses.shop.version: "latest" is not pinned, so that no deployment can be repeated; '
        'give a full version such as "2.14.6"',
        is_told_by_plan=True,
    ),
    "two replicas": Wrong(
        "replicas = 3\n[buses",
        "replicas = 2\n[buses",
        "buses.shop.replicas: 2 loses its quorum with one server down, like 1 but with more to fail; use 1, 3 or 5",
    ),
    "storage over limits": Wrong(
        '"40GiB"',
        '"95GiB"',
        "streams: reserve 285 GiB (sum of max_bytes x num_replicas) but 3 servers can offer 270 GiB; "
        "raise buses.shop.limits.storage, or lower max_bytes",
    ),
    "a password in the url": Wrong(
        "nats://shop:4222",
        "nats://app:s3cret@shop:4222",
        "the NATS URL carries a user or password, and would be written into the output; "
        "name a secret instead (deploy.worker.creds_secret), and give the address without it",
    ),
    "NFS on EKS": Wrong(
        'namespace = "shop"',
        'namespace = "shop"\nstorage_class = "efs.csi.aws.com"',
        "deploy.kubernetes.storage_class: aws.eks: storage_class uses efs.csi.aws.com; JetStream must not run on NFS",
        "aws.eks",
    ),
    "a durable bus on App Platform": Wrong(
        "",
        "",
        "app_platform has no volumes: JetStream data is lost at every deploy and restart. Use target kubernetes",
        "digitalocean.app_platform",
    ),
    "kafka on aws.ecs": Wrong(
        "[buses.shop.limits]",
        '[buses.log]\nprovider = "kafka"\ndeploy_target = "aws.ecs"\n[buses.shop.limits]',
        "buses.log.deploy_target: kafka can't be put on aws.ecs; "
        "targets of kafka: digitalocean.managed_kafka, aws.msk, kubernetes, self_hosted",
        is_told_by_plan=True,
    ),
    "an unknown provider": Wrong(
        'version = "2.14.6"',
        'provider = "natz"',
        'buses.shop.provider: unknown provider "natz"; known: nats, kafka and kinesis; did you mean nats?',
        is_told_by_plan=True,
    ),
    "three copies on one server": Wrong(
        "replicas = 3\n[buses",
        "replicas = 1\n[buses",
        "streams.ORDERS.num_replicas: 3 but the bus has 1 server; raise buses.shop.replicas, or lower it",
    ),
    "a memory stream without memory": Wrong(
        'max_bytes = "40GiB"',
        'storage = "memory"',
        "streams.ORDERS.storage: memory, but buses.shop.jetstream.max_memory_bytes is 0; set it, or use file",
    ),
    "a bad name": Wrong(
        "buses.shop",
        "buses.Bus_1",
        "buses.Bus_1: bus name \"Bus_1\" is not a DNS label (lower case, digits, '-', at most 52 characters)",
    ),
    "the monitor port published": Wrong(
        "[deploy.kubernetes]",
        "[deploy.compose]\nhost_port_base = 8222\n[deploy.kubernetes]",
        "deploy.compose.host_port_base: 8222 would publish 8222, where everybody expects the monitor: "
        "that has no authentication, and is never published; choose another base",
        "self_hosted",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_each_thing_that_is_wrong_has_its_own_message_and_nothing_is_written(what: str, tmp_path: Path) -> None:
    wrong = WRONG[what]
    assert wrong.old in BASE
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE.replace(wrong.old, wrong.new) if wrong.old else BASE)
    bus = ("--bus", "shop") if "[buses.log]" in wrong.new else ()
    done = eventbus("render", file, "--target", wrong.target, "--out", out, *bus)
    errors = done.stderr.decode()
    assert (done.returncode, done.stdout, out.exists()) == (2, b"", False)
    assert wrong.says in errors
    assert "s3cret" not in errors
    assert "Traceback" not in errors
    assert len({one.says for one in WRONG.values()}) == len(WRONG) == 12


@pytest.mark.parametrize("what", [name for name, wrong in WRONG.items() if wrong.is_told_by_plan])
def test_what_is_wrong_for_every_command_ends_a_plan_with_1(what: str, tmp_path: Path) -> None:
    wrong, file = WRONG[what], tmp_path / "app.toml"
    file.write_text(BASE.replace(wrong.old, wrong.new))
    done = eventbus("plan", file)
    assert (done.returncode, done.stdout) == (1, b"")
    assert wrong.says in done.stderr.decode()


def test_what_renders_says_what_set_each_input(tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE)
    done = eventbus(
        "render",
        file,
        "--target",
        "kubernetes",
        "--out",
        out,
        "--explain",
        environ={"EVENTBUS__BUSES__SHOP__REPLICAS": "5"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines == [
        str(out / "bus.yaml"),
        f'buses.shop.version = "2.14.6"  # {file}:7',
        "buses.shop.replicas = 5  # EVENTBUS__BUSES__SHOP__REPLICAS",
        f'buses.shop.limits.storage = "100Gi"  # {file}:10',
        f'deploy.kubernetes.namespace = "shop"  # {file}:18',
    ]


def test_a_second_run_writes_the_same_and_leaves_other_files_alone(tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE)
    eventbus("render", file, "--target", "kubernetes", "--out", out)
    (out / "mine.yaml").write_text("mine")
    before = (out / "bus.yaml").read_text()
    done = eventbus("render", file, "--target", "kubernetes", "--out", out)
    assert done.returncode == 0
    assert (out / "bus.yaml").read_text() == before
    assert (out / "mine.yaml").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == ["bus.yaml", "mine.yaml"]


def test_what_an_earlier_render_left_is_said(tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE)
    first = eventbus("render", file, "--target", "kubernetes", "--out", out, environ=_NACK)
    assert (out / "streams.yaml").exists()
    assert b"is there, too" not in first.stderr
    second = eventbus("render", file, "--target", "kubernetes", "--out", out)
    said = f"warning: {out / 'streams.yaml'} is there, too, and not of this; is it left of an earlier one?"
    assert (second.returncode, second.stderr.decode().splitlines()[-1]) == (0, said)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "aws.ecs"), "rendering nats on aws.ecs is not implemented; targets that are: kubernetes"),
        (("--target", "aws.msk"), "nats can't be put on aws.msk; targets of nats: digitalocean.app_platform"),
        ((), "buses.shop.deploy_target is missing; write it, or give --target"),
        (("--target", "kubernetes", "--bus", "shopp"), "has no bus 'shopp'; it has shop; did you mean shop?"),
    ],
)
def test_a_target_that_can_not_be_is_refused_by_name(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE)
    done = eventbus("render", file, "--out", out, *arguments)
    assert (done.returncode, done.stdout, out.exists()) == (2, b"", False)
    assert says in done.stderr.decode()


def test_a_folder_that_can_not_be_written_to_is_said(tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE)
    out.write_text("a file")
    done = eventbus("render", file, "--target", "kubernetes", "--out", out)
    assert done.returncode == 2
    assert f"--out {out}: can't be written" in done.stderr.decode()
    assert out.read_text() == "a file"


def test_where_one_file_can_not_be_written_none_is(tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text(BASE)
    (out / "nats.conf").mkdir(parents=True)
    done = eventbus("render", file, "--target", "self_hosted", "--out", out)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"--out {out}: can't be written: {out / 'nats.conf'} is a folder" in done.stderr.decode()
    assert [path.name for path in out.iterdir()] == ["nats.conf"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("self_hosted", 'buses.log.provider: "kafka" can be declared to be provisioned by a plug-in, and no more'),
        ("aws.ecs", "kafka can't be put on aws.ecs; targets of kafka: digitalocean.managed_kafka, aws.msk, kubernetes"),
    ],
)
def test_no_servers_of_nats_are_written_for_a_bus_of_kafka(target: str, says: str, tmp_path: Path) -> None:
    file, out = tmp_path / "app.toml", tmp_path / "out"
    file.write_text('[buses.log]\nprovider = "kafka"\n')
    done = eventbus("render", file, "--target", target, "--out", out)
    assert (done.returncode, done.stdout, out.exists()) == (2, b"", False)
    assert says in done.stderr.decode()


def test_a_gitignore_that_is_there_keeps_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text(BASE)
    ignore = tmp_path / ".gitignore"
    ignore.write_bytes(b"*.pyc\n# \xff mine")
    for _ in range(2):
        assert eventbus("render", file, "--target", "self_hosted", "--out", tmp_path).returncode == 0
        assert ignore.read_bytes() == b"*.pyc\n# \xff mine\n/secrets/auth.conf\n"
