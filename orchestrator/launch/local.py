"""A job as a process of this machine. It has its own process group."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from orchestrator.launch.slots import Slot
from orchestrator.processes import MARK, signal_group
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import end_processes, list_members
from orchestrator.supervisor.preloaded import SERVER

KILL_SECONDS = 10.0
"""Longest wait for the end of a killed process. One that waits for a disk ends only when the disk answers."""
BACKLOG = 64
"""Most supervisors that wait for a process to take their connection."""
CLOSE_SECONDS = 1.0
"""Longest wait for a process that forks to leave."""


class StandbyCommand(Struct, frozen=True, kw_only=True):
    """A process that has its imports done and forks jobs on request."""

    arguments: tuple[str, ...]
    environment: dict[str, str] = {}
    """Variables that are read when a process begins, so jobs with others need another standby."""
    code: str
    """Which code it has imported."""
    words: tuple[str, ...]
    """What it is asked to run."""


class JobCommand(Struct, frozen=True, kw_only=True):
    """How the job of one run is started."""

    arguments: tuple[str, ...]
    """The command of an ordinary process."""
    folder: Path
    """Where it works."""
    environment: dict[str, str] = {}
    """Variables beside those of this process."""
    standby: StandbyCommand | None = None
    """What forks it; None for a job that starts by itself."""
    is_supervisor: bool = False
    """Whether it is the supervisor of the command that trains, which has a session of its own."""


def job_environment() -> dict[str, str]:
    """Return the variables of this process that a job may see."""
    # PYTHONSAFEPATH would keep `-m` from the working folder, where the job's own code lies.
    # The mark would count the job as part of another run.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", MARK)}


class Job:
    """A training process. Its group holds all that it starts."""

    def __init__(self, folder: RunFolder, command: JobCommand, slot: Slot) -> None:
        self.slot, self.folder, self._command = slot, folder, command
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env=job_environment() | command.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Number of the process and of its group."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the exit status, negative for a signal; None while the job runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Ask the job to finish its epoch, checkpoint and end."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """Stop the job and all that it started, until `resume`."""
        self._signal(signal.SIGSTOP)
        if self._command.is_supervisor:
            signal_members(self.folder, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused job run on."""
        if self._command.is_supervisor:
            signal_members(self.folder, signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the job and all that it started, at once. Wait at most `KILL_SECONDS` for it."""
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=KILL_SECONDS)
        # What has left the job's group is found by its mark.
        end_processes(self.folder, term_seconds=0)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


class Preload:
    """A process in the interpreter of a task's scripts, with modules imported, which forks their commands."""

    def __init__(self, python: Sequence[str], modules: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started, or the path of its socket would be too long.
        """
        # Only this user may enter the folder, so nobody else can have a command run.
        self._folder = Path(tempfile.mkdtemp(prefix="knockout-"))
        self.place = str(self._folder / "preload")
        try:
            # The socket listens before the interpreter is there, so a supervisor may connect at once.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(self.place)
                listener.listen(BACKLOG)
                self._process = subprocess.Popen(
                    [*python, str(SERVER), str(listener.fileno()), *modules],
                    cwd="/",
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(listener.fileno(),),
                    start_new_session=True,
                )
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let it leave once the last of its commands has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=CLOSE_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


def signal_members(folder: RunFolder, number: signal.Signals) -> None:
    """Send a signal to every process of a run on this machine that belongs to this user."""
    for member in list_members(folder):
        with contextlib.suppress(PermissionError):
            signal_group(member, number)


def run_quietly(arguments: tuple[str, ...], environment: Mapping[str, str], seconds: float) -> str | None:
    """Return what a short command prints; None if it cannot be started, fails or takes longer."""
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=seconds,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
