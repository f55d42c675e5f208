"""What Compose's schema lets pass, each with an example that is bad in one place."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.provisioning.compose_lint import lint
from tests.provisioning.deployments import put

GOOD: dict[str, Any] = {
    "services": {
        "a-0": {
            "image": "nats:2.14.6-alpine",
            "configs": [{"source": "conf", "target": "/etc/conf"}],
            "secrets": [{"source": "auth", "target": "auth.conf"}],
            "volumes": ["js-0:/data", "./here:/there", "/anonymous"],
            "networks": ["back", "default"],
            "ports": ["127.0.0.1:4222:4222", "9000"],
            "healthcheck": {"interval": "10s", "timeout": "1m30s", "retries": 3},
            "stop_signal": "SIGUSR2",
            "stop_grace_period": "60s",
            "restart": "on-failure:3",
            "deploy": {"resources": {"limits": {"memory": "2147483648", "cpus": "0.5"}}},
        },
        "worker": {"build": ".", "depends_on": {"a-0": {"condition": "service_healthy"}}, "secrets": ["auth"]},
    },
    "configs": {"conf": {"file": "./conf"}},
    "secrets": {"auth": {"file": "./auth"}},
    "volumes": {"js-0": {}},
    "networks": {"back": {}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good file with another value at a path of keys; None: without it."""
    found = copy.deepcopy(GOOD)
    put(found, path, value)
    return found


def test_a_good_file_passes() -> None:
    assert lint(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("services/a-0/image", None, "services.a-0: has no image"),
        ("configs/conf", None, 'services.a-0.configs: "conf" is not declared'),
        ("services/worker/secrets", ["other"], 'services.worker.secrets: "other" is not declared'),
        ("volumes/js-0", None, 'services.a-0.volumes: "js-0" is not declared'),
        ("networks/back", None, 'services.a-0.networks: "back" is not declared'),
        ("services/worker/depends_on", ["a-1"], 'services.worker.depends_on: there is no service "a-1"'),
        ("services/worker/ports", ["4222:80"], "services: 2 of them publish port 4222 of the host"),
        ("services/worker/ports", ["70000:80"], 'services.worker.ports: "70000:80" is out of range'),
        ("services/worker/ports", ["80:0"], 'services.worker.ports: "80:0" is out of range'),
        ("services/worker/ports", ["web"], 'services.worker.ports: "web" is no port'),
        (
            "services/worker/ports",
            ["127.0.0.1:1:8222"],
            "services.worker.ports: publishes 8222, the monitor, which has no authentication",
        ),
        ("services/a-0/stop_signal", "SIGUSR3", 'services.a-0.stop_signal: "SIGUSR3" is no signal'),
        (
            "services/a-0/stop_grace_period",
            60,
            'services.a-0.stop_grace_period: "60" is no duration; write it as "30s"',
        ),
        (
            "services/a-0/healthcheck/interval",
            "ten",
            'services.a-0.healthcheck.interval: "ten" is no duration; write it as "30s"',
        ),
        (
            "services/a-0/restart",
            "sometimes",
            'services.a-0.restart: "sometimes" is none of no, always, on-failure, unless-stopped',
        ),
        (
            "services/a-0/deploy/resources/limits/memory",
            "2Gi",
            'services.a-0.deploy.resources.limits.memory: "2Gi" is no size; write bytes',
        ),
        (
            "services/a-0/deploy/resources/limits/cpus",
            "two",
            'services.a-0.deploy.resources.limits.cpus: "two" is no number of processors',
        ),
    ],
)
def test_one_bad_place_is_one_problem(path: str, value: Any, problem: str) -> None:
    assert lint(changed(path, value)) == [problem]
