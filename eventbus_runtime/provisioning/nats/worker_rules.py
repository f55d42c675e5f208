"""What speaks against a worker, wherever an image of it is run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eventbus_runtime.provisioning.findings import Finding, error, note, warning
from eventbus_runtime.provisioning.inputs import Inputs, Worker
from eventbus_runtime.provisioning.rules import DNS_LABEL

_LONGEST_NAME = 63


def worker_findings(inputs: Inputs, *, authenticates: bool) -> Iterator[Finding]:
    """What can't work on a target that is not Kubernetes, and what to know.

    Args:
        inputs: the bus and its worker.
        authenticates: whether the servers that are rendered want credentials.
    """
    worker = inputs.worker
    if worker is None:
        yield note("deploy.worker.image", "missing, so that the bus alone is rendered, and no worker")
        return
    yield from name_findings(inputs.deploy.worker.name)
    yield from image_findings(worker)
    if authenticates and not worker.creds:
        text = "empty, though the bus asks for credentials; name a secret, or give others by variables"
        yield warning("deploy.worker.creds_secret", text)


def name_findings(named: str | None) -> Iterator[Finding]:
    """What can't be the name of a service."""
    if named and (len(named) > _LONGEST_NAME or not DNS_LABEL.fullmatch(named)):
        text = f"\"{named}\" is not a DNS label (lower case, digits, '-', at most {_LONGEST_NAME} characters)"
        yield error("deploy.worker.name", text)


def image_findings(worker: Worker) -> Iterator[Finding]:
    """What can't be pulled, or be found in what was pulled."""
    image = worker.image
    if re.search(r"\s", image):
        yield error("deploy.worker.image", f'"{image}" has white space in it; give it as "shop:1.4.2"')
    elif "@sha256:" not in image:
        _, _, tag = image.rpartition("/")[2].partition(":")
        if tag.lower() in ("", "latest"):
            text = f'"{image}" is not pinned, so that no rollout can be repeated; give a tag, as "shop:1.4.2"'
            yield error("deploy.worker.image", text)
    if not worker.folder.startswith("/") and worker.folder:
        yield error("deploy.worker.folder", f'"{worker.folder}" is not absolute; give it as "/app"')
    if ":" in worker.folder:
        yield error("deploy.worker.folder", f'"{worker.folder}" has a colon, which no path of a mount may have')
