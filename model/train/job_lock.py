"""`job.lock`: which job may write a run folder. No torch.

The file is locked while a job lives, and says which job. Each job that takes the folder counts the attempt up. A job
reads the file again before each write. Where it names another job, that one has taken over, and this one stops. So an
old job does no harm even where each machine has locks of its own, or none at all.
"""

import contextlib
import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from model.process import birth_of, own_place

LOCK_SECONDS = 3.0
"""Longest wait for a lock: that of a job that is being killed is free a moment later."""
LOCK_POLL_SECONDS = 0.02
MAX_BYTES = 4096
"""Of a lock's file; more is not a job's."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""How a file system says that it has no locks. The first may pass: it is waited for as a lock is."""


class Holder(Struct, frozen=True, kw_only=True):
    """The job that holds a run folder: its process, the machine that it runs on, and which attempt it is."""

    pid: int
    host: str
    born: str | None = None
    """Boot, name space and ticks; None in files of older versions."""
    attempt: int = 0

    @classmethod
    def own(cls, attempt: int) -> "Holder":
        """This process."""
        return cls(pid=os.getpid(), host=platform.node(), born=birth_of(os.getpid()), attempt=attempt)

    @property
    def is_here(self) -> bool:
        """Whether it can be looked up: same host, boot and name space."""
        return self.host == platform.node() and (self.born or "").rpartition("/")[0] == own_place()

    @property
    def is_alive(self) -> bool:
        """Whether it lives, for a process that is here."""
        return self.born is not None and self.pid > 0 and birth_of(self.pid) == self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class HeldError(Exception):
    """Another job holds the run folder, or has taken it over; a sentence for the log."""


class _Lock(Enum):
    """What came of asking for a lock."""

    TAKEN = "taken"
    BUSY = "busy"
    NONE_HERE = "none here"


@contextmanager
def hold(path: Path) -> Iterator[Holder]:
    """Keep every other job out of a folder, by its `job.lock`; yields what this job is known by.

    Raises:
        HeldError: another job holds it, and goes on to.
        OSError: the lock cannot be written.
    """
    # Processes that the job forks share the lock, and it is free when the last of them is gone: they are the job.
    with path.open("ab+") as file:
        _take(file, path)
        before = _decode(_read(file))
        mine = Holder.own(attempt=before.attempt + 1 if before else 1)
        file.truncate(0)
        file.write(msgspec.json.encode(mine) + b"\n")
        file.flush()
        os.fsync(file.fileno())
        yield mine


def _take(file: BinaryIO, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while (lock := _lock(file, fcntl.LOCK_EX)) is not _Lock.TAKEN:
        holder = _decode(_read(file))
        if lock is _Lock.NONE_HERE and not (holder and holder.is_here and holder.is_alive):
            # Whoever is recorded is gone, or on another machine, where the queue's lease has decided.
            return
        if time.monotonic() >= deadline:
            who = str(holder) if holder else "another process"
            raise HeldError(
                f"{path.parent}: {who} is at work on this run; let it end, or end it, and run again to go on"
            )
        time.sleep(LOCK_POLL_SECONDS)


def find_holder(path: Path) -> Holder | None:
    """Return the living job that holds a folder, by its `job.lock`; None if nobody does.

    Raises:
        HeldError: something holds it that does not say what it is.
        OSError: the file cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        deadline = time.monotonic() + LOCK_SECONDS
        while (lock := _lock(file, fcntl.LOCK_SH)) is not _Lock.TAKEN:
            # Locked and still empty: it is just being taken.
            holder = _decode(_read(file))
            if lock is _Lock.NONE_HERE:
                return holder if holder and holder.is_here and holder.is_alive else None
            if holder is not None:
                return holder
            if time.monotonic() >= deadline:
                raise HeldError(f"{path}: this is locked by a process that is no job; end it, and run again")
            time.sleep(LOCK_POLL_SECONDS)
    return None


def last_holder(path: Path) -> Holder | None:
    """Return the job that held a folder last, whether it lives or not; None if the file does not say."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return _decode(_read(file))
    return None


def require_hold(path: Path, mine: Holder) -> None:
    """Refuse to go on where another job has taken the folder.

    Raises:
        HeldError: names that job.
    """
    now = last_holder(path)
    if now != mine:
        who = f"{now}, attempt {now.attempt}," if now else "something else"
        raise HeldError(f"{path.parent}: {who} has taken over; this job, attempt {mine.attempt}, writes no more")


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MAX_BYTES)


def _decode(content: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(content, type=Holder)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _lock(file: BinaryIO, kind: int) -> _Lock:
    """Take a lock until the file is closed, if nobody else has one against it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.BUSY
    except OSError as error:
        if error.errno in NO_LOCKS:
            return _Lock.NONE_HERE
        raise
    return _Lock.TAKEN
