"""NATS headers: many values a name, nothing dropped (NATS ADR-4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

_LINE = b"NATS/1.0"
_FORBIDDEN_IN_NAMES = frozenset(" \t\r\n:")


class Headers(Mapping[str, str]):
    """The headers of one message, immutable. Reading a name gives its first value; `getall` gives all of them.

    Names are case-sensitive, as the server treats them. Bytes that are not UTF-8 survive as surrogate escapes,
    so that copying a message never changes it.
    """

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def parse(cls, block: bytes | None) -> Headers:
        """Read a header block as it stands on the wire, status line included; None or empty is no headers.

        Space before a value is dropped and space behind it is kept, as nats.go does. Never raises.
        """
        if not block:
            return _EMPTY
        pairs = []
        for line in block.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b":")
            if colon:
                pairs.append((_text(name.strip(b" \t")), _text(value.lstrip(b" \t"))))
        return cls(pairs)

    def getall(self, name: str) -> list[str]:
        """All values of `name`, in their order; an empty list when there is none."""
        return list(self._values.get(name, ()))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every name with every value, so that `Headers(h.pairs()) == h`."""
        for name, values in self._values.items():
            for value in values:
                yield name, value

    def __getitem__(self, name: str) -> str:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._values == other._values
        return dict(self) == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by content, as a dict does

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs())!r})"


def encode(pairs: Iterable[tuple[str, str]]) -> bytes:
    """A header block for the wire; empty for no pairs.

    Raises:
        ValueError: a name is empty or holds a space, a colon or a line end, or a value holds a line end:
            either could smuggle a command into the protocol stream; or one is no text that UTF-8 can hold.
    """
    lines = []
    for name, value in pairs:
        if not name or not _FORBIDDEN_IN_NAMES.isdisjoint(name):
            raise ValueError(
                f"{name!r} can't be a header name: it must not be empty, nor hold spaces, colons or line ends"
            )
        if "\r" in value or "\n" in value:
            raise ValueError(f"the header {name!r} holds a line end; headers are one line each")
        try:
            lines.append(name.encode("utf-8", "surrogateescape") + b": " + value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            raise ValueError(f"the header {name!r} can't go on the wire: {error.reason}") from None
    if not lines:
        return b""
    return b"\r\n".join([_LINE, *lines, b"", b""])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


_EMPTY = Headers()
