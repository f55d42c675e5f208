"""nats.conf, as every target gets it.

Sizes are bytes and durations quoted: `2m` unquoted is read as two million. Integers, since `10GB` and `10GiB` mean the
same to the server. Store and limits are always said: the defaults are the temporary folder, 1 TB, and 75 % of memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from eventbus_runtime.provisioning.inputs import Inputs

CLIENTS, ROUTES, MONITOR = 4222, 6222, 8222
"""Ports. The monitor's has no authentication: it is never published."""

GRACE, LAME_DUCK = "10s", "30s"
STOP = 60
"""Seconds that a stop may take: lame duck mode lasts 30 s, the least that the server takes, and 20 s are to spare."""

STORE = "/data"
PID_FILE = "/var/run/nats/nats.pid"
GO_MEMORY = 0.8
"""Share of the memory limit that the server's runtime aims to stay below (GOMEMLIMIT)."""


def nats_conf(inputs: Inputs, *, hosts: Sequence[str], include: str, pid_file: str = PID_FILE) -> str:
    """The configuration of each of the bus's servers; SERVER_NAME is a variable of its environment.

    Args:
        inputs: the bus.
        hosts: of its servers, as these reach each other.
        include: file with the auth block, relative to the configuration's folder; empty: no authentication.
        pid_file: where the server writes its process id, for `nats-server -sl ldm=`.
    """
    lines = [
        "server_name: $SERVER_NAME",
        f"port: {CLIENTS}",
        f"http_port: {MONITOR}",
        f"pid_file: {_text(pid_file)}",
        f"lame_duck_grace_period: {_text(GRACE)}",
        f"lame_duck_duration: {_text(LAME_DUCK)}",
    ]
    if inputs.jetstream:
        lines += [
            "jetstream {",
            f"  store_dir: {_text(STORE)}",
            f"  max_file_store: {inputs.max_storage}",
            f"  max_memory_store: {inputs.max_memory}",
            "}",
        ]
    if inputs.replicas > 1:  # one server with a cluster block, and nobody to route to, does not start
        routes = [f"    {_text(f'nats://{host}:{ROUTES}')}" for host in hosts]
        lines += [
            "cluster {",
            f"  name: {_text(inputs.bus)}",
            f"  port: {ROUTES}",
            "  no_advertise: true",
            "  routes: [",
            *routes,
            "  ]",
            "}",
        ]
    if include:
        lines.append(f"include {_text(include)}")
    return "\n".join(lines) + "\n"


def go_memory_limit(inputs: Inputs) -> str:
    """GOMEMLIMIT, bytes."""
    return str(int(inputs.memory * GO_MEMORY))


def _text(value: str) -> str:
    return json.dumps(value)
