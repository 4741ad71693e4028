"""`job.lock`: the lock of a run folder, so that only one job writes it. No torch.

A living job locks the file and writes its own name into it. Each job that takes the folder raises the attempt by one. A
job reads the file again before each write. If the file names another job, that job has taken over, and this one stops.
So an old job does no harm even if each machine has its own locks, or none at all.
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
"""Longest wait for a lock, because a job that is being killed frees its lock a moment later."""
LOCK_POLL_SECONDS = 0.02
MAX_BYTES = 4096
"""Most bytes of a lock's file that a job writes."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system without locks. The first one may pass, so the wait for a lock covers it."""


class Holder(Struct, frozen=True, kw_only=True):
    """The job that holds a run folder: its process, its machine and the number of its attempt."""

    pid: int
    host: str
    born: str | None = None
    """Start time of the process: boot, name space and ticks, since process numbers are reused; None in older files."""
    attempt: int = 0

    @classmethod
    def own(cls, attempt: int) -> "Holder":
        """Return the holder that is this process."""
        return cls(pid=os.getpid(), host=platform.node(), born=birth_of(os.getpid()), attempt=attempt)

    @property
    def is_here(self) -> bool:
        """Whether this process can look the holder up: same host, boot and name space."""
        return self.host == platform.node() and (self.born or "").rpartition("/")[0] == own_place()

    @property
    def is_alive(self) -> bool:
        """Whether the holder lives; valid only if it is here."""
        return self.born is not None and self.pid > 0 and birth_of(self.pid) == self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class HeldError(Exception):
    """Another job holds the run folder, or has taken it over; the text is a sentence for the log."""


class _Lock(Enum):
    """The answer to a request for a lock."""

    TAKEN = "taken"
    BUSY = "busy"
    NONE_HERE = "none here"


@contextmanager
def hold(path: Path) -> Iterator[Holder]:
    """Keep every other job out of a folder, by its `job.lock`; yield this job as the holder.

    Raises:
        HeldError: another job holds it and does not let go.
        OSError: the lock cannot be written.
    """
    # `flock` belongs to the open file, so forked children share it. The lock is free when the last of them has ended,
    # as it should be: they belong to the job and may still write.
    with path.open("ab+") as file:
        _take(file, path)
        before = _decode(_read(file))
        # One process can take a folder twice, so the attempt tells its two jobs apart.
        mine = Holder.own(attempt=before.attempt + 1 if before else 1)
        # Rewrite in place. A renamed file would be another file, and the lock stays with the old one.
        file.truncate(0)
        file.write(msgspec.json.encode(mine) + b"\n")
        file.flush()
        os.fsync(file.fileno())
        yield mine


def _take(file: BinaryIO, path: Path) -> None:
    # Poll instead of blocking: `flock` without a limit could wait for ever for a stopped process.
    deadline = time.monotonic() + LOCK_SECONDS
    while (lock := _lock(file)) is not _Lock.TAKEN:
        holder = _decode(_read(file))
        if lock is _Lock.NONE_HERE and not (holder and holder.is_here and holder.is_alive):
            # The recorded job has ended, or is on another machine: then the queue's lease has decided that it is dead.
            return
        if time.monotonic() >= deadline:
            who = str(holder) if holder else "another process"
            raise HeldError(
                f"{path.parent}: {who} is at work on this run; let it end, or end it, and run again to go on"
            )
        time.sleep(LOCK_POLL_SECONDS)


def require_hold(path: Path, mine: Holder) -> None:
    """Refuse to continue if another job has taken the folder.

    Raises:
        HeldError: names that job.
    """
    now = None
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        now = _decode(_read(file))
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


def _lock(file: BinaryIO) -> _Lock:
    """Try to take the lock, without waiting; it lasts until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.BUSY
    except OSError as error:
        if error.errno in NO_LOCKS:
            return _Lock.NONE_HERE
        raise
    return _Lock.TAKEN
