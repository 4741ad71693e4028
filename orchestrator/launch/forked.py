"""Jobs that are forked from a standby process, one for each code tree.

A standby has imported everything, which takes seconds, so its forks start at once. A forked job behaves as a `Job`.
Supervisors of commands are forked so too.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from orchestrator.errors import UNKNOWN_STATUS
from orchestrator.launch.local import (
    CLOSE_SECONDS,
    KILL_SECONDS,
    Job,
    JobCommand,
    Preload,
    StandbyCommand,
    job_environment,
    signal_members,
)
from orchestrator.launch.slots import Slot
from orchestrator.processes import EXIT_CODE, GONE, STATE, read_stat
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import end_processes
from orchestrator.supervisor.launch_file import LaunchFile
from orchestrator.supervisor.preloaded import is_of_one_run, server_environment, split_python

START_SECONDS = 120.0
"""Longest wait for a fork. The first one also waits for the imports."""
TELL_SECONDS = 2.0
"""Longest wait for a standby to report how a job ended. Somebody may have stopped the standby itself."""


class Answer(Struct, frozen=True, kw_only=True):
    """A line that a standby writes: a job was forked, or has ended."""

    pid: int
    status: int | None = None
    """Exit status of a job that ended; None for one that was just forked."""


class Standby:
    """A standby process. No method waits for it: it may be stopped, or still import."""

    def __init__(self, command: JobCommand, standby: StandbyCommand) -> None:
        self.statuses: dict[int, int] = {}
        """Number of a job that ended -> its exit status, until the job takes it."""
        self._starting: list[ForkedJob] = []
        self._rest = b""
        self._process = subprocess.Popen(
            standby.arguments,
            cwd=command.folder,
            env=job_environment() | standby.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def ask(self, job: "ForkedJob", request: Mapping[str, object]) -> bool:
        """Ask for a job; return whether the request was sent. `listen` reads the job's number later."""
        assert self._process.stdin is not None
        line = msgspec.json.encode(request) + b"\n"
        try:
            # Without Python's buffer, and without a wait: a stopped process reads nothing.
            is_sent = os.write(self._process.stdin.fileno(), line) == len(line)
        except (BrokenPipeError, BlockingIOError):
            # Nobody reads any more, or the pipe is full because the standby was stopped.
            is_sent = False
        if is_sent:
            self._starting.append(job)
        else:
            # Half a request is in the pipe. The standby must not answer it.
            self.kill()
        return is_sent

    @property
    def answers(self) -> int:
        """The file descriptor that is readable once the standby has written, for instance that a job ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def is_alive(self) -> bool:
        """Whether the standby process runs."""
        return self._process.poll() is None

    def listen(self) -> None:
        """Read what the standby has written: which jobs it forked, and how jobs ended."""
        assert self._process.stdout is not None
        if self._process.stdout.closed or not select.select([self.answers], [], [], 0.0)[0]:
            return
        # A read may end inside a line. The rest of that line comes with the next read.
        *lines, self._rest = (self._rest + os.read(self.answers, 65536)).split(b"\n")
        for answer in (msgspec.json.decode(line, type=Answer) for line in lines):
            if answer.status is not None:
                self.statuses[answer.pid] = answer.status
                continue
            # The system reuses numbers of processes: a status under this number is that of an older job.
            self.statuses.pop(answer.pid, None)
            # The standby forks in the order of the requests, so the number belongs to the job that asked first.
            if self._starting:
                self._starting.pop(0).begin(answer.pid)

    def kill(self) -> None:
        """End the standby at once, with a job that it forked and has not reported. Other jobs run on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=CLOSE_SECONDS)
        self._starting.clear()

    def close(self) -> None:
        """Let the standby leave. Jobs under way run on, and nobody reports their end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # A standby that died reads nothing more.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            # It still imports, or is stopped.
            self.kill()
        self._process.stdout.close()


class ForkedJob:
    """A training process that a standby forks. It has its own process group.

    The standby reports its number. If it never does, the job starts as an ordinary process.
    """

    def __init__(self, standby: Standby, folder: RunFolder, command: JobCommand, slot: Slot) -> None:
        self.slot, self.folder = slot, folder
        self._standby, self._command = standby, command
        self._pid: int | None = None
        self._handle: int | None = None
        """File descriptor of the process. It is readable once the process has ended, and no other process gets it."""
        self._ordinary: Job | None = None
        """The ordinary process in the place of a fork; None while there is a fork, or may be one."""
        self._asked_at = time.monotonic()
        self._gone_at: float | None = None
        self._status: int | None = None
        self._is_to_stop = False
        request = {
            "words": command.standby.words if command.standby is not None else (),
            "folder": str(command.folder),
            "log": str(folder.log.resolve()),
            "environment": command.environment,
        }
        if not standby.ask(self, request):
            self._start_ordinary()

    @property
    def pid(self) -> int | None:
        """Number of the process and of its group; None while it starts."""
        return self._ordinary.pid if self._ordinary is not None else self._pid

    def begin(self, pid: int) -> None:
        """Take the number that the standby reports."""
        self._pid = pid
        # A job that has ended already has no descriptor; the standby reports its status next.
        with contextlib.suppress(ProcessLookupError):
            self._handle = os.pidfd_open(pid)
        if self._is_to_stop:
            self._signal(signal.SIGTERM)

    def exit_status(self) -> int | None:
        """Return the exit status, negative for a signal; None while the job starts or runs."""
        if self._ordinary is not None:
            return self._ordinary.exit_status()
        if self._status is None:
            self._standby.listen()
            self._status = self._find_status()
            if self._status is not None:
                self._close_handle()
        return self._status

    def _find_status(self) -> int | None:
        if self._pid is None:
            if not self._standby.is_alive() or time.monotonic() - self._asked_at > START_SECONDS:
                return self._replace_standby()
            return None
        if self._pid in self._standby.statuses:
            return self._standby.statuses.pop(self._pid)
        if self._is_there():
            return None
        # The process ends a moment before the standby has said so. That report is better than `/proc`, so wait for it.
        self._gone_at = self._gone_at or time.monotonic()
        if self._standby.is_alive() and time.monotonic() - self._gone_at < TELL_SECONDS:
            return None
        return self._read_status()

    def _replace_standby(self) -> int | None:
        """Start an ordinary process in the place of a fork that never came, unless the job is to stop already."""
        self._standby.kill()
        if self._is_to_stop:
            return UNKNOWN_STATUS
        # If the code cannot even be imported, an ordinary process says so in its log.
        self._start_ordinary()
        return None

    def _read_status(self) -> int:
        """Read from `/proc` how a job ended whose standby does not report it."""
        fields = read_stat(self._pid) if self._pid is not None else None
        status = int(fields[EXIT_CODE]) if fields is not None and fields[STATE] in GONE else 0
        # The kernel shows 0 to a process that may not see the status, so 0 means unknown.
        return os.waitstatus_to_exitcode(status) if status else UNKNOWN_STATUS

    def _start_ordinary(self) -> None:
        self._ordinary = Job(self.folder, self._command, self.slot)

    def _is_there(self) -> bool:
        return self._handle is not None and not select.select([self._handle], [], [], 0.0)[0]

    def _close_handle(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def ask_to_stop(self) -> None:
        """Ask the job to finish its epoch, checkpoint and end. A job without a number is asked once it has one."""
        self._is_to_stop = True
        if self._ordinary is not None:
            self._ordinary.ask_to_stop()
        elif self.exit_status() is None:
            self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """Stop the job and all that it started, until `resume`."""
        if self._ordinary is not None:
            self._ordinary.pause()
            return
        self._signal(signal.SIGSTOP)
        if self._command.is_supervisor:
            signal_members(self.folder, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused job run on."""
        if self._ordinary is not None:
            self._ordinary.resume()
            return
        if self._command.is_supervisor:
            signal_members(self.folder, signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the job and all that it started, at once. Wait at most `KILL_SECONDS` for it."""
        self._is_to_stop = True
        if self._ordinary is None and self.exit_status() is None:
            self._await_number()
            self._signal(signal.SIGKILL)
        if self._ordinary is not None:
            self._ordinary.kill()
            return
        if self._handle is not None:
            select.select([self._handle], [], [], KILL_SECONDS)
        end_processes(self.folder, term_seconds=0)

    def _await_number(self) -> None:
        """Wait until the standby has reported the job's number. A standby that does not is killed."""
        deadline = time.monotonic() + TELL_SECONDS
        while self._pid is None and self._standby.is_alive() and time.monotonic() < deadline:
            select.select([self._standby.answers], [], [], 0.05)
            self._standby.listen()
        if self._pid is None:
            self._status = self._replace_standby()

    def _signal(self, number: signal.Signals) -> None:
        # While the group's leader is there, dead or alive, the system gives its number to nobody else.
        if self._pid is not None and self._is_there():
            os.killpg(self._pid, number)


AnyJob = Job | ForkedJob


class Launcher:
    """Starts jobs: on Linux as forks of a standby that has their imports done, elsewhere as ordinary processes."""

    def __init__(self) -> None:
        self._standbys: dict[tuple[tuple[str, ...], str, tuple[tuple[str, str], ...]], Standby] = {}
        self._preloads: dict[tuple[object, ...], Preload] = {}

    def start(self, folder: RunFolder, command: JobCommand, slot: Slot) -> AnyJob:
        """Start the job of a run folder.

        Raises:
            OSError: the job's log cannot be written, or the system refuses a process.
        """
        # A forked process could tell nobody that its log cannot be written. Here it raises.
        folder.log.open("ab").close()
        # On other systems libraries that are loaded do not survive a fork.
        if command.standby is None or sys.platform != "linux":
            return Job(folder, command, slot)
        return ForkedJob(self._find_standby(command, command.standby), folder, command, slot)

    def _find_standby(self, command: JobCommand, wanted: StandbyCommand) -> Standby:
        key = (wanted.arguments, wanted.code, tuple(sorted(wanted.environment.items())))
        standby = self._standbys.get(key)
        if standby is not None and not standby.is_alive():
            standby.listen()
            standby.close()
        if standby is None or not standby.is_alive():
            self._standbys[key] = Standby(command, wanted)
        return self._standbys[key]

    def find_preload(self, modules: Sequence[str], launch: LaunchFile) -> str:
        """Return the socket of a process that forks a command; empty where the command has to start by itself.

        Args:
            modules: what it has imported.
            launch: how the command is started.
        """
        split = split_python(launch.arguments)
        if split is None or sys.platform != "linux":
            return ""
        added = {name: value for name, value in launch.environment.items() if not is_of_one_run(name)}
        key = (split.python, tuple(modules), tuple(sorted(added.items())))
        found = self._preloads.get(key)
        if found is None or not found.is_alive():
            # The system may refuse a process or a socket now. The supervisor then does without.
            try:
                found = self._preloads[key] = Preload(
                    split.python, modules, server_environment(job_environment() | added)
                )
            except OSError:
                return ""
        return found.place

    def wait(self, seconds: float) -> None:
        """Wait until a standby reports something, at most so many seconds."""
        select.select([standby.answers for standby in self._standbys.values() if standby.is_alive()], [], [], seconds)

    def close(self) -> None:
        """Let all standbys leave."""
        for standby in self._standbys.values():
            standby.close()
        self._standbys.clear()
        for preload in self._preloads.values():
            preload.close()
        self._preloads.clear()
