"""What a worker does with runs that ran out of memory or are slow, with jobs that end as told."""

import os
import signal
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from model.run_folder import Result, RunFolder
from orchestrator.checkouts import Checkout
from orchestrator.evidence import RunRecord
from orchestrator.identity import CodeAndData
from orchestrator.launchers.local import Slot
from orchestrator.layout import Layout
from orchestrator.plan import Arm, Plan
from orchestrator.spec import GuardSpec
from orchestrator.states import RunState
from orchestrator.store import QueuedRun, Store
from orchestrator.watcher import LiveRun
from orchestrator.worker import Worker

DONE = Result(state="done", reason="all epochs trained", epochs=4)
NO_MEMORY = Result(state="failed", failure="out_of_memory", reason="the job ran out of memory after epoch 1", epochs=1)
CRASHED = Result(state="failed", failure="crashed", reason="the job died with exit status 7", epochs=1)
CPU_SLOTS = [Slot(f"cpu{number}", {"OMP_NUM_THREADS": "1"}) for number in range(3)]
GPU_SLOTS = [Slot(f"gpu{number % 2}", {"CUDA_VISIBLE_DEVICES": str(number % 2)}) for number in range(4)]


class ScriptedJob:
    """A job that is seen running so many times and then has its result."""

    def __init__(self, folder: RunFolder, slot: Slot, result: Result, looks: int) -> None:
        self.slot, self.pid = slot, os.getpid()
        self._folder, self._result = folder, result
        self._looks_left = looks
        self._status: int | None = None

    def exit_status(self) -> int | None:
        self._looks_left -= 1
        if self._looks_left < 0 and self._status is None:
            self._folder.write_result(self._result)
            self._status = 0 if self._result.state == "done" else 1
        return self._status

    @property
    def is_running(self) -> bool:
        return self._status is None

    def ask_to_stop(self) -> None:
        self._status = 130

    def kill(self) -> None:
        self._status = -signal.SIGKILL


class ScriptedLauncher:
    """Starts scripted jobs, and notes the run, its slot, and the slots that were busy then."""

    def __init__(self, results: dict[str, list[Result]]) -> None:
        self.results = results
        self.looks: dict[str, int] = {}
        self.jobs: list[ScriptedJob] = []
        self.starts: list[tuple[str, str, list[str]]] = []

    def start(self, folder: RunFolder, code: Path, code_hash: str, slot: Slot) -> ScriptedJob:
        name = folder.path.name.partition("-")[0]
        busy = [job.slot.name for job in self.jobs if job.is_running]
        self.starts.append((name, slot.name, busy))
        self.jobs.append(ScriptedJob(folder, slot, self.results[name].pop(0), self.looks.get(name, 3)))
        return self.jobs[-1]

    def close(self) -> None:
        assert not any(job.is_running for job in self.jobs)


class UncheckedCode:
    """The code of every experiment lies in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check_out(self, arm: Arm, now: datetime) -> Checkout:
        return Checkout(folder=self.folder, code_hash="c0de")

    def clean_up(self, checkout: Checkout) -> None:
        assert checkout.folder == self.folder


class Unseen:
    """An observer that looks away, and may interrupt this process at a look."""

    def __init__(self, interrupt_at: int = 0) -> None:
        self.looks, self.interrupt_at = 0, interrupt_at

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        self.looks += 1
        if self.looks == self.interrupt_at:
            signal.raise_signal(signal.SIGINT)


DEFAULT = GuardSpec()
WorkerBuilder = Callable[..., tuple[Worker, ScriptedLauncher]]


@pytest.fixture
def build_worker(tmp_path: Path, a_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> WorkerBuilder:
    """Return what makes a worker whose jobs end as told, one run an experiment, all of them queued."""
    monkeypatch.setattr("orchestrator.worker.POLL_SECONDS", 0.001)

    def build(
        slots: list[Slot], guards: GuardSpec = DEFAULT, **results: list[Result]
    ) -> tuple[Worker, ScriptedLauncher]:
        changes = {name: {"change": {"optim.clip_norm": 2.0 + place}} for place, name in enumerate(results)}
        plan = a_plan(changes, seeds=(0,), guards=guards)
        store, launcher = Store(tmp_path / "knockout.db"), ScriptedLauncher(results)
        ids = [plan.run_of[name, 0] for name in results]
        store.add(
            QueuedRun(id=run, position=0, experiment="E", seed=0, profile="quick", state=RunState.QUEUED) for run in ids
        )
        worker = Worker(
            plan=plan,
            store=store,
            layout=Layout(tmp_path),
            code=UncheckedCode(tmp_path),
            inputs=CodeAndData(code_tree="c0de", captures={}),
            slots=slots,
            launcher=launcher,
        )
        return worker, launcher

    return build


def outcomes(worker: Worker) -> dict[str, tuple[RunState, str]]:
    rows = {row.id.partition("-")[0]: (row.state, row.reason) for row in worker.store.runs()}
    worker.store.close()
    return rows


def test_a_run_out_of_memory_is_tried_again_alone_while_others_wait(build_worker: WorkerBuilder) -> None:
    worker, launcher = build_worker(CPU_SLOTS, E1=[NO_MEMORY, DONE], E2=[DONE], E3=[DONE], E4=[DONE])
    assert worker.drain(Unseen())
    assert launcher.starts == [
        ("E1", "cpu0", []),
        ("E2", "cpu1", ["cpu0"]),
        ("E3", "cpu2", ["cpu0", "cpu1"]),
        ("E1", "cpu0", []),
        ("E4", "cpu0", []),
    ]
    assert set(outcomes(worker).values()) == {(RunState.DONE, "all epochs trained")}


def test_a_second_time_out_of_memory_settles_the_run_and_says_so(build_worker: WorkerBuilder) -> None:
    worker, launcher = build_worker(CPU_SLOTS, E1=[NO_MEMORY, NO_MEMORY], E2=[DONE])
    assert worker.drain(Unseen())
    assert [name for name, _, _ in launcher.starts] == ["E1", "E2", "E1"]
    reason = "at the second try, alone on its device: the job ran out of memory after epoch 1"
    result = worker.layout.run(worker.plan.run_of["E1", 0]).read_result()
    assert (result.state, result.failure, result.reason, result.epochs) == ("failed", "out_of_memory", reason, 1)
    assert outcomes(worker) == {"E1": (RunState.FAILED, reason), "E2": (RunState.DONE, "all epochs trained")}


def test_two_runs_out_of_memory_are_tried_again_one_after_the_other(build_worker: WorkerBuilder) -> None:
    worker, launcher = build_worker(CPU_SLOTS, E1=[NO_MEMORY, DONE], E2=[NO_MEMORY, CRASHED])
    assert worker.drain(Unseen())
    assert launcher.starts[2:] == [("E1", "cpu0", []), ("E2", "cpu0", [])]
    assert outcomes(worker) == {"E1": (RunState.DONE, DONE.reason), "E2": (RunState.FAILED, CRASHED.reason)}


def test_alone_on_a_gpu_leaves_the_other_gpus_to_others(build_worker: WorkerBuilder) -> None:
    worker, launcher = build_worker(
        GPU_SLOTS, E1=[NO_MEMORY, DONE], E2=[DONE], E3=[DONE], E4=[DONE], E5=[DONE], E6=[DONE]
    )
    launcher.looks = {"E3": 6, "E5": 20, "E6": 20}
    assert worker.drain(Unseen())
    assert launcher.starts[4:] == [
        ("E5", "gpu1", ["gpu0"]),
        ("E6", "gpu1", ["gpu0", "gpu1"]),
        ("E1", "gpu0", ["gpu1", "gpu1"]),
    ]
    assert {state for state, _ in outcomes(worker).values()} == {RunState.DONE}


def test_any_other_failure_is_not_tried_again(build_worker: WorkerBuilder) -> None:
    worker, launcher = build_worker(CPU_SLOTS, E1=[CRASHED])
    assert worker.drain(Unseen())
    assert len(launcher.starts) == 1
    assert outcomes(worker) == {"E1": (RunState.FAILED, CRASHED.reason)}


def test_an_interrupt_leaves_a_run_that_waits_for_its_second_try_to_go_on_later(build_worker: WorkerBuilder) -> None:
    worker, launcher = build_worker(CPU_SLOTS, E1=[NO_MEMORY], E2=[DONE])
    launcher.looks = {"E2": 1000}
    assert not worker.drain(Unseen(interrupt_at=10))
    assert outcomes(worker) == {
        "E1": (RunState.INTERRUPTED, "ran out of memory and waited for a second try; run again to go on"),
        "E2": (RunState.INTERRUPTED, "stopped after an epoch; run again to go on"),
    }
    assert worker.layout.run(worker.plan.run_of["E1", 0]).read_result() is None


def test_a_run_above_the_campaigns_own_memory_limit_is_not_tried_again(
    build_worker: WorkerBuilder, a_run: Callable[..., RunRecord]
) -> None:
    worker, launcher = build_worker(CPU_SLOTS, guards=GuardSpec(memory_bytes=1000), E1=[DONE])
    folder = worker.layout.run(worker.plan.run_of["E1", 0])
    folder.path.mkdir(parents=True)
    folder.append_epoch(a_run(worker.plan, "E1", 0).epochs[0])
    assert worker.drain(Unseen())
    assert len(launcher.starts) == 1
    state, reason = outcomes(worker)["E1"]
    assert state is RunState.FAILED
    assert reason.startswith("epoch 1 held 0.001 GB of memory at its peak")


def test_a_slow_run_is_ruled_on_with_the_load_that_others_put_on_the_machine(
    build_worker: WorkerBuilder, a_run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def find_load(slots: Sequence[Slot]) -> str:
        asked.append([slot.name for slot in slots])
        return "load 5.2 for 2 jobs"

    monkeypatch.setattr("orchestrator.worker.find_other_load", find_load)
    limits = GuardSpec(epoch_seconds=0.5, warmup_epochs=1, slow_epochs=1)
    worker, _ = build_worker(CPU_SLOTS, guards=limits, E1=[DONE], E2=[DONE])
    folder = worker.layout.run(worker.plan.run_of["E1", 0])
    folder.path.mkdir(parents=True)
    for record in a_run(worker.plan, "E1", 0).epochs:
        folder.append_epoch(record)
    assert worker.drain(Unseen())
    assert asked == [["cpu0", "cpu1"]]
    assert outcomes(worker)["E1"] == (
        RunState.TOO_SLOW,
        "an epoch takes 1.00 s, the limit is 0.50 s; all of the last 2 epochs were slower, after 1 of warm-up; "
        "the machine was shared: load 5.2 for 2 jobs",
    )
