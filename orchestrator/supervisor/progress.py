"""Rows of progress: what readers find in the log and in the command's files, copied to `progress.jsonl` as it appears.

Scripts destroy their own tables when they resume, so these rows are what is kept. Readers know what a pattern or a
table means; this module only says when a row came, and which rows are new.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from orchestrator.supervisor.attempts import TORN
from orchestrator.supervisor.launch_file import Progress, ProgressFile

LOG = "log"
"""Name of the log as a source of rows."""
BLOCK_BYTES = 2**16


class Told(Protocol):
    """A row as a reader returns it."""

    @property
    def step(self) -> float | None:
        """What the row counts; None where nothing says it."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Name -> number; None for a number that is not finite."""

    @property
    def resolutions(self) -> Mapping[str, float]:
        """Name -> one unit in the last digit that was printed."""


class Follower(Protocol):
    """Turns the text of one attempt's log, piece by piece, into rows."""

    def feed(self, text: str, at_seconds: float | None = None) -> Sequence[Told]:
        """Return the rows of the lines that a piece completes."""

    def finish(self, at_seconds: float | None = None) -> Sequence[Told]:
        """Return the rows of a last line that has no end."""


class Readers(Protocol):
    """What patterns and tables mean."""

    def follow_log(self, progress: Progress, attempt: int) -> Follower:
        """Return what reads the log of one attempt."""

    def read_table(self, source: ProgressFile, path: Path) -> Sequence[Told]:
        """Return the rows of a file that may still be written.

        Raises:
            OSError, ValueError, RunError: the file is missing, or not whole yet.
        """


class NothingTold:
    """Readers that find nothing: for a command that reports no progress."""

    def follow_log(self, progress: Progress, attempt: int) -> "NothingTold":
        """Return what finds nothing in a log."""
        return self

    def read_table(self, source: ProgressFile, path: Path) -> Sequence[Told]:
        """Return no rows."""
        return ()

    def feed(self, text: str, at_seconds: float | None = None) -> Sequence[Told]:
        """Return no rows."""
        return ()

    def finish(self, at_seconds: float | None = None) -> Sequence[Told]:
        """Return no rows."""
        return ()


class ProgressRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of `progress.jsonl`."""

    step: float | None = None
    values: dict[str, float | None]
    at_seconds: float | None = None
    """When it arrived, in seconds since its attempt began; None for a row that was found after its attempt."""
    attempt: int
    resolutions: dict[str, float] = {}
    seconds: float | None = None
    """Since the row of the same source before it; None for the first row, whose time holds imports and reading data."""
    source: str = LOG
    """`log`, or the path of the file that it was read from."""


def build_rows(
    told: Iterable[Told], before: ProgressRow | None, *, attempt: int, source: str, at_seconds: float | None
) -> list[ProgressRow]:
    """Build the rows that arrive at one moment.

    Args:
        told: what a reader found.
        before: the row of the same source and attempt before them; None if they are the first.
        attempt: the attempt that they are from.
        source: where they were found.
        at_seconds: when they arrived.
    """
    rows = []
    for one in told:
        row = ProgressRow(
            step=one.step,
            values=dict(one.values),
            at_seconds=None if at_seconds is None else round(at_seconds, 3),
            attempt=attempt,
            resolutions=dict(one.resolutions),
            seconds=_seconds_between(before, at_seconds),
            source=source,
        )
        rows.append(row)
        before = row
    return rows


def _seconds_between(before: ProgressRow | None, at_seconds: float | None) -> float | None:
    if before is None or before.at_seconds is None or at_seconds is None:
        return None
    return round(at_seconds - before.at_seconds, 3)


def find_new(before: Sequence[Told], now: Sequence[Told]) -> Sequence[Told]:
    """Return the rows of a table that were not there when it was read before.

    A table that was written anew is new from the first row that differs.
    """
    # A script may append to its table or write it anew. The rows that are alike at the head were told before.
    pairs = zip(before, now, strict=False)
    return now[sum(1 for _ in itertools.takewhile(lambda pair: _content(pair[0]) == _content(pair[1]), pairs)) :]


def find_unrecorded(last: Told | None, now: Sequence[Told]) -> Sequence[Told]:
    """Return the rows of a table after the last one that is recorded; all of them if that one is not there.

    Args:
        last: the last row that was copied from this table, in any attempt; None if none was.
        now: the table, from which a script may have removed rows.
    """
    if last is None:
        return now
    # The last place counts: the same numbers may stand twice.
    places = [place for place, row in enumerate(now) if _content(row) == _content(last)]
    return now[places[-1] + 1 :] if places else now


def _content(row: Told) -> tuple[float | None, dict[str, float | None]]:
    return row.step, dict(row.values)


def read_rows(path: Path) -> Iterator[ProgressRow]:
    """Yield the rows of a `progress.jsonl`, one at a time; a line that is not whole is left out.

    Raises:
        OSError: the file cannot be read.
    """
    decoder = msgspec.json.Decoder(ProgressRow)
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield decoder.decode(line)
            except TORN:
                continue


class Recorder:
    """Adds rows to `progress.jsonl`. Rows that cannot be written now are kept, and written with the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[ProgressRow] = []

    def add(self, rows: Iterable[ProgressRow]) -> None:
        """Take rows to be written."""
        self._pending += rows

    @property
    def is_behind(self) -> bool:
        """Whether rows wait to be written."""
        return bool(self._pending)

    def write(self, *, is_last: bool = False) -> None:
        """Write the rows that wait; the last ones are flushed to the disk.

        Raises:
            OSError: they cannot be written; they wait on.
        """
        if not self._pending and not (is_last and self._path.exists()):
            return
        # Without a buffer: one that cannot be written now would be written a second time when the file is closed.
        with self._path.open("ab+", buffering=0) as file:
            end = _cut_torn_line(file.fileno())
            try:
                _write_all(file.fileno(), b"".join(msgspec.json.encode(row) + b"\n" for row in self._pending))
            except OSError:
                # Half a block of rows may be on the disk. They are all written again.
                os.ftruncate(file.fileno(), end)
                raise
            self._pending.clear()
            if is_last:
                os.fsync(file.fileno())


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _cut_torn_line(descriptor: int) -> int:
    """Cut off a last line without an end, which a killed supervisor left; return the size of the file, in bytes."""
    size = place = os.fstat(descriptor).st_size
    while place > 0:
        begin = max(0, place - BLOCK_BYTES)
        found = os.pread(descriptor, place - begin, begin).rfind(b"\n")
        if found >= 0:
            place = begin + found + 1
            break
        place = begin
    if place < size:
        os.ftruncate(descriptor, place)
    return place
