"""Where the dead letters of a configuration are, and those of them that are meant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import NamedTuple

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.buses.stored import get
from eventbus_runtime.cli.connect import connected, open_bus
from eventbus_runtime.cli.dead_letters_options import Scope
from eventbus_runtime.config.report import listed
from eventbus_runtime.dead_letters.letter import Letter, Place
from eventbus_runtime.dead_letters.selection import Picked
from eventbus_runtime.dead_letters.streams import Stream, find, read
from eventbus_runtime.errors import ConfigError, DeadLetterError


class Shelf(NamedTuple):
    """One place, on its connected bus, and the stream that holds it."""

    bus: NatsBus
    place: Place
    stream: Stream


@asynccontextmanager
async def buses_of(scope: Scope) -> AsyncIterator[dict[str, NatsBus]]:
    """The buses of the places, connected, by name.

    Raises:
        ConfigError, BusError: see `open_bus` and `connected`.
    """
    async with AsyncExitStack() as stack:
        buses = {}
        for name in dict.fromkeys(place.bus for place in scope.places):
            bus = open_bus(scope.file, name, scope.buses[name])
            buses[name] = await stack.enter_async_context(connected(bus, scope.timeout))
        yield buses


@asynccontextmanager
async def shelves_of(scope: Scope) -> AsyncIterator[list[Shelf]]:
    """Where the dead letters are now. A place without a stream holds none yet, and is left out.

    Raises:
        ConfigError: sequences are asked for, and there are several streams.
        BusError: a bus can't be reached, or does not answer.
    """
    async with buses_of(scope) as buses:
        found = []
        for place in scope.places:
            stream = await find(buses[place.bus], place.subject, timeout=scope.timeout)
            if stream is not None:
                found.append(Shelf(buses[place.bus], place, stream))
        names = {(shelf.place.bus, shelf.stream.name) for shelf in found}
        if scope.wanted.sequences and len(names) > 1:
            raise ConfigError(
                "--sequence counts within one stream, and these dead letters are in "
                f"{listed(sorted(name for _, name in names))}: choose with --trigger"
            )
        yield found


async def letters_on(scope: Scope, shelves: Sequence[Shelf]) -> AsyncGenerator[tuple[Shelf, Letter]]:
    """What is meant, place by place, oldest first. Not what is stored after we began: a replay could go on for ever.

    Raises:
        BusError: no answer.
    """
    left = scope.limit
    for shelf in shelves:
        first, last = scope.wanted.within(shelf.stream)
        messages = read(
            shelf.bus, shelf.stream.name, shelf.place.subject, first=first, last=last, timeout=scope.timeout
        )
        async with aclosing(messages):
            async for message in messages:
                letter = shelf.place.letter(message)
                if scope.wanted.matches(letter):
                    yield shelf, letter
                    left = left and left - 1
                    if left == 0:
                        return


async def one(scope: Scope, sequence: int) -> tuple[str, Letter]:
    """The dead letter of a sequence, and its bus's name.

    Raises:
        DeadLetterError: there is none.
        ConfigError: there are several, in different streams.
        BusError: no answer.
    """
    found = []
    async with shelves_of(scope) as shelves:
        for shelf in shelves:
            message = await get(shelf.bus, shelf.stream.name, sequence, timeout=scope.timeout)
            if message is not None and message.subject == shelf.place.subject:
                found.append((shelf.place.bus, shelf.place.letter(message)))
    if len(found) > 1:
        names = listed(letter.message.stream for _, letter in found)
        raise ConfigError(f"there is a dead letter {sequence} in {names}: choose with --trigger")
    if not found:
        names = listed(shelf.stream.name for shelf in shelves)
        raise DeadLetterError(f"there is no dead letter {sequence}; looked in the streams: {names}")
    return found[0]


async def pick(scope: Scope) -> list[Picked]:
    """What is meant, by place.

    Raises:
        BusError: no answer.
    """
    by_place: dict[Place, Picked] = {}
    async with shelves_of(scope) as shelves, aclosing(letters_on(scope, shelves)) as letters:
        async for shelf, letter in letters:
            by_place.setdefault(shelf.place, Picked(shelf.place, shelf.stream)).add(letter)
    return list(by_place.values())
