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

from model.run_folder import Result, RunFolder, write_atomically
from orchestrator.branches import ExperimentCommit
from orchestrator.checkouts import Checkout, Code
from orchestrator.guards import Pace, typical_pace
from orchestrator.identity import CodeAndData
from orchestrator.launchers.forked import Launcher
from orchestrator.launchers.local import Slot
from orchestrator.layout import Layout
from orchestrator.plan import Plan, PlannedRun
from orchestrator.spec import BASELINE
from orchestrator.states import Failure, RunState
from orchestrator.store import QueuedRun, Store
from orchestrator.watcher import LiveRun, find_other_load

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
    launcher: Launcher
    checkouts: dict[str, Checkout] = field(default_factory=dict)
    live: list[LiveRun] = field(default_factory=list)
    _alone: dict[str, str] = field(default_factory=dict)
    """Run that ran out of memory -> the device that it has, or waits to have, to itself for its second try."""
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
            self.launcher.close()
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
        if not self._is_stopping:
            self._start_alone()
        while not self._is_stopping and (slot := self._free_slot()) is not None:
            claimed = self.store.claim(ids)
            if claimed is None:
                break
            self._start(claimed.id, slot)
        return bool(self.live)

    def _start_alone(self) -> None:
        """Start runs that wait for a device to themselves, where it has emptied."""
        for run_id, device in self._alone.items():
            if all(device_of(live.job.slot) != device for live in self.live):
                self._start(run_id, next(slot for slot in self.slots if device_of(slot) == device))

    def _free_slot(self) -> Slot | None:
        busy = [id(live.job.slot) for live in self.live]
        free = (slot for slot in self.slots if id(slot) not in busy)
        return next((slot for slot in free if device_of(slot) not in self._alone.values()), None)

    def _start(self, run_id: str, slot: Slot) -> None:
        run = next(run for run in self.plan.runs if run.id == run_id)
        folder = self.layout.run(run.id)
        checkout = self._checkout(run.experiment)
        write_folder(folder, run, provenance(run, checkout, self.inputs, self.layout.root, slot.name))
        job = self.launcher.start(folder, checkout.folder, checkout.code_hash, slot)
        self.store.record_job(run.id, job.pid)
        self.live.append(LiveRun(run=run, folder=folder, job=job))

    def _checkout(self, experiment: str) -> Checkout:
        if experiment not in self.checkouts:
            now = datetime.now().astimezone()
            self.checkouts[experiment] = self.code.check_out(self.plan.arms[experiment], now)
        return self.checkouts[experiment]

    def _follow(self, live: LiveRun) -> None:
        slots = [other.job.slot for other in self.live]
        reference_pace = self._reference_pace(live.run.experiment)
        ruling = live.check(self.plan.campaign.guards, reference_pace, lambda: find_other_load(slots))
        status = live.job.exit_status()
        if status is None:
            return
        self.live.remove(live)
        was_alone = self._alone.pop(live.run.id, None) is not None
        state, result = live.end(status)
        if result is None:
            self.store.move(live.run.id, RunState.RUNNING, state, reason="stopped after an epoch; run again to go on")
        elif ruling is None and result.failure == Failure.OUT_OF_MEMORY and not was_alone:
            # The checkpoint stays, so the second try goes on where the first one ended.
            live.folder.result.unlink()
            self._alone[live.run.id] = device_of(live.job.slot)
        else:
            self.store.settle(live.run.id, _told_of_second_try(live.folder, result) if was_alone else result)

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
            self._alone.pop(live.run.id, None)
        self.live.clear()
        for run_id in self._alone:
            reason = "ran out of memory and waited for a second try; run again to go on"
            self.store.move(run_id, RunState.RUNNING, RunState.INTERRUPTED, reason=reason)
        self._alone.clear()

    def commits(self) -> dict[str, ExperimentCommit]:
        """Return the commits that were checked out, by experiment."""
        return {name: checkout.commit for name, checkout in self.checkouts.items() if checkout.commit}


def device_of(slot: Slot) -> str:
    """Name what the jobs of a slot share with those of others: a GPU, or the memory and cores of the machine."""
    return slot.environment.get("CUDA_VISIBLE_DEVICES", "cpu")


def _told_of_second_try(folder: RunFolder, result: Result) -> Result:
    """Let a run that ran out of memory twice say so, in its folder too."""
    if result.failure != Failure.OUT_OF_MEMORY:
        return result
    told = msgspec.structs.replace(result, reason=f"at the second try, alone on its device: {result.reason}")
    folder.write_result(told)
    return told


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
