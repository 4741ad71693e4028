"""A stranger's command as a run: its folder, small scripts, readers of their lines, and a supervisor to watch."""

import contextlib
import csv
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.members import list_members
from orchestrator.supervisor.launch_file import LaunchFile, Progress, ProgressFile, write_launch
from orchestrator.supervisor.progress import ProgressRow, Readers, read_rows
from orchestrator.supervisor.supervise import supervise

PYTHON = (sys.executable, "-I", "-S", "-u", "-c")
"""A Python that starts in a few milliseconds."""
STEP = re.compile(r"step (\d+): loss ([\d.]+)")
TRAIN = """
import os, sys, time
folder, steps, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
checkpoint = sys.argv[4] if len(sys.argv) > 4 else None
first = int(open(checkpoint).read()) + 1 if checkpoint else 1
for step in range(first, steps + 1):
    time.sleep(seconds)
    print(f"step {step}: loss {1 / step:.4f}")
    with open(folder + "/half", "w") as file:
        file.write(str(step))
    os.replace(folder + "/half", folder + "/last.ckpt")
while os.path.exists("wait"):
    time.sleep(0.01)
"""
"""Trains some steps from a checkpoint on, and ends once there is no file `wait`.

Its arguments: folder of checkpoints, steps, seconds a step, checkpoint.
"""
SLEEP = "import time; print('up', flush=True); time.sleep(60)"
IGNORES_TERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    print("daemon", os.getpid())
    time.sleep(60)
    os._exit(0)
time.sleep(0.1)
"""
"""Leaves a process in a session of its own, and ends."""
LAUNCHER = """
import os, signal, sys, time
workers = []
for rank in range(2):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        print("worker", rank, os.getpid())
        time.sleep(60)
        os._exit(0)
    workers.append(pid)
def stop(*_):
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    for pid in workers:
        os.waitpid(pid, 0)
    print("torchrun-like: received SIGTERM")
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
print("launched")
time.sleep(60)
"""
"""Like torchrun: each worker has a session of its own, and a request to stop ends with status 1."""


class Row(Struct, frozen=True):
    """A row as a reader returns it."""

    step: float | None
    values: dict[str, float | None]
    resolutions: dict[str, float] = {}


class LineFollower:
    """Finds `step 1: loss 0.5`; it counts the characters that it was fed at a time."""

    def __init__(self) -> None:
        self.tail, self.largest = "", 0

    def feed(self, text: str, at_seconds: float | None = None) -> list[Row]:
        self.largest = max(self.largest, len(text))
        *lines, self.tail = re.split(r"[\r\n]", self.tail + text)
        self.tail = self.tail[:4096]
        found = [match for line in lines if (match := STEP.search(line))]
        return [Row(float(match[1]), {"loss": float(match[2])}) for match in found]

    def finish(self, at_seconds: float | None = None) -> list[Row]:
        return self.feed("\n", at_seconds)


class LineReaders:
    """Readers for the scripts of this module; tables are CSV files with the columns `step` and `loss`."""

    def follow_log(self, progress: Progress, attempt: int) -> LineFollower:
        return LineFollower()

    def read_table(self, source: ProgressFile, path: Path) -> list[Row]:
        with path.open(newline="") as file:
            return [Row(float(row["step"]), {"loss": float(row["loss"])}) for row in csv.DictReader(file)]


LOG_LINES = Progress(patterns=("step {step}: loss {loss}",))


@dataclass
class Stranger:
    """A run of a stranger's command, and the supervisors that were started for it."""

    root: Path
    pids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checkout.mkdir(parents=True)
        self.folder.path.mkdir(parents=True)

    @property
    def checkout(self) -> Path:
        return self.root / "checkout"

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.root / "runs" / "lr-s0-0123abcd")

    def order(self, *arguments: str, **fields: Any) -> LaunchFile:
        """Write `launch.json`."""
        launch = LaunchFile(**({"checkout": str(self.checkout), "arguments": arguments} | fields))
        write_launch(self.folder.launch, launch)
        return launch

    def run(self, *arguments: str, readers: Readers | None = None, **fields: Any) -> int:
        """Supervise a command in this process; return the exit status."""
        self.order(*arguments, **fields)
        return supervise(self.folder.path, readers or LineReaders())

    def start(self, readers: Readers | None = None) -> int:
        """Start a supervisor in a process of its own, forked so that it needs no imports; return its number."""
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                os._exit(supervise(self.folder.path, readers or LineReaders()))
            os._exit(99)
        self.pids.append(pid)
        return pid

    def wait(self, pid: int, seconds: float = 30.0) -> int:
        """Return the exit status of a supervisor, or minus the signal that ended it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.pids.remove(pid)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        raise AssertionError(f"the supervisor runs on; its log: {self.log()}")

    def log(self) -> str:
        """Return the log; empty if there is none."""
        return self.folder.log.read_text() if self.folder.log.exists() else ""

    def rows(self) -> list[ProgressRow]:
        """Return the rows of progress."""
        return list(read_rows(self.folder.progress))

    def result(self) -> Result:
        """Return the result, which must be there."""
        result = self.folder.read_result()
        assert result is not None, self.log()
        return result

    def marked(self) -> list[int]:
        """Return the processes that carry the run's mark."""
        return [member.pid for member in list_members(self.folder)]

    def clean(self) -> None:
        """End what a failed test left."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for pid in self.marked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def a_stranger(root: Path) -> Iterator[Stranger]:
    """Yield a run whose processes are ended at the end."""
    stranger = Stranger(root)
    try:
        yield stranger
    finally:
        stranger.clean()


def wait_until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.005)


def train(folder: str, steps: int, seconds: float, checkpoint: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command of `TRAIN`."""
    return (*PYTHON, TRAIN, folder, str(steps), str(seconds), *checkpoint)
