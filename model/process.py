"""Identify a process by its number and its start time, because the system reuses numbers. No torch.

On Linux a start time is `<boot>/<PID name space>/<ticks since the boot>`. The boot is a random id of the kernel's
start, so changing the clock has no effect. The name space distinguishes two containers that both have a process 7.
"""

import os
from functools import cache
from pathlib import Path

import psutil

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
AFTER_NAME = ") "
"""End of a program's name in `/proc/<pid>/stat`; the name itself may hold blanks and brackets."""
STATE, BIRTH, EXIT_CODE = 0, 19, 49
"""Places, after the name, of a process's state, its start in ticks since the boot, and its exit code (proc(5))."""
GONE = ("Z", "X", "x")
"""States of a process that has ended, but whose parent has not read its exit status."""


def birth_of(pid: int) -> str | None:
    """Return a process's start time; None if no process has this number, or it has ended."""
    if not BOOT_ID.exists():
        return _birth_elsewhere(pid)
    fields = read_stat(pid)
    if fields is None or fields[STATE] in GONE:
        return None
    return f"{own_place()}/{fields[BIRTH]}"


def read_stat(pid: int) -> list[str] | None:
    """Return the fields of `/proc/<pid>/stat` after the name; None if the process cannot be looked up."""
    if not proc_is_ours():
        # /proc belongs to another name space, so only this process can be looked up, by `self`.
        if pid != os.getpid():
            return None
        entry = PROC / "self"
    else:
        entry = PROC / str(pid)
    try:
        # The last bracket ends the name, since the name itself may hold one.
        return (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(AFTER_NAME)[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def proc_is_ours() -> bool:
    """Whether /proc shows the processes of this process's name space."""
    try:
        # In the `/proc` of another name space `self` has the number that this process has there.
        return (PROC / "self").readlink().name == str(os.getpid())
    except OSError:
        return False


@cache
def own_place() -> str:
    """Return `<boot>/<PID name space>` of this process; empty without /proc."""
    try:
        return f"{BOOT_ID.read_text(encoding='ascii').strip()}/{(PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _birth_elsewhere(pid: int) -> str | None:
    """Return the start time by the clock, for systems without /proc."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None
