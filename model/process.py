"""Which process is meant: its number alone is given again, so a birth stands beside it. No torch.

On Linux a birth is `<boot>/<PID name space>/<ticks since the boot>`. The boot is the random id of the kernel's start,
so setting the clock changes nothing. The name space tells apart two containers, which both have a process 7.
"""

import os
from functools import cache
from pathlib import Path

import psutil

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
AFTER_NAME = ") "
"""What ends the name of a program in `/proc/<pid>/stat`; the name itself may hold blanks and brackets."""
STATE, BIRTH, EXIT_CODE = 0, 19, 49
"""Places, after the name, of a process's state, its birth in ticks since the boot, and its exit code (proc(5))."""
GONE = ("Z", "X", "x")
"""States of a process that has ended and only waits to be asked how."""


def birth_of(pid: int) -> str | None:
    """Say when a process was born; None if there is none of that number, or it has ended."""
    if not BOOT_ID.exists():
        return _birth_elsewhere(pid)
    fields = read_stat(pid)
    if fields is None or fields[STATE] in GONE:
        return None
    return f"{own_place()}/{fields[BIRTH]}"


def read_stat(pid: int) -> list[str] | None:
    """Return the fields of `/proc/<pid>/stat` after the name; None if there is no such process, or no /proc of ours."""
    if not proc_is_ours():
        # A PID name space without a /proc of its own: only this process can be looked up.
        if pid != os.getpid():
            return None
        entry = PROC / "self"
    else:
        entry = PROC / str(pid)
    try:
        return (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(AFTER_NAME)[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def proc_is_ours() -> bool:
    """Whether /proc counts processes as this process's name space does."""
    try:
        return (PROC / "self").readlink().name == str(os.getpid())
    except OSError:
        return False


@cache
def own_place() -> str:
    """Name the boot of this machine and the name space in which this process counts others."""
    try:
        return f"{BOOT_ID.read_text(encoding='ascii').strip()}/{(PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _birth_elsewhere(pid: int) -> str | None:
    """Say it where there is no /proc: by the clock."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None
