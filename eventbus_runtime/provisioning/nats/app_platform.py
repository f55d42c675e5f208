"""digitalocean.app_platform: workers of a bus that is elsewhere, or a bus whose data may be lost (PROVISIONING.md 6).

App Platform has no volumes, no files and no stable instance names. So a configuration is a variable, which a command
puts where it belongs; a secret is a variable that has no value here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from eventbus_runtime.config.model import uri_variable
from eventbus_runtime.provisioning.documents import to_yaml
from eventbus_runtime.provisioning.findings import Finding, error, note, warning
from eventbus_runtime.provisioning.inputs import Inputs, Worker
from eventbus_runtime.provisioning.nats import conf
from eventbus_runtime.provisioning.nats.app_images import Image, parse_image
from eventbus_runtime.provisioning.nats.app_sizes import SIZES, fitting, smallest
from eventbus_runtime.provisioning.nats.worker_rules import worker_findings
from eventbus_runtime.provisioning.renderer import Manifest, Renderer
from eventbus_runtime.provisioning.rules import DNS_LABEL, common, in_units, secrets, worker_file
from eventbus_runtime.provisioning.worker import variables

SPEC: Final = "app.yaml"
LONGEST_STOP: Final = 600
"""Seconds that App Platform grants at most."""

_DISK_FOR_DATA: Final = 3 << 29  # 1.5 of the 2 GiB that a container has
_LONGEST_NAME: Final = 32
_LONGEST_VALUE: Final = 127 << 10  # Linux starts no process with a variable of 128 KiB (MAX_ARG_STRLEN), name included
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONF_FOLDER: Final = "/tmp/nats"
_CREDS_FILE: Final = "/tmp/nats.creds"
_CONF: Final = "NATS_CONF"
_CONFIG: Final = "EVENTBUS_CONFIG"
_KIND: Final = "infra.container_service"


class _AppPlatform:
    """An app: the worker, and the bus where that is wanted."""

    def findings(self, inputs: Inputs) -> Iterable[Finding]:
        """What can't work there, and what to know."""
        if inputs.deploy.app_platform.external_url_secret is None:
            yield from common(inputs, _LONGEST_NAME)
            yield from _bus_findings(inputs)
        else:
            yield from secrets(inputs)
            yield from _elsewhere(inputs)
        yield from worker_findings(inputs, authenticates=_has_bus(inputs) and bool(inputs.auth))
        if inputs.worker:
            yield from _worker_findings(inputs, inputs.worker)
        is_named = inputs.deploy.app_platform.name is not None
        if (is_named or not _has_bus(inputs)) and not _is_name(_app_name(inputs)):
            yield _bad_name("deploy.app_platform.name", _app_name(inputs))

    def manifests(self, inputs: Inputs) -> Sequence[Manifest]:
        """The app's components."""
        bus = [Manifest(_KIND, inputs.bus, _bus(inputs))] if _has_bus(inputs) else []
        return [*bus, *([Manifest(_KIND, inputs.worker.name, _worker(inputs, inputs.worker))] if inputs.worker else [])]

    def files(self, inputs: Inputs) -> Mapping[str, str]:
        """The app spec."""
        return {SPEC: to_yaml([_spec(inputs)])}


RENDERER: Renderer = _AppPlatform()


def _has_bus(inputs: Inputs) -> bool:
    return inputs.deploy.app_platform.external_url_secret is None


def _bus_findings(inputs: Inputs) -> Iterator[Finding]:
    at, wanted = f"buses.{inputs.bus}", inputs.deploy.app_platform
    if not inputs.auth:
        yield warning("deploy.app_platform.auth_secret", "is empty: whatever runs in this app can use the bus")
    if len(inputs.bus) == 1:  # the rest of the rule is that of all targets
        yield _bad_name(at, inputs.bus)
    if inputs.jetstream and not wanted.allow_ephemeral:
        yield error(
            at,
            "app_platform has no volumes: JetStream data is lost at every deploy and restart. Use target kubernetes "
            "(DOKS block storage) or self_hosted (droplet + volume), set deploy.app_platform.external_url_secret to "
            "run only workers here, or set deploy.app_platform.allow_ephemeral = true",
        )
    elif inputs.jetstream:
        yield warning("deploy.app_platform.allow_ephemeral", "all streams are lost at every deploy and restart")
    if inputs.replicas > 1:
        yield error(
            f"{at}.replicas",
            f"app_platform cannot cluster NATS (no stable instance names); replicas must be 1, not {inputs.replicas}",
        )
    if inputs.jetstream and inputs.max_storage > _DISK_FOR_DATA:
        yield error(
            f"{at}.jetstream.max_storage_bytes",
            f"{in_units(inputs.max_storage)} exceeds the 2 GiB local disk of app_platform; set 1.5 GiB at most",
        )
    yield from _size_findings(inputs)


def _size_findings(inputs: Inputs) -> Iterator[Finding]:
    wanted, key = inputs.deploy.app_platform.size, "deploy.app_platform.size"
    if wanted is None:
        if smallest(inputs.cpu, inputs.memory) is None:
            yield _too_big(f"buses.{inputs.bus}.limits", inputs.cpu, inputs.memory)
    elif wanted not in {size.slug for size in SIZES}:
        yield error(key, f'"{wanted}" is no size of App Platform; there are {", ".join(size.slug for size in SIZES)}')
    elif wanted not in {size.slug for size in fitting(inputs.cpu, inputs.memory)}:
        fits = smallest(inputs.cpu, inputs.memory)
        cure = f"the smallest that does is {fits.slug}" if fits else "none does"
        yield error(key, f'"{wanted}" does not hold the {_said(inputs.cpu, inputs.memory)} of limits; {cure}')


def _elsewhere(inputs: Inputs) -> Iterator[Finding]:
    key, wanted = "deploy.app_platform.external_url_secret", inputs.deploy.app_platform
    name = wanted.external_url_secret or ""
    # The text is not shown: who mistakes it for the address puts a password there.
    if not _VARIABLE.fullmatch(name):
        yield error(key, "is not the name of a variable, such as NATS_URL; the address itself is its value, and secret")
    elif _is_ours(name) and name != uri_variable(inputs.bus):
        yield error(key, f'"{name}" is a variable that the worker reads as something else; choose another name')
    if wanted.allow_ephemeral:
        yield error(key, "goes without allow_ephemeral: the bus is elsewhere, or it is rendered here; take one out")
    if inputs.worker is None:
        yield error("deploy.worker.image", "is not set, and the bus is elsewhere, so that there is nothing to render")
    else:
        yield from worker_file(inputs)
    yield note(f"buses.{inputs.bus}", "is elsewhere: its version, replicas, jetstream and limits are not looked at")


def _worker_findings(inputs: Inputs, found: Worker) -> Iterator[Finding]:
    # What is no label is refused already; but not a name that is made of that of a bus elsewhere.
    is_refused = not DNS_LABEL.fullmatch(found.name) and bool(_has_bus(inputs) or inputs.deploy.worker.name)
    if not _is_name(found.name) and not is_refused:
        yield _bad_name("deploy.worker.name", found.name)
    if found.name == inputs.bus and _has_bus(inputs):
        yield error("deploy.worker.name", f'"{found.name}" is the name of the bus; choose another')
    if isinstance(problem := parse_image(found.image), str):
        yield error("deploy.worker.image", problem)
    if smallest(found.cpu, found.memory, several=found.replicas > 1) is None:
        yield _too_big("deploy.worker", found.cpu, found.memory)
    if found.drain + 10 > LONGEST_STOP:
        longest = f"{LONGEST_STOP - 10} s at most"
        yield error(
            "runtime.shutdown_timeout", f"{found.drain} s: app_platform ends a stop after 10 min; set {longest}"
        )
    if len(inputs.text.encode("utf-8", "surrogatepass")) > _LONGEST_VALUE:
        yield error("", f"the file is larger than a variable may be ({_LONGEST_VALUE // 1024} KiB); shorten it")
    if "${" in inputs.text:
        yield error("", "${…} stands in the file, which App Platform would replace in a variable's value; take it out")


def _spec(inputs: Inputs) -> dict[str, Any]:
    services, workers = [_bus(inputs)] if _has_bus(inputs) else [], list[dict[str, Any]]()
    if inputs.worker:
        (services if inputs.worker.scraped else workers).append(_worker(inputs, inputs.worker))
    region = inputs.deploy.app_platform.region
    return {
        "name": _app_name(inputs),
        **({"region": region} if region else {}),
        **({"services": services} if services else {}),
        **({"workers": workers} if workers else {}),
        "alerts": [{"rule": "DEPLOYMENT_FAILED"}],
    }


def _bus(inputs: Inputs) -> dict[str, Any]:
    auth = _secret_variable(inputs.auth)
    variables = [
        _plain("SERVER_NAME", f"{inputs.bus}-0"),
        _plain("GOMEMLIMIT", conf.go_memory_limit(inputs)),
        _plain(_CONF, _conf(inputs)),
    ]
    size = smallest(inputs.cpu, inputs.memory) or SIZES[-1]
    return {
        "name": inputs.bus,
        "image": Image("DOCKER_HUB", "nats", registry="library", tag=f"{inputs.version}-alpine").body(),
        "run_command": _shell(
            f"mkdir -p {_CONF_FOLDER}",
            *_written(_CONF, f"{_CONF_FOLDER}/nats.conf"),
            *(_written(auth, f"{_CONF_FOLDER}/auth.conf") if auth else ()),
            f"exec nats-server --config {_CONF_FOLDER}/nats.conf",
        ),
        "envs": [*variables, *([_secret(auth)] if auth else [])],
        "instance_count": inputs.replicas,
        "instance_size_slug": inputs.deploy.app_platform.size or size.slug,
        "internal_ports": [conf.CLIENTS],
        "health_check": {
            "port": conf.MONITOR,
            "http_path": "/healthz?js-enabled-only=true",
            "failure_threshold": 9,
        },
        "termination": {"grace_period_seconds": conf.STOP},
    }


def _conf(inputs: Inputs) -> str:
    hosts = [inputs.bus] * inputs.replicas
    include = "auth.conf" if inputs.auth else ""
    return conf.nats_conf(inputs, hosts=hosts, include=include, pid_file=f"{_CONF_FOLDER}/nats.pid")


def _worker(inputs: Inputs, found: Worker) -> dict[str, Any]:
    url, creds = inputs.deploy.app_platform.external_url_secret, _secret_variable(found.creds)
    here = "" if url else f"nats://{inputs.bus}:{conf.CLIENTS}"
    values = variables(inputs, found, address=here, creds=_CREDS_FILE if creds else "")
    # Whatever holds no line end could be taken for the path of a file.
    text = inputs.text if inputs.text.endswith("\n") else f"{inputs.text}\n"
    address = uri_variable(inputs.bus)
    size = smallest(found.cpu, found.memory, several=found.replicas > 1) or SIZES[-1]
    live = {"port": found.http, "http_path": "/livez"}
    return {
        "name": found.name,
        "image": _image(found.image).body(),
        "run_command": _shell(
            f"cd {shlex.quote(found.folder or '/')}",
            *((f'export {address}="${url}"',) if url and url != address else ()),
            *(_written(creds, _CREDS_FILE) if creds else ()),
            "exec eventbus-run",
        ),
        "envs": [
            _plain(_CONFIG, text),
            *(_plain(key, value) for key, value in values.items() if value),
            *(_secret(name) for name in (url, creds) if name),
        ],
        "instance_count": found.replicas,
        "instance_size_slug": size.slug,
        # A worker can't be reached from outside its container, a service without a route from the app alone.
        **({"internal_ports": [found.http], "health_check": live} if found.scraped else {}),
        "liveness_health_check": live,
        "termination": {"grace_period_seconds": found.drain + 10},
    }


def _image(text: str) -> Image:
    found = parse_image(text)
    return Image("DOCKER_HUB", text) if isinstance(found, str) else found


def _plain(key: str, value: str) -> dict[str, str]:
    return {"key": key, "scope": "RUN_TIME", "type": "GENERAL", "value": value}


def _secret(key: str) -> dict[str, str]:
    """Without a value: that is given to App Platform alone."""
    return {"key": key, "scope": "RUN_TIME", "type": "SECRET"}


def _shell(*steps: str) -> str:
    return f"sh -c {shlex.quote(' && '.join(steps))}"


def _written(variable: str, path: str) -> tuple[str, ...]:
    """Steps that move a variable's value into a file."""
    return f'(umask 077 && printf "%s\\n" "${variable}" > {path})', f"unset {variable}"


def _secret_variable(name: str) -> str:
    """The variable of a secret; empty: there is none."""
    return re.sub(r"^(?=\d)|\W", "_", name, flags=re.ASCII).upper()


def _is_ours(name: str) -> bool:
    return name.upper() in (_CONFIG, "EVENTBUS_SECRETS_DIR") or name.upper().startswith("EVENTBUS__")


def _app_name(inputs: Inputs) -> str:
    return inputs.bus if inputs.deploy.app_platform.name is None else inputs.deploy.app_platform.name


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text))


def _bad_name(key: str, name: str) -> Finding:
    rule = f"2 to {_LONGEST_NAME} of lower case, digits and '-', from a letter to a letter or digit"
    return error(key, f'"{name}" is no name for App Platform ({rule})')


def _too_big(key: str, cpu: int, memory: int) -> Finding:
    biggest = SIZES[-1]
    return error(
        key,
        f"no App Platform size has {_said(cpu, memory)}; the biggest, {biggest.slug}, has "
        f"{_said(biggest.cpu, biggest.memory)}",
    )


def _said(cpu: int, memory: int) -> str:
    return f"{cpu / 1000:g} CPUs and {in_units(memory)}"
