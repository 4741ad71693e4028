"""Follows a running command: what its log and its tables tell goes to `progress.jsonl` as it appears."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import RunError
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.attempts import Attempt, find_newest
from orchestrator.supervisor.launch_file import LaunchFile, ProgressFile
from orchestrator.supervisor.log import LogReader
from orchestrator.supervisor.progress import (
    LOG,
    ProgressRow,
    Readers,
    Recorder,
    Told,
    build_rows,
    find_new,
    find_unrecorded,
    read_rows,
)

MAX_PIECES = 64
"""Most pieces of the log that are read before the supervisor looks at the command again."""
TABLE_SHARE = 20
"""A table that takes long to read is read again only after this many times as long."""


class Table:
    """One file with rows that the command writes, and may write anew."""

    def __init__(self, source: ProgressFile, readers: Readers, checkout: Path, folder: RunFolder) -> None:
        self.name = source.path
        self._source, self._readers = source, readers
        self._checkout, self._folder = checkout, folder
        self._stamp: object = None
        self._rows: Sequence[Told] = ()
        self._due_seconds = 0.0

    def read(self) -> Sequence[Told]:
        """Return all rows, as far as the file can be read now; those of the last time if it cannot."""
        try:
            path = find_newest(self._source.path, self._checkout, self._folder)
            stamp = _stamp(path) if path is not None else None
            if path is not None and stamp != self._stamp:
                self._rows, self._stamp = self._readers.read_table(self._source, path), stamp
        except (OSError, ValueError, RunError):  # it is being written; the next look reads it
            pass
        return self._rows

    def read_new(self, now_seconds: float, *, is_last: bool = False) -> Sequence[Told]:
        """Return the rows since the last look; none if no look is due."""
        if now_seconds < self._due_seconds and not is_last:
            return ()
        before, begun = self._rows, time.monotonic()
        new = find_new(before, self.read())
        self._due_seconds = now_seconds + TABLE_SHARE * (time.monotonic() - begun)
        return new


def _stamp(path: Path) -> object:
    """Return what changes when a file does, or any file of a folder."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple((one.name, (found := one.stat()).st_ino, found.st_mtime_ns, found.st_size) for one in paths)


class Progress:
    """What one attempt tells, copied as it appears."""

    def __init__(self, folder: RunFolder, launch: LaunchFile, readers: Readers) -> None:
        self._folder, self._launch, self._readers = folder, launch, readers
        self._recorder = Recorder(folder.progress)
        self._tables = [Table(source, readers, Path(launch.checkout), folder) for source in launch.progress.files]
        self._last: dict[str, ProgressRow] = {}
        self._reads_log = bool(launch.progress.patterns)

    def catch_up(self, attempt: Attempt) -> None:
        """Copy the rows of an earlier attempt that its supervisor could not copy, since it was killed.

        Raises:
            OSError: the log or the rows cannot be read or written.
        """
        recorded: dict[str, ProgressRow] = {}
        num_of_log = 0
        for row in read_rows(self._folder.progress):
            recorded[row.source] = row
            num_of_log += (row.source, row.attempt) == (LOG, attempt.number)
        follower = self._readers.follow_log(self._launch.progress, attempt.number)
        pieces = LogReader(self._folder.log, attempt.log_bytes).read_new() if self._reads_log else ()
        told = (row for piece in pieces for row in follower.feed(piece))
        # The same reader finds the same rows in the same log, so the first ones are those that are there.
        # A last line without an end was cut off, and its number may have lost digits.
        self._record(list(itertools.islice(told, num_of_log, None)), LOG, attempt.number, None)
        for table in self._tables:
            new = find_unrecorded(recorded.get(table.name), table.read())
            self._record(new, table.name, attempt.number, None)
        self._recorder.write()

    def begin(self, attempt: Attempt) -> None:
        """Follow a new attempt, before its command starts: what tables hold already is not its doing."""
        self._attempt = attempt.number
        self._last = {}
        self._log = LogReader(self._folder.log, attempt.log_bytes)
        self._follower = self._readers.follow_log(self._launch.progress, attempt.number)
        for table in self._tables:
            table.read()

    def look(self, at_seconds: float) -> bool:
        """Copy what is new; return whether there may be more at once. What cannot be read or written now waits."""
        try:
            is_more = self._read_log(at_seconds, MAX_PIECES)
            for table in self._tables:
                self._record(table.read_new(at_seconds), table.name, self._attempt, at_seconds)
            self._recorder.write()
        except OSError:  # a full disk ends no training; the end of the attempt writes what waits, or says why not
            return False
        return is_more

    def finish(self, at_seconds: float, *, is_whole: bool) -> None:
        """Copy the rest, after the command has ended.

        Args:
            at_seconds: when it ended, in seconds since the attempt began.
            is_whole: whether a last line without an end is whole; that of a killed command may have lost digits.

        Raises:
            OSError: it cannot be read or written.
        """
        self._read_log(at_seconds)
        if is_whole:
            self._record(self._follower.finish(at_seconds), LOG, self._attempt, at_seconds)
        for table in self._tables:
            new = table.read_new(at_seconds, is_last=True)
            self._record(new, table.name, self._attempt, at_seconds)
        self._recorder.write(is_last=True)

    def _read_log(self, at_seconds: float, max_pieces: int | None = None) -> bool:
        """Read what the log has grown by; return whether there may be more than so many pieces."""
        if not self._reads_log:
            return False
        num_pieces = 0
        for piece in itertools.islice(self._log.read_new(), max_pieces):
            self._record(self._follower.feed(piece, at_seconds), LOG, self._attempt, at_seconds)
            num_pieces += 1
        return num_pieces == max_pieces

    def _record(self, told: Sequence[Told], source: str, attempt: int, at_seconds: float | None) -> None:
        before = self._last.get(source)
        rows = build_rows(told, before, attempt=attempt, source=source, at_seconds=at_seconds)
        if rows:
            self._last[source] = rows[-1]
            self._recorder.add(rows)
