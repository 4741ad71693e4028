"""Which process is meant: its number, and when it was born, which tells it from a later one with the same number.

A birth is told in ticks since the machine started, together with that start's own name, not in seconds of the clock:
setting the clock must not make a living process look like another one.
"""

import contextlib
import os
import signal
import socket
from functools import cache
from pathlib import Path

import psutil
from msgspec import Struct

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
AFTER_NAME = ") "
"""What ends the name of a program in `/proc/<pid>/stat`; the name itself may hold blanks and brackets."""
STATE, BIRTH = 0, 19
"""Places, after the name, of a process's state and of its birth in ticks since the machine started (proc(5))."""
GONE = ("Z", "X", "x")
"""States of a process that has ended and only waits to be asked how."""


class Process(Struct, frozen=True):
    """One process of one machine, for all time."""

    host: str
    pid: int
    born: str

    @classmethod
    def own(cls) -> "Process":
        """This process."""
        born = birth_of(os.getpid())
        assert born is not None
        return cls(socket.gethostname(), os.getpid(), born)

    @property
    def is_here(self) -> bool:
        """Whether it is one of this machine's; of others nobody here can tell whether they live."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether it lives, for a process of this machine."""
        return birth_of(self.pid) == self.born


def birth_of(pid: int) -> str | None:
    """Say when a process was born; None if there is none of that number, or it has ended."""
    if not BOOT_ID.exists():
        return _birth_elsewhere(pid)
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(AFTER_NAME)[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[STATE] in GONE else f"{_boot_id()}/{fields[BIRTH]}"


@cache
def _boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _birth_elsewhere(pid: int) -> str | None:
    """Say it where there is no /proc: by the clock."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def kill_group(pid: int) -> None:
    """End a process that leads its group, and all that it started, at once."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.killpg(pid, signal.SIGKILL)


def ask_to_end(pid: int) -> None:
    """Ask a process to end when it can."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGTERM)
