"""A job as a process of this machine. It has its own process group."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.launch.slots import Slot
from orchestrator.processes import MARK
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import end_members, mark_variables

KILL_SECONDS = 10.0
"""Longest wait for the end of a killed process. One that waits for a disk ends only when the disk answers."""


def job_environment() -> dict[str, str]:
    """Return the variables of this process that a job may see."""
    # PYTHONSAFEPATH would keep `-m` from the working folder, where the job's own `model` lies.
    # The mark would count the job as part of another run.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", MARK)}


class Job:
    """A training process. Its group holds all that it starts."""

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

    def resume(self) -> None:
        """Let a paused job run on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the job and all that it started, at once. Wait at most `KILL_SECONDS` for it."""
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=KILL_SECONDS)
        end_members(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
