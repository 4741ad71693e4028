"""A job as a process of this machine, in a process group of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from model.train.run_folder import RunFolder
from orchestrator.launch.slots import Slot
from orchestrator.processes import MARK
from orchestrator.runs.members import end_members, mark_variables

KILL_SECONDS = 10.0
"""Longest wait for a killed process to be gone; one that waits for a disk cannot be ended before the disk answers."""


def job_environment() -> dict[str, str]:
    """Return the variables of this process that a job may see."""
    # `-m` looks in the working folder first, so the job runs its own checkout's `model`; the mark is another run's.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", MARK)}


class Job:
    """A training process, in a process group of its own."""

    def __init__(self, folder: RunFolder, code: Path, data_folder: Path, slot: Slot) -> None:
        self.slot, self.folder = slot, folder
        command = [sys.executable, "-m", "model", str(folder.path), "--data-folder", str(data_folder)]
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=code,
                env=job_environment() | slot.environment | mark_variables(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the job runs."""
        return self._process.poll()

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
        """End the job and all it started, at once; gives up on a process that the system cannot end."""
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=KILL_SECONDS)
        end_members(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
