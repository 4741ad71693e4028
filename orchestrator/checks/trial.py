"""Runs a command once under the supervisor, in a checkout that is thrown away, and watches what it does."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from orchestrator.checks.launching import opened_file
from orchestrator.checks.observed import Growth
from orchestrator.checks.opened import Opened
from orchestrator.launch.commands import supervisor_command
from orchestrator.launch.local import job_environment
from orchestrator.processes import PROC, birth_of
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import end_processes, list_members
from orchestrator.scripts.trial import interrupted_by_any_signal
from orchestrator.supervisor.attempts import read_attempts
from orchestrator.supervisor.launch_file import LaunchFile, write_launch

POLL_SECONDS = 0.05
"""How often the log is looked at; so exact are the times of its lines."""
LOOK_SECONDS = 0.25
"""How often the open files of all processes are looked at."""


class Watched(Struct, frozen=True, kw_only=True):
    """What was seen of one attempt while it ran."""

    status: int
    """Exit status of the supervisor."""
    end_seconds: float
    """When the command ended, in seconds since it was started."""
    growth: tuple[Growth, ...]
    held: tuple[Opened, ...]
    """Files that a process of the run had open to read."""
    num_bytes_before: int
    """Where its part of the log begins."""


def watch_attempt(folder: RunFolder, launch: LaunchFile, stop_seconds: float | None = None) -> Watched:
    """Run the command of a run folder once, and watch it.

    Args:
        folder: the run folder, which may hold an earlier attempt.
        launch: the command.
        stop_seconds: when the run is asked to stop, in seconds since the command was started; None for never.

    Raises:
        OSError: it cannot be started, or the run folder cannot be written.
    """
    write_launch(folder.launch, launch)
    before = folder.log.stat().st_size if folder.log.exists() else 0
    process = _start(folder)
    watch = _Watch(folder, process, before)
    try:
        with interrupted_by_any_signal():
            watch.run(stop_seconds)
    finally:
        # Also after Ctrl-C: nothing of the run may outlive this call.
        if process.poll() is None:
            process.kill()
        process.wait()
        end_processes(folder, term_seconds=0)
    return watch.result()


def _start(folder: RunFolder) -> "subprocess.Popen[bytes]":
    command = supervisor_command(folder)
    return subprocess.Popen(
        command.arguments,
        cwd=command.folder,
        env=job_environment() | command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class _Watch:
    """Looks at a running attempt: its log, and the files that its processes have open."""

    def __init__(self, folder: RunFolder, process: "subprocess.Popen[bytes]", before: int) -> None:
        self._folder, self._process, self._before = folder, process, before
        self._num_attempts = len(read_attempts(folder.attempts))
        self._begun_epoch_seconds: float | None = None
        self._growth: list[Growth] = []
        self._held: dict[Opened, None] = {}
        self._due_seconds = 0.0
        self._is_asked = False
        self._command: int | None = None
        self._end_seconds: float | None = None

    def run(self, stop_seconds: float | None) -> None:
        while self._process.poll() is None:
            self._look()
            if stop_seconds is not None and not self._is_asked and self.seconds() >= stop_seconds:
                self._is_asked = True
                self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_SECONDS)
        self._look()

    def seconds(self) -> float:
        """Return the seconds since the command was started; 0 before."""
        # The supervisor needs its imports first, so the clock starts with the attempt that it writes down.
        if self._begun_epoch_seconds is None:
            attempts = read_attempts(self._folder.attempts)
            if len(attempts) > self._num_attempts:
                self._begun_epoch_seconds = attempts[-1].begun_epoch_seconds
        return 0.0 if self._begun_epoch_seconds is None else max(0.0, time.time() - self._begun_epoch_seconds)

    def _look(self) -> None:
        now = self.seconds()
        # The supervisor sweeps and writes after the command has ended, which is no time of the training.
        if self._begun_epoch_seconds is not None and self._end_seconds is None:
            self._command = self._command or find_child(self._process.pid)
            if self._command is not None and birth_of(self._command) is None:
                self._end_seconds = now
        with contextlib.suppress(OSError):
            size = self._folder.log.stat().st_size
            if size > (self._growth[-1].num_bytes if self._growth else self._before):
                self._growth.append(Growth(now, size))
        if time.monotonic() >= self._due_seconds and self._begun_epoch_seconds is not None:
            self._held |= dict.fromkeys(list_open(self._folder))
            self._due_seconds = time.monotonic() + LOOK_SECONDS

    def result(self) -> Watched:
        return Watched(
            status=self._process.returncode,
            end_seconds=self.seconds() if self._end_seconds is None else self._end_seconds,
            growth=tuple(self._growth),
            held=tuple(self._held),
            num_bytes_before=self._before,
        )


def find_child(pid: int) -> int | None:
    """Return the first child of a process; None if it has none, or the system does not tell."""
    try:
        children = (PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(children[0]) if children else None


def list_open(folder: RunFolder, members: Callable[[RunFolder], list[int]] | None = None) -> list[Opened]:
    """Return the files that the processes of a run have open to read, as the system tells.

    Libraries that are no Python, such as HDF5, open files without telling it to anybody.
    """
    pids = members(folder) if members else [one.pid for one in list_members(folder)]
    return [Opened("read", path) for pid in pids for path in _open_files(pid)]


def _open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # it has just ended, or belongs to another user
        for entry in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                path = str(entry.readlink())
                # Sockets, pipes and removed files have no path.
                if path.startswith("/") and not path.endswith(" (deleted)") and _only_reads(pid, entry.name):
                    yield path


def _only_reads(pid: int, descriptor: str) -> bool:
    lines = (PROC / str(pid) / "fdinfo" / descriptor).read_text(encoding="ascii").splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    return flags & os.O_ACCMODE == os.O_RDONLY


def read_heard(folder: RunFolder) -> list[str]:
    """Return the lines that the Pythons of a run wrote; none if there was no Python."""
    try:
        return opened_file(folder).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []
