"""A host program, driven by lines of JSON: see internal/driver."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.triggers.live import until

_LONGEST_LINE = 2**24


class RefusedError(Exception):
    """A command failed.

    Attributes:
        text: what the host told.
        code: the gRPC status that it got, by its name; "Unknown" where it got none.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(f"{code}: {text}")
        self.text, self.code = text, code


class Host:
    """What a test sees of a host program.

    Attributes:
        events: what the host told unasked, by kind, oldest first.
    """

    def __init__(self, process: Process) -> None:
        self.events: dict[str, list[Any]] = defaultdict(list)
        self._process, self._numbers = process, itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ended = False

    async def do(self, command: str, /, **fields: Any) -> Any:
        """The host's answer to a command.

        Raises:
            RefusedError: it failed, or the host ended.
        """
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "do": command, "with": fields}).encode() + b"\n")
        return await answer

    async def call(self, method: str, /, **request: Any) -> Any:
        """The plugin process's answer to a call, both as protobuf's JSON has them."""
        return await self.do("call", method=method, request=request)

    async def event(self, kind: str) -> Any:
        """The next event of a kind."""
        await until(lambda: bool(self.events[kind]) or self._ended)
        assert self.events[kind], f"the host ended without {kind}; it told {dict(self.events)}"
        return self.events[kind].pop(0)

    def kill(self) -> None:
        """End it with SIGKILL: it can tidy nothing up."""
        self._process.kill()

    async def read(self) -> None:
        """Take in what it says, until it ends."""
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            line = json.loads(text)
            if "event" in line:
                self.events[line["event"]].append(line["fields"])
            elif "error" in line:
                self._waiting.pop(line["id"]).set_exception(RefusedError(line["error"], line["code"]))
            else:
                self._waiting.pop(line["id"]).set_result(line["answer"])
        self._ended = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(RefusedError("the host ended", "Unavailable"))

    async def end(self) -> None:
        """Close its stdin, at which it ends the plugin process and itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(10):
            await self._process.wait()


@asynccontextmanager
async def hosting(program: Path, plugin: Path, *, nats: str = "") -> AsyncIterator[Host]:
    """A host that runs until the block ends.

    Args:
        program: the host.
        plugin: what it loads: a launcher or a folder of plugins, as the host wants it.
        nats: address of the server for the plugin process.
    """
    environment = {name: value for name, value in os.environ.items() if name != "NATS_URL"}
    if nats:
        environment["NATS_URL"] = nats
    # The library leaves its sockets behind. Their paths must be short.
    with TemporaryDirectory(prefix="host-") as sockets:
        environment["TMPDIR"] = sockets
        process = await asyncio.create_subprocess_exec(
            program, plugin, stdin=PIPE, stdout=PIPE, env=environment, limit=_LONGEST_LINE
        )
        host = Host(process)
        reading = asyncio.create_task(host.read())
        try:
            yield host
            await host.end()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading
