"""The command as a process: how it is started, asked to stop and waited for."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import AWAY

PR_SET_PDEATHSIG = 1
"""Number of the request to Linux for a signal at the parent's death (prctl(2))."""


class Command:
    """A running command. It leads a session and a group of its own.

    Its status is read without taking it. So its number, which is its group's number too, is not given to another
    process before `close`.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: BinaryIO) -> None:
        """Start it.

        Args:
            arguments: the program and its arguments; no shell reads them.
            folder: where it works.
            environment: all its variables.
            log: takes its output and its errors, without a pipe: so the log outlives the supervisor.

        Raises:
            OSError: it cannot be started.
        """
        self._process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Python code between fork and exec may hang where threads hold locks. The supervisor has no threads.
            preexec_fn=_die_with_parent(),
        )

    @property
    def pid(self) -> int:
        """Number of the process, its session and its group."""
        return self._process.pid

    def fileno(self) -> None:
        """Return None: a signal tells this process that a child has ended."""
        return

    def status(self) -> int | None:
        """Return its exit status, or minus the number of the signal that ended it; None while it runs."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def signal_group(self, number: int) -> None:
        """Send a signal to the command and to what it started in its group; also if the command itself has ended."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # nothing is left of it, or only what is another user's
            return

    def close(self) -> None:
        """End what is left of the group, and take the status."""
        self.signal_group(signal.SIGKILL)
        self._process.wait()


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a new process calls so that it is killed when the supervisor dies; None where the system has none."""
    if sys.platform != "linux":
        return None
    # Both are looked up here: between fork and exec as little as possible is done.
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before the request
            os._exit(AWAY)

    return ask_kernel
