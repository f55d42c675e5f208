"""Which dead letters are meant, and those that were found."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eventbus_runtime.dead_letters.letter import Letter, Place
from eventbus_runtime.dead_letters.streams import AT_ONCE, BYTES_AT_ONCE, Stream


class Span(NamedTuple):
    """Sequences from `first` to `last`, both included; `last` None: to the end."""

    first: int
    last: int | None

    def holds(self, sequence: int | None) -> bool:
        """Whether it is one of them."""
        return sequence is not None and self.first <= sequence and (self.last is None or sequence <= self.last)


@dataclass(frozen=True)
class Wanted:
    """Which dead letters are meant: those that pass every filter. An empty filter passes all.

    Args:
        triggers: names; one of its own.
        reasons: words; its own is one of them.
        since, until: when it was stored, in nanoseconds since 1970; `until` is not included.
        sequences: in the stream of dead letters.
        origins: sequences in the stream that it came from.
    """

    triggers: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    sequences: tuple[Span, ...] = ()
    origins: tuple[Span, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any filter at all."""
        return self != Wanted()

    def matches(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        message = letter.message
        return (
            (not self.triggers or not self.triggers.isdisjoint(letter.triggers))
            and (not self.reasons or letter.reason in self.reasons)
            and (self.since is None or message.timestamp_ns >= self.since)
            and (self.until is None or message.timestamp_ns < self.until)
            and (not self.sequences or any(span.holds(message.sequence) for span in self.sequences))
            and (not self.origins or any(span.holds(letter.origin.sequence) for span in self.origins))
        )

    def within(self, stream: Stream) -> tuple[int, int]:
        """The first and the last sequence of a stream between which all that is meant lies."""
        first = min((span.first for span in self.sequences), default=0)
        ends = [span.last for span in self.sequences]
        lasts = [end for end in ends if end is not None]
        last = max(lasts) if lasts and len(lasts) == len(ends) else stream.last
        return max(first, stream.first), min(last, stream.last)


@dataclass
class Picked:
    """Dead letters of one place that were found: 12 bytes each, however large they are."""

    place: Place
    stream: Stream
    _sequences: array[int] = field(default_factory=lambda: array("Q"))
    _sizes: array[int] = field(default_factory=lambda: array("I"))

    def add(self, letter: Letter) -> None:
        """Note one more."""
        self._sequences.append(letter.message.sequence)
        self._sizes.append(len(letter.message.payload))

    def __len__(self) -> int:
        return len(self._sequences)

    def chunks(self, most: int = AT_ONCE) -> Iterator[list[int]]:
        """Their sequences, at most so many at once, and no more than may be held at once."""
        chunk: list[int] = []
        held = 0
        for sequence, size in zip(self._sequences, self._sizes, strict=True):
            if chunk and (len(chunk) >= most or held + size > BYTES_AT_ONCE):
                yield chunk
                chunk, held = [], 0
            chunk.append(sequence)
            held += size
        if chunk:
            yield chunk
