"""One small training of each kind of task, as a run that can be started, stopped and started again."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from model.__main__ import main
from model.config import encode_run, job_from_builtins
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.launch_file import CHECKPOINT, Resume
from tests.builders.supervised import LOG_LINES, Stranger, a_stranger, train
from tests.model.conftest import job_values, merged, tones, write_capture

NUM_EPOCHS = 30
SECONDS = 60.0
"""Longest wait for a run."""


class Run(Protocol):
    """A run of some task."""

    @property
    def folder(self) -> RunFolder:
        """Its folder."""

    def start(self) -> int:
        """Start its process; return the number."""

    def wait(self, pid: int) -> int:
        """Return the exit status of a process, or minus the signal that ended it."""

    def num_steps(self) -> int:
        """Count the finished steps."""


class ScriptRun:
    """A stranger's script under the supervisor."""

    def __init__(self, stranger: Stranger) -> None:
        self.stranger, self.folder = stranger, stranger.folder
        again = Resume(when="last.ckpt", arguments=train(".", NUM_EPOCHS, 0.02, [CHECKPOINT]))
        stranger.order(*train(".", NUM_EPOCHS, 0.02), progress=LOG_LINES, resume=again)

    def start(self) -> int:
        return self.stranger.start()

    def wait(self, pid: int) -> int:
        return self.stranger.wait(pid)

    def num_steps(self) -> int:
        return len(self.stranger.rows())


class RadioRun:
    """The radio study, which holds its lock and writes its files by itself."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, RunFolder(root / "run")
        self.pids: set[int] = set()
        for seed, name in enumerate(("here.h5", "there.h5")):
            write_capture(root / name, *tones(seed=seed))
        self.folder.path.mkdir()
        job = merged(job_values(), {"optim": {"epochs": NUM_EPOCHS, "early_stopping": NUM_EPOCHS}})
        self.folder.config.write_bytes(encode_run(job_from_builtins(job)))

    def start(self) -> int:
        pid = os.fork()
        if pid == 0:
            # As in a standby: the imports are done, and the output goes straight to the log.
            with contextlib.suppress(BaseException):
                log = os.open(self.folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                for number in (1, 2):
                    os.dup2(log, number)
                os._exit(main([str(self.folder.path), "--data-folder", str(self.root)]))
            os._exit(99)
        self.pids.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.pids.remove(pid)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        raise AssertionError(f"the job runs on; its log: {self.folder.log_tail()}")

    def num_steps(self) -> int:
        return len(self.folder.read_epochs())

    def clean(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextlib.contextmanager
def script(root: Path) -> Iterator[Run]:
    """Yield a run of a script."""
    with a_stranger(root) as stranger:
        yield ScriptRun(stranger)


@contextlib.contextmanager
def radio(root: Path) -> Iterator[Run]:
    """Yield a run of the radio study."""
    run = RadioRun(root)
    try:
        yield run
    finally:
        run.clean()
