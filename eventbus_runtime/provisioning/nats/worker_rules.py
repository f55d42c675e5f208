"""What speaks against a worker on targets that run images, but are not Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eventbus_runtime.provisioning.findings import Finding, error, note, warning
from eventbus_runtime.provisioning.inputs import Inputs
from eventbus_runtime.provisioning.rules import DNS_LABEL


def worker_findings(inputs: Inputs, *, authenticates: bool) -> Iterator[Finding]:
    """What can't work, and what to know.

    Args:
        inputs: the bus and its worker.
        authenticates: whether the servers that are rendered want credentials.
    """
    worker = inputs.worker
    if worker is None:
        yield note("deploy.worker.image", "is not set, so that the bus alone is rendered; name the image of the worker")
        return
    if not DNS_LABEL.fullmatch(worker.name):
        yield error("deploy.worker.name", f"\"{worker.name}\" is not a DNS label (lower case, digits, '-')")
    if not worker.folder.startswith("/") and worker.folder:
        yield error("deploy.worker.folder", f'"{worker.folder}" is not absolute; give it as "/app"')
    if re.search(r"\s", worker.image):
        yield error("deploy.worker.image", f'"{worker.image}" has white space in it; give it as "shop:1.4.2"')
    elif not _is_pinned(worker.image):
        yield error(
            "deploy.worker.image",
            f'"{worker.image}" is not pinned, so that no deployment can be repeated; give a tag, as "shop:1.4.2"',
        )
    if authenticates and not worker.creds:
        yield warning("deploy.worker.creds_secret", "empty, though the bus asks for credentials; name one")


def _is_pinned(image: str) -> bool:
    name = image.rpartition("/")[2]
    return "@" in name or name.partition(":")[2].lower() not in ("", "latest")
