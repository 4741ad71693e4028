"""Jobs forked from one process that has everything imported: `model.standby`, one for each code tree.

The same promises as `launchers.local.Job`, without paying for imports at each start.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from model.run_folder import RunFolder
from orchestrator.launchers.local import Job, Slot
from orchestrator.processes import birth_of

START_SECONDS = 120.0
"""Longest wait for a fork: the first one also waits for the imports."""
UNKNOWN_STATUS = 1
"""Of a job whose standby process died before it could tell."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a standby process says: a job was forked, or has ended."""

    pid: int
    status: int | None = None


class Standby:
    """A standby process of one code tree."""

    def __init__(self, code: Path, environment: dict[str, str]) -> None:
        self.statuses: dict[int, int] = {}
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "model.standby"],
            cwd=code,
            env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def fork(self, folder: RunFolder, code: Path, data_folder: Path, slot: Slot) -> int | None:
        """Start a job and return its process's number; None if the standby process is gone."""
        request = {
            "words": [str(folder.path.resolve()), "--data-folder", str(data_folder.resolve())],
            "folder": str(code),
            "log": str(folder.log.resolve()),
            "environment": slot.environment,
        }
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        while self.is_alive():
            answers = self._listen(START_SECONDS)
            for answer in answers:
                if answer.status is None:
                    return answer.pid
            if not answers:
                self._process.kill()  # it hangs; a job that starts by itself will say why
        return None

    @property
    def answers(self) -> int:
        """The file descriptor that becomes readable when something is said, such as how a job ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def is_alive(self) -> bool:
        """Whether the standby process is there."""
        return self._process.poll() is None

    def status_of(self, pid: int) -> int | None:
        """Return how a job of this process ended, or None while nothing was said about it."""
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            self._listen(0.0)
        return self.statuses.get(pid)

    def _listen(self, seconds: float) -> list[Answer]:
        """Return what was said, after waiting so long for it; note how jobs ended."""
        source = self.answers
        if not select.select([source], [], [], seconds)[0]:
            return []
        *lines, self._rest = (self._rest + os.read(source, 65536)).split(b"\n")
        answers = [msgspec.json.decode(line, type=Answer) for line in lines]
        for answer in answers:
            if answer.status is not None:
                self.statuses[answer.pid] = answer.status
            else:
                self.statuses.pop(answer.pid, None)  # an old job's, whose number is given again
        return answers

    def close(self) -> None:
        """Let the process leave; jobs under way go on, and how they end is no longer told."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already, and what it was told with it
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()  # still importing: nothing was forked
            self._process.wait()
        self._process.stdout.close()


class ForkedJob:
    """A training process that a standby process forked, in a process group of its own."""

    def __init__(self, standby: Standby, pid: int, slot: Slot) -> None:
        self.slot, self.pid = slot, pid
        self._standby = standby
        self._born = birth_of(pid)

    def exit_status(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the job runs."""
        status = self._standby.status_of(self.pid)
        if status is not None or self._standby.is_alive():
            return status
        return None if self._is_there() else UNKNOWN_STATUS

    def _is_there(self) -> bool:
        return self._born is not None and birth_of(self.pid) == self._born

    def ask_to_stop(self) -> None:
        """Ask the job to finish its epoch, checkpoint and end."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """Let the job and all it started stand still."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused job go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the job and all it started, at once."""
        self._signal(signal.SIGKILL)
        while self.exit_status() is None:
            select.select([], [], [], 0.005)

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_status() is None and self._is_there():
            os.killpg(self.pid, number)


AnyJob = Job | ForkedJob


class Launcher:
    """Starts jobs: from a standby process of their code where that can be, else each by itself."""

    def __init__(self, data_folder: Path) -> None:
        self.data_folder = data_folder
        self._standbys: dict[tuple[str, tuple[tuple[str, str], ...]], Standby] = {}

    def start(self, folder: RunFolder, code: Path, code_hash: str, slot: Slot) -> AnyJob:
        """Start the job of a run folder in `code`, a folder that holds the code of that hash."""
        standby = self._standby(code, code_hash, slot)
        pid = standby.fork(folder, code, self.data_folder, slot) if standby is not None else None
        if standby is None or pid is None:
            # Started by itself it says in its log why it cannot start.
            return Job(folder, code, self.data_folder, slot)
        return ForkedJob(standby, pid, slot)

    def _standby(self, code: Path, code_hash: str, slot: Slot) -> Standby | None:
        if sys.platform != "linux":
            return None  # elsewhere libraries that are loaded do not outlive a fork
        # What is read when a process begins (threads, allocator) is the standby's; which GPU is the job's own.
        shared = {name: value for name, value in slot.environment.items() if name != "CUDA_VISIBLE_DEVICES"}
        key = (code_hash, tuple(sorted(shared.items())))
        standby = self._standbys.get(key)
        if standby is not None and not standby.is_alive():
            standby.close()
        if standby is None or not standby.is_alive():
            self._standbys[key] = Standby(code, shared)
        return self._standbys[key]

    def wait(self, seconds: float) -> None:
        """Wait until something is said that was not heard yet, such as how a job ended, or so long."""
        select.select([standby.answers for standby in self._standbys.values() if standby.is_alive()], [], [], seconds)

    def close(self) -> None:
        """Let all standby processes leave."""
        for standby in self._standbys.values():
            standby.close()
        self._standbys.clear()
