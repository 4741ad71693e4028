"""Processes: how one is identified, whether it lives, and how it is asked to end.

A process is identified by its host, its number and its start time. A signal is sent only if all three match: the system
reuses numbers, and two machines may have the same name. On Linux a start time is `<boot>/<PID name space>/<ticks since
the boot>`. The boot is a random id of the kernel's start, so changing the clock has no effect. The name space
distinguishes two containers that both have a process 7.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from functools import cache
from io import FileIO
from pathlib import Path

import psutil
from msgspec import Struct

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
AFTER_NAME = ") "
"""End of a program's name in `/proc/<pid>/stat`; the name itself may hold blanks and brackets."""
STATE, BIRTH, EXIT_CODE = 0, 19, 49
"""Places, after the name, of a process's state, its start in ticks since the boot, and its exit code (proc(5))."""
GONE = ("Z", "X", "x")
"""States of a process that has ended, but whose parent has not read its exit status."""
MARK = "KNOCKOUT_RUN"
"""Environment variable of a run's processes; see `run_mark` for its value."""
UTF_8 = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Environment for our own processes: they write UTF-8, whatever the user's terminal takes."""
STANDBY_MARK = "standby"
"""Mark of a standby: a process that forks the jobs of several runs."""
HALTED = ("T", "t", "D")
"""States of a process that is stopped by a signal or a debugger, or waits for a disk or a network."""


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


class Process(Struct, frozen=True):
    """One process of one machine, told apart from all earlier and later ones."""

    host: str
    pid: int
    born: str
    """Start time; see the head of this module."""

    @classmethod
    def own(cls) -> "Process":
        """Return this process."""
        born = birth_of(os.getpid())
        assert born is not None
        return cls(socket.gethostname(), os.getpid(), born)

    @property
    def is_here(self) -> bool:
        """Whether this machine can look it up: same host, boot and name space. For others, only heartbeats count."""
        return self.is_of_host and self.place == own_place() and (proc_is_ours() or not own_place())

    @property
    def is_of_host(self) -> bool:
        """Whether its host has this host's name; it may still be another machine, or an earlier boot of this one."""
        return self.host == socket.gethostname()

    @property
    def place(self) -> str:
        """Boot and name space; empty if the start time is a time of the clock."""
        return self.born.rpartition("/")[0]

    @property
    def is_alive(self) -> bool:
        """Whether it lives; only valid if `is_here`."""
        return self.pid > 0 and birth_of(self.pid) == self.born

    @property
    def is_of_earlier_boot(self) -> bool:
        """Whether its host has this host's name and another boot: this machine before a restart, or a namesake."""
        return self.is_of_host and bool(own_boot()) and self.place.partition("/")[0] != own_boot()


def own_boot() -> str:
    """Return the name of this machine's boot; empty if it has none."""
    return own_place().partition("/")[0]


def uptime_seconds() -> float:
    """Return the seconds since this machine started; infinite if that is unknown."""
    try:
        return float((PROC / "uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return float("inf")


def is_halted(pid: int) -> bool:
    """Whether a process of this machine is stopped by a signal, or waits for a disk. Then its silence has a reason."""
    fields = read_stat(pid)
    return fields is not None and fields[0] in HALTED


def signal_group(leader: Process, number: signal.Signals) -> bool:
    """Send a signal to a process of this machine, and to its group if it leads one; return whether it existed.

    Raises:
        PermissionError: it belongs to another user.
    """
    if not _is_target(leader):
        return False
    try:
        # Between the check and the signal, its number is not reused unless its parent has waited for it.
        if os.getpgid(leader.pid) == leader.pid:
            os.killpg(leader.pid, number)
        else:
            os.kill(leader.pid, number)
    except ProcessLookupError:  # it has just ended
        return False
    return True


def _is_target(process: Process) -> bool:
    """Whether a signal may go to a process: it is here and lives, and is not this process, its parent or its group."""
    return (
        process.is_here
        # A spoilt row may name any number: 0 would be this group, and 1 the first process of the machine.
        and process.pid > 1
        and process.is_alive
        and process.pid not in (os.getpid(), os.getppid(), os.getpgrp())
    )


def run_mark(folder: Path) -> str:
    """Return the value of `KNOCKOUT_RUN` for a run: the folder's device, inode and name.

    Raises:
        OSError: there is no such folder.
    """
    found = folder.stat()
    return f"{found.st_dev}:{found.st_ino}:{folder.name}"


def find_members(folder: Path, lock: Path, recorded: Process | None) -> list[Process]:
    """Return the processes of this machine that belong to a run, as far as this user may see them.

    A process belongs to a run if it carries the run's mark in its environment. A job forked by a standby carries
    another mark. It belongs if it has the run's lock open to write, and is the recorded holder or carries any mark of
    Knockout. So processes are found even if they have left the job's group.

    Args:
        folder: the run folder.
        lock: its `job.lock`.
        recorded: the process that the lock names.
    """
    with contextlib.suppress(OSError):
        mark, host = run_mark(folder), socket.gethostname()
        wanted = lock.stat() if lock.exists() else None
        # The environment is read first: it rules out almost all of the hundreds of processes at once.
        found = [pid for pid in _list_pids() if _is_member(pid, mark, wanted, recorded) and _is_of_our_name_space(pid)]
        births = ((pid, birth_of(pid)) for pid in found if pid != os.getpid())
        return [Process(host, pid, born) for pid, born in births if born is not None]
    return []


def _is_member(pid: int, mark: str, lock: os.stat_result | None, recorded: Process | None) -> bool:
    carried = _read_mark(pid)
    if carried == mark:
        return True
    is_recorded = recorded is not None and recorded.pid == pid and recorded.is_here and recorded.is_alive
    return (carried is not None or is_recorded) and lock is not None and _has_open_to_write(pid, lock)


def _list_pids() -> Iterator[int]:
    if proc_is_ours():
        with contextlib.suppress(OSError):
            yield from sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _is_of_our_name_space(pid: int) -> bool:
    """Whether a process is in our name space of numbers; one in a container counts as one of another host."""
    try:
        return os.path.samestat((PROC / str(pid) / "ns/pid").stat(), (PROC / "self/ns/pid").stat())
    except OSError:
        return False


def _read_mark(pid: int) -> str | None:
    """Return the mark of a process; None if it has none, has just ended, or belongs to another user."""
    try:
        # Of hundreds of processes at each sweep: a `Path` for each would take most of the time.
        with FileIO(f"{PROC}/{pid}/environ") as file:
            content = file.readall()
    except OSError:
        return None
    # Variables are separated by zero bytes. The zero before the name keeps `MY_KNOCKOUT_RUN` from being found.
    _, found, rest = (b"\0" + content).partition(f"\0{MARK}=".encode())
    return os.fsdecode(rest.partition(b"\0")[0]) if found else None


def _has_open_to_write(pid: int, wanted: os.stat_result) -> bool:
    """Whether a process has a file open to write; a process that only reads the lock is just asking who holds it."""
    with contextlib.suppress(OSError):  # it has just ended, or belongs to another user
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted) and not _only_reads(pid, descriptor.name):
                    return True
    return False


def _only_reads(pid: int, descriptor: str) -> bool:
    lines = (PROC / str(pid) / "fdinfo" / descriptor).read_text(encoding="ascii").splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    return flags & os.O_ACCMODE == os.O_RDONLY


VMSTAT = PROC / "vmstat"


def count_memory_kills(vmstat: Path = VMSTAT) -> int | None:
    """Count the processes that the kernel has killed for lack of memory since it started; None if it does not say."""
    try:
        counters = dict(line.split() for line in vmstat.read_text(encoding="ascii").splitlines())
    except FileNotFoundError:
        return None
    return int(counters["oom_kill"]) if "oom_kill" in counters else None


def describe_status(status: int) -> str:
    """Say how a process ended, by its status as `subprocess` gives it."""
    return f"with exit status {status}" if status >= 0 else f"by signal {name_signal(-status)}"


def name_signal(number: int) -> str:
    """Return the name of a signal; its number if it has none."""
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, str(number))


def ask_to_end(process: Process) -> None:
    """Ask a process of this machine, by SIGTERM, to end.

    Raises:
        PermissionError: it belongs to another user.
    """
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if _is_target(process):
            os.kill(process.pid, signal.SIGTERM)
