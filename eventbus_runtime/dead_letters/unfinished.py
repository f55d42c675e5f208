"""What a replay may have published while its dead letters are still there: noted, in case that it is killed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from eventbus_runtime.dead_letters.streams import Stream
from eventbus_runtime.errors import DeadLetterError

if sys.platform != "win32":
    import fcntl


class Attempt(NamedTuple):
    """One publish that may have happened.

    Args:
        id: its `Nats-Msg-Id`.
        stream, created: the stream that was to store it.
        after: that stream's last sequence before; it is stored behind it, if it is.
        at: when it was tried first, in seconds since 1970 by this machine's clock.
    """

    id: str
    stream: str
    created: str
    after: int
    at: float


class Unfinished:
    """The attempts of one stream's dead letters, in a file of this machine; entered, it is ours alone.

    Each change appends one line with all of them, so that a kill leaves either the old line or the new one. The file
    is emptied when nothing is unfinished, and removed at the end.

    Args:
        folder: where the configuration file is.
        stream: the stream of dead letters. The file bears its birth too: configurations of several servers may lie in
            one folder, and have streams of one name.
    """

    def __init__(self, folder: Path, stream: Stream) -> None:
        born = "".join(filter(str.isdigit, stream.created))
        self.path = folder / ".eventbus" / f"{stream.name}.{born}.replay"
        self.attempts: dict[int, Attempt] = {}
        self._stream = stream.name
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        """Take the file, and read what is in it.

        Raises:
            DeadLetterError: another replay has it.
            OSError: it can't be made here. Without entering, nothing is noted.
        """
        self.path.parent.mkdir(exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            raise DeadLetterError(
                f"another command replays the dead letters of {self._stream} now; wait for its end"
            ) from None
        self._file.seek(0)
        for line in self._file:
            # A line that a kill cut short was written before its publishes, so that these did not happen.
            with suppress(ValueError, TypeError, AttributeError):
                self.attempts = {int(key): Attempt(*values) for key, values in json.loads(line).items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None, "entered before"
        with suppress(OSError):
            if not self.attempts:
                self.path.unlink()
                self.path.parent.rmdir()
        self._file.close()
        self._file = None

    def begin(self, attempts: Mapping[int, Attempt]) -> None:
        """Note these, by the sequence of their dead letter, before they are published. One that was noted before keeps
        its first note.

        Raises:
            DeadLetterError: they can't be noted, as when the disk is full.
        """
        self.attempts = {**attempts, **self.attempts}
        self._write()

    def end(self, sequences: Iterable[int]) -> None:
        """These dead letters are gone, or were surely not published.

        Raises:
            DeadLetterError: as `begin`.
        """
        for sequence in sequences:
            self.attempts.pop(sequence, None)
        if self.attempts:
            self._write()
        elif self._file is not None:
            self._file.truncate(0)

    def _write(self) -> None:
        if self._file is None:
            return
        line = b"\n%b\n" % json.dumps(self.attempts).encode()  # never behind what a kill cut short
        try:
            is_written = self._file.write(line) == len(line)
        except OSError:
            is_written = False
        if not is_written:
            raise DeadLetterError(f"{self.path} can't be written; is the disk full?")


def _lock(file: FileIO) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file.fileno()).st_nlink:  # who had it removed it after we had opened it
            raise OSError
