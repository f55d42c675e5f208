"""Images as App Platform names them: by kind of registry, and in parts."""

from __future__ import annotations

import re
from typing import NamedTuple

_HOSTS = {"docker.io": "DOCKER_HUB", "ghcr.io": "GHCR", "registry.digitalocean.com": "DOCR"}
_REFERENCE = re.compile(r"(?:([^/]*[.:][^/]*|localhost)/)?([^:@]+)(?::([^:@/]+))?(?:@(sha256:[0-9a-f]{64}))?")


class Image(NamedTuple):
    """An image.

    Args:
        kind: `registry_type`.
        repository: its name there.
        registry: whose it is; none with DOCR, where there is one only.
        tag, digest: which one; a digest goes without tag.
    """

    kind: str
    repository: str
    registry: str = ""
    tag: str = ""
    digest: str = ""

    def body(self) -> dict[str, str]:
        """As the app spec has it."""
        given = {"registry": self.registry, "repository": self.repository, "tag": self.tag, "digest": self.digest}
        return {"registry_type": self.kind, **{key: value for key, value in given.items() if value}}


def parse_image(text: str) -> Image | str:
    """An image from what `docker pull` takes; or why App Platform can't pull it."""
    found = _REFERENCE.fullmatch(text)
    if not found:
        return f'"{text}" is no image; write it as "ghcr.io/acme/shop:1.4.2"'
    host, name, tag, digest = found.groups(default="")
    kind = _HOSTS.get(host or "docker.io")
    if kind is None:
        return f'App Platform pulls from {", ".join(_HOSTS)} alone, not from {host}; push "{text}" to one of them'
    owner, _, repository = name.partition("/")
    if not repository:
        return f'"{text}" says not whose it is; write it as "ghcr.io/acme/shop:1.4.2"'
    version = {"digest": digest} if digest else {"tag": tag}
    return Image(kind, repository, registry="" if kind == "DOCR" else owner, **version)
