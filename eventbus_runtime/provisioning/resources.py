"""What a provider wants to be made, and what is known of it afterwards. All of it is text, and no secret shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

HIDDEN = "********"
"""Stands for a sensitive value wherever one would be shown."""


@dataclass(frozen=True)
class Resource:
    """An object to be made, whatever makes it (S-2).

    Args:
        kind: what it is, as `infra.container_service`.
        name: of the object.
        properties: what it is like; texts only.
        labels: for filtering and cost, never configuration; texts only.

    Raises:
        TypeError: something is no text. Says what, and never the value.
    """

    kind: str
    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what in ("kind", "name"):
            if not isinstance(getattr(self, what), str):
                raise TypeError(f"{what} of a resource must be a text, not {type(getattr(self, what)).__name__}")
        for what in ("properties", "labels"):
            held = dict(getattr(self, what))
            for key, value in held.items():
                if not isinstance(key, str) or not isinstance(value, str):
                    wrong = f"{key!r} is {type(value).__name__}" if isinstance(key, str) else f"a key is {key!r}"
                    raise TypeError(f"{what} of {self.kind} {self.name} must be texts: {wrong}")
            object.__setattr__(self, what, MappingProxyType(held))


class Output:
    """One thing that is known once a bus has been provisioned (S-3).

    Not a dataclass: helpers that take these apart (`asdict`, test reports) would show the value.

    Args:
        value: the text.
        sensitive: whether it may never be shown.

    Raises:
        TypeError: the value is no text. Does not show it.
    """

    __slots__ = ("_value", "sensitive")

    def __init__(self, value: str, sensitive: bool = False) -> None:
        if not isinstance(value, str):
            raise TypeError(f"an output must be a text, not {type(value).__name__}")
        self._value = value
        self.sensitive = sensitive

    @property
    def value(self) -> str:
        """The text itself, for who uses it."""
        return self._value

    def __repr__(self) -> str:
        return f"<Output {HIDDEN if self.sensitive else repr(self._value)}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Output):
            return NotImplemented
        return (self._value, self.sensitive) == (other._value, other.sensitive)

    def __hash__(self) -> int:
        return hash((self._value, self.sensitive))


class State:
    """The outputs of a provisioned bus, by name (S-3).

    Args:
        outputs: what is known; nothing before it was provisioned.

    Raises:
        TypeError: one is no `Output`. Does not show it.
    """

    __slots__ = ("_outputs",)

    def __init__(self, outputs: Mapping[str, Output] | None = None) -> None:
        self._outputs = dict(outputs or {})
        for name, output in self._outputs.items():
            if not isinstance(output, Output):
                raise TypeError(f"output {name!r} must be an Output, not {type(output).__name__}")

    def __getitem__(self, name: str) -> Output:
        return self._outputs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._outputs

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def value(self, name: str) -> str:
        """The text of an output; empty where there is none."""
        return self._outputs[name].value if name in self._outputs else ""

    def masked(self, text: str) -> str:
        """`text` without any sensitive value of this state: for errors, logs and plans that quote something."""
        secrets = {one.value for one in self._outputs.values() if one.sensitive and one.value}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def shown(self) -> dict[str, str]:
        """The outputs for people to read: in logs, plans and errors."""
        return {
            name: HIDDEN if output.sensitive else self.masked(output.value) for name, output in self._outputs.items()
        }

    def __repr__(self) -> str:
        return f"<State {', '.join(f'{name}={value!r}' for name, value in self.shown().items()) or 'empty'}>"
