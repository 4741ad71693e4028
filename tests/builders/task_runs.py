"""Runs of a stranger's task: its small scripts, a queue with their orders, and a worker that trains them for real."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.files import write_json
from orchestrator.launch.forked import Launcher
from orchestrator.launch.loop import EveryRun
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import LiveRun
from orchestrator.launch.worker import Worker
from orchestrator.queue.rows import waiting_run
from orchestrator.queue.store import QueuedRun, open_store
from orchestrator.runs.fingerprints import fingerprint_files
from orchestrator.runs.folder import Result, RunConfig, RunFolder
from orchestrator.runs.members import list_members
from orchestrator.runs.order import GuardSpec, Order, OrderedCode, write_order
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import RunState
from orchestrator.task.spec import parse_task

SLOTS = [Slot(f"cpu{number}", {"OMP_NUM_THREADS": "1"}) for number in range(2)]
FAST_PYTHON = [sys.executable, "-S"]
"""A Python that starts in a few milliseconds, without installed packages."""


class CopiedCheckouts:
    """Stands for the worktrees of commits: each checkout is a copy of a folder."""

    def __init__(self, source: Path, place: Path) -> None:
        self.source, self.place = source, place
        self.opened: list[Path] = []

    def open(self, experiment: str, code: OrderedCode) -> Path:
        return self.source

    def open_run(self, run_id: str, experiment: str, code: OrderedCode) -> Path:
        path = self.place / f"{run_id}-{len(self.opened)}"
        shutil.copytree(self.source, path)
        self.opened.append(path)
        return path

    def remove(self, path: Path) -> list[str]:
        shutil.rmtree(path)
        return []

    def remove_leftovers(self) -> list[str]:
        return []

    def close(self) -> list[str]:
        return []


class KeptLauncher(Launcher):
    """A launcher whose standby serves several tests, since its imports take most of a test's time."""

    def close(self) -> None:
        """Leave the standby as it is."""

    def end(self) -> None:
        """Let the standby leave."""
        super().close()


class Follower:
    """An observer that acts once something holds."""

    def __init__(self, holds: Callable[[], object] = lambda: False, act: Callable[[], object] = lambda: None) -> None:
        self.holds, self.act, self.has_acted = holds, act, False
        self.told: list[str] = []

    def tell(self, problem: str) -> None:
        self.told.append(problem)

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        if not self.has_acted and self.holds():
            self.has_acted = True
            self.act()


class TaskYard:
    """A campaign's folder with a stranger's code, its queue, and the workers that drain it."""

    def __init__(self, root: Path, launcher: Launcher, files: dict[str, str]) -> None:
        self.paths, self.launcher = Paths(root / "study"), launcher
        for name, text in files.items():
            path = self.paths.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.code = root / "code"
        shutil.copytree(self.paths.root, self.code)
        self.checkouts = CopiedCheckouts(self.code, root / "checkouts")
        self.store = open_store(self.paths)

    def queue(self, name: str, task: dict[str, Any], *, seed: int = 0, **fields: Any) -> RunFolder:
        """Queue a run; `fields` are those of its order, and `params` its parameters."""
        run_id = f"{name}-s{seed}-0123abcd"
        folder = self.paths.run(run_id)
        folder.path.mkdir(parents=True)
        params = fields.pop("params", {})
        write_json(folder.config, RunConfig(experiment=name, profile="quick", seed=seed, params=params))
        spec = parse_task({"code": ["."], **task})
        data = {
            name: fingerprint_files([one.path], self.paths.root, self.paths.fingerprints)[one.path]
            for name, one in spec.data.items()
        }
        given = {"data": data, "files": {}, "guards": GuardSpec(), "code": OrderedCode(tree="c0de")} | fields
        write_order(folder, Order(run=run_id, identity="1d", queued="now", task=spec, **given))
        self.store.add([waiting_run(run_id, name, seed, "quick")])
        return folder

    def worker(self, slots: list[Slot] = SLOTS) -> Worker:
        worker = Worker(self.store, self.paths, slots, self.launcher, EveryRun())
        worker.starter.checkouts = self.checkouts
        return worker

    def drain(self, observer: Follower | None = None) -> Worker:
        """Train what waits; return the worker, which has left."""
        worker = self.worker()
        worker.drain(observer or Follower())
        return worker

    def outcome(self, folder: RunFolder) -> tuple[RunState, str]:
        """Return state and reason of a run."""
        (row,) = self.store.runs([folder.path.name])
        return row.state, row.reason


def result_of(folder: RunFolder) -> Result:
    """Return the result of a run, which must be there."""
    result = folder.read_result()
    assert result is not None, log_of(folder)
    return result


def log_of(folder: RunFolder) -> str:
    """Return the log of a run; empty if there is none."""
    return folder.log.read_text() if folder.log.exists() else ""


@contextlib.contextmanager
def a_task_yard(root: Path, launcher: Launcher, files: dict[str, str]) -> Iterator[TaskYard]:
    """Yield a yard; whatever a worker leaves of its runs is an error, and is ended."""
    yard = TaskYard(root, launcher, files)
    try:
        yield yard
        deadline = time.monotonic() + 10
        while left := marked(yard):
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.01)
        assert not any(path.exists() for path in yard.checkouts.opened)
    finally:
        for pid in marked(yard):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        yard.store.close()


def marked(yard: TaskYard) -> list[int]:
    """Return the processes of any run of a yard."""
    return [member.pid for folder in yard.paths.ordered_runs() for member in list_members(folder)]
