"""Drains the queue: claims runs, starts their jobs, watches them, and settles how they ended."""

import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import msgspec

from model.run_folder import RunFolder, write_atomically
from orchestrator.branches import ExperimentCommit
from orchestrator.checkouts import Checkout, Code
from orchestrator.guards import Pace, typical_pace
from orchestrator.identity import CodeAndData
from orchestrator.launchers.local import Job, Slot
from orchestrator.layout import Layout
from orchestrator.plan import Plan, PlannedRun
from orchestrator.spec import BASELINE
from orchestrator.states import RunState
from orchestrator.store import QueuedRun, Store
from orchestrator.watcher import LiveRun

POLL_SECONDS = 0.1
PACKAGES = ("torch", "numpy", "h5py", "flash-linear-attention", "liger-kernel", "triton")


class Observer(Protocol):
    """Someone who wants to see how the runs go."""

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Take the queue's rows and the runs under way."""


class Interrupts:
    """Counts SIGINT and SIGTERM instead of raising, so that neither falls between starting a job and noting it."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._add)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _add(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@dataclass
class Worker:
    """One `run` at work on a plan."""

    plan: Plan
    store: Store
    layout: Layout
    code: Code
    inputs: CodeAndData
    slots: list[Slot]
    checkouts: dict[str, Checkout] = field(default_factory=dict)
    live: list[LiveRun] = field(default_factory=list)
    _is_stopping: bool = False

    def drain(self, observer: Observer) -> bool:
        """Train until nothing waits; return whether the end was reached (an interrupt returns False)."""
        ids = [run.id for run in self.plan.runs]
        try:
            with Interrupts() as interrupts:
                while self._step(ids):
                    self._heed(interrupts.count)
                    observer.show(self.store.runs(ids), self.live)
                    time.sleep(POLL_SECONDS)
        finally:
            self._kill_all()
            for checkout in self.checkouts.values():
                self.code.clean_up(checkout)
        observer.show(self.store.runs(ids), self.live)
        return not self._is_stopping

    def _heed(self, num_interrupts: int) -> None:
        """Let every job finish its epoch and checkpoint; at a second interrupt end them at once."""
        if num_interrupts >= 1 and not self._is_stopping:
            self._is_stopping = True
            for live in self.live:
                live.job.ask_to_stop()
        if num_interrupts >= 2:
            self._kill_all()

    def _step(self, ids: Sequence[str]) -> bool:
        """Look at every live run once and fill free slots; return whether there is anything left to wait for."""
        for live in tuple(self.live):
            self._follow(live)
        while not self._is_stopping and (slot := self._free_slot()) is not None:
            claimed = self.store.claim(ids)
            if claimed is None:
                break
            self._start(claimed.id, slot)
        return bool(self.live)

    def _free_slot(self) -> Slot | None:
        busy = [id(live.job.slot) for live in self.live]
        return next((slot for slot in self.slots if id(slot) not in busy), None)

    def _start(self, run_id: str, slot: Slot) -> None:
        run = next(run for run in self.plan.runs if run.id == run_id)
        folder = self.layout.run(run.id)
        checkout = self._checkout(run.experiment)
        write_folder(folder, run, provenance(run, checkout, self.inputs, self.layout.root, slot.name))
        job = Job(folder, checkout.folder, self.layout.root, slot)
        self.store.record_job(run.id, job.pid)
        self.live.append(LiveRun(run=run, folder=folder, job=job))

    def _checkout(self, experiment: str) -> Checkout:
        if experiment not in self.checkouts:
            now = datetime.now().astimezone()
            self.checkouts[experiment] = self.code.check_out(self.plan.arms[experiment], now)
        return self.checkouts[experiment]

    def _follow(self, live: LiveRun) -> None:
        live.check(self.plan.campaign.guards, self._reference_pace(live.run.experiment))
        status = live.job.exit_status()
        if status is None:
            return
        self.live.remove(live)
        state, result = live.end(status)
        if result is not None:
            self.store.settle(live.run.id, result)
        else:
            self.store.move(live.run.id, RunState.RUNNING, state, reason="stopped after an epoch; run again to go on")

    def _reference_pace(self, experiment: str) -> Callable[[], Pace | None]:
        def measure() -> Pace | None:
            reference = self.plan.arms[experiment].reference
            for name in (reference, BASELINE) if reference else ():
                for seed in self.plan.campaign.seeds:
                    epochs = self.layout.run(self.plan.run_of[name, seed]).read_epochs()
                    pace = typical_pace(epochs, self.plan.campaign.guards)
                    if pace is not None:
                        return pace
            return None

        return measure

    def _kill_all(self) -> None:
        for live in self.live:
            live.job.kill()
            self.store.move(live.run.id, RunState.RUNNING, RunState.INTERRUPTED, reason="stopped at once")
        self.live.clear()

    def commits(self) -> dict[str, ExperimentCommit]:
        """Return the commits that were checked out, by experiment."""
        return {name: checkout.commit for name, checkout in self.checkouts.items() if checkout.commit}


def write_folder(folder: RunFolder, run: PlannedRun, origin: dict[str, Any]) -> None:
    """Write what a job needs; a resumed run keeps the provenance of its first start."""
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.config.exists():
        write_atomically(folder.provenance, msgspec.json.format(msgspec.json.encode(origin), indent=2) + b"\n")
        write_atomically(folder.config, msgspec.json.format(msgspec.json.encode(run.config), indent=2) + b"\n")


def provenance(
    run: PlannedRun, checkout: Checkout, inputs: CodeAndData, data_folder: Path, device: str
) -> dict[str, Any]:
    """Collect where a run's code, data and environment come from."""
    commit = checkout.commit
    return {
        "run": run.id,
        "device": device,
        "seed": run.seed,
        "identity": run.identity,
        "branch": commit.branch if commit else None,
        "commit": commit.commit if commit else None,
        "base_commit": commit.base_commit if commit else None,
        "code_tree": inputs.code_tree,
        "captures": inputs.captures,
        "data_folder": str(data_folder),
        "environment": environment(),
        "host": platform.node(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def environment() -> dict[str, str | None]:
    """Return the versions of what a training's numbers may depend on; None for what is not installed."""
    versions: dict[str, str | None] = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
