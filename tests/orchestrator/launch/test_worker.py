"""What a worker does with runs that wait, fail or are taken away, with jobs that end as told."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from orchestrator.api.queue import planned_rows
from orchestrator.campaign.plan import Plan
from orchestrator.errors import AWAY, HELD, NO_SPACE, UNKNOWN_STATUS, CodeError, QueueError, QueueLockedError
from orchestrator.launch.guards import SLOW_TURNS
from orchestrator.launch.local import JobCommand
from orchestrator.launch.loop import EveryRun, GivenRuns, never
from orchestrator.launch.paired_probe import Side
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import LiveRun
from orchestrator.launch.worker import Worker
from orchestrator.processes import Process, birth_of
from orchestrator.queue.store import QueuedRun, open_store
from orchestrator.queue.tables import RUNS
from orchestrator.runs.folder import EpochRecord, Result, RunFolder
from orchestrator.runs.order import AGAIN, GuardSpec, Order, OrderedCode, place_run, read_order, write_order
from orchestrator.runs.paths import Paths
from orchestrator.runs.probes import Measurement
from orchestrator.runs.record import RunRecord
from orchestrator.runs.states import RunState
from tests.builders.epochs import an_epoch, append_epoch
from tests.builders.results import write_done

DONE = Result(state="done", reason="all epochs trained", epochs=4)
NO_MEMORY = Result(state="failed", failure="out_of_memory", reason="the job ran out of memory after epoch 1", epochs=1)
CRASHED = Result(state="failed", failure="crashed", reason="the job died with exit status 7", epochs=1)
CPU_SLOTS = [Slot(f"cpu{number}", {"OMP_NUM_THREADS": "1"}) for number in range(3)]
GPU_SLOTS = [Slot(f"gpu{number % 2}", {"CUDA_VISIBLE_DEVICES": str(number % 2)}) for number in range(4)]
TREE = "c0de"
STOPPED = "stopped after an epoch; it goes on from there"
AT_ONCE = "stopped at once"
WAITED = "ran out of memory and waited for a second try"
GIB = 2**30
PROBE = (sys.executable, "-m", "model.probe")
LONG = 100_000
"""Looks at a job that does not end by itself within a test."""
Ends = Result | int | bytes
"""How a job ends: with a result, with only an exit status, or with these bytes in the place of a result."""


class ScriptedJob:
    """A job that is seen running so many times and then ends as told."""

    def __init__(self, folder: RunFolder, slot: Slot, ends: Ends, looks: int) -> None:
        self.slot, self.pid = slot, os.getpid()
        self._folder, self._ends = folder, ends
        self.peak_bytes: int | None = None
        """What it tells of its memory, in an epoch that ends at the first look; None for a job without an epoch."""
        self._looks_left = looks
        self.status: int | None = None
        self.is_deaf = False

    def exit_status(self) -> int | None:
        if self.peak_bytes is not None:
            append_epoch(self._folder, an_epoch(peak_memory_bytes=self.peak_bytes))
            self.peak_bytes = None
        self._looks_left -= 1
        if self._looks_left < 0 and self.status is None:
            self._end()
        return self.status

    def _end(self) -> None:
        if self._ends is DONE:
            write_done(self._folder, epochs=DONE.epochs, reason=DONE.reason)
            self.status = 0
        elif isinstance(self._ends, Result):
            self._folder.write_result(self._ends)
            self.status = 0 if self._ends.state == "done" else 1
        elif isinstance(self._ends, bytes):
            self._folder.result.write_bytes(self._ends)
            self.status = 0
        else:
            self.status = self._ends

    @property
    def is_running(self) -> bool:
        return self.status is None

    def ask_to_stop(self) -> None:
        if not self.is_deaf:
            self.status = 130

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def kill(self) -> None:
        if self.is_running:
            self.status = -signal.SIGKILL


class ScriptedLauncher:
    """Starts scripted jobs, and notes the run, its slot, and the slots that were busy then."""

    def __init__(self, ends: dict[str, list[Ends]]) -> None:
        self.ends = ends
        self.looks: dict[str, int] = {}
        self.peak_bytes: int | None = None
        self.jobs: list[ScriptedJob] = []
        self.starts: list[tuple[str, str, list[str]]] = []
        self.codes: list[Path] = []
        self.is_closed = False

    def start(self, folder: RunFolder, command: JobCommand, slot: Slot) -> ScriptedJob:
        code = command.folder
        assert (code / "model" / "__main__.py").exists()
        assert folder.provenance.exists()
        name = folder.path.name.partition("-")[0]
        busy = [job.slot.name for job in self.jobs if job.is_running]
        self.starts.append((name, slot.name, busy))
        self.codes.append(code)
        self.jobs.append(ScriptedJob(folder, slot, self.ends[name].pop(0), self.looks.get(name, 3)))
        if not folder.epochs.exists():
            self.jobs[-1].peak_bytes = self.peak_bytes
        return self.jobs[-1]

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        assert not any(job.is_running for job in self.jobs)
        self.is_closed = True

    @property
    def started(self) -> list[str]:
        return [name for name, _, _ in self.starts]


class Onlooker:
    """An observer that does something at its looks of these numbers."""

    def __init__(self, acts: dict[int, Callable[[], object]] | None = None) -> None:
        self.looks, self.acts = 0, acts or {}
        self.told: list[str] = []

    def tell(self, problem: str) -> None:
        self.told.append(problem)

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        self.looks += 1
        self.acts.get(self.looks, lambda: None)()


def interrupt(number: signal.Signals = signal.SIGINT) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


class Yard:
    """A queue whose runs have their folders, and the workers that drain it."""

    def __init__(self, root: Path, a_plan: Callable[..., Plan]) -> None:
        self.paths, self.a_plan = Paths(root), a_plan
        self.store = open_store(self.paths)
        self.launcher = ScriptedLauncher({})
        self.ids: dict[str, str] = {}
        copy = self.paths.code_copy(TREE) / "model"
        copy.mkdir(parents=True)
        (copy / "__main__.py").write_text("print('one')\n")

    def queue(self, *names: str, code: OrderedCode | None = None, **order: Any) -> None:
        """Queue one run an experiment; `order` are fields of its order."""
        place = len(self.ids)
        changes = {name: {"change": {"optim.clip_norm": 2.0 + place + nth}} for nth, name in enumerate(names)}
        self.plan = self.a_plan(changes, seeds=(0,))
        fields = {
            "files": {},
            "task": self.plan.campaign.task,
            "guards": GuardSpec(),
            "code": code or OrderedCode(tree=TREE),
        } | order
        for run, row in zip(self.plan.runs, planned_rows(self.plan), strict=True):
            if run.experiment in names:
                self.ids[run.experiment] = run.id
                place_run(
                    self.folder(run.experiment), run.config, Order(run=run.id, identity="1d", queued="now", **fields)
                )
                self.store.add([row])

    def folder(self, name: str) -> RunFolder:
        return self.paths.run(self.ids[name])

    def worker(
        self, slots: list[Slot] = CPU_SLOTS, *, names: Sequence[str] | None = None, stays: bool = False
    ) -> Worker:
        feed = EveryRun(stays) if names is None else self.given(names)
        return Worker(self.store, self.paths, slots, self.launcher, feed)

    def given(self, names: Sequence[str], is_time_up: Callable[[], bool] = never) -> GivenRuns:
        return GivenRuns(self.store, tuple(self.ids[name] for name in names), is_time_up)

    def outcomes(self) -> dict[str, tuple[RunState, str]]:
        return {row.id.partition("-")[0]: (row.state, row.reason) for row in self.store.runs()}

    def give_to(self, name: str, process: Process) -> None:
        """Give a run to another worker, behind the back of the one that has it."""
        change = RUNS.update().where(RUNS.c.id == self.ids[name])
        with self.store.engine.begin() as connection:
            connection.execute(change.values(host=process.host, pid=process.pid, born=process.born))


@pytest.fixture
def empty_yard(tmp_path: Path, a_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    for name, seconds in (("POLL", 0.001), ("SHOW", 0.0), ("CLAIM", 0.005), ("HEARTBEAT", 0.01), ("RECONCILE", 0.005)):
        monkeypatch.setattr(f"orchestrator.launch.worker.{name}_SECONDS", seconds)
    yard = Yard(tmp_path, a_plan)
    yield yard
    assert yard.launcher.is_closed
    assert yard.store.workers.list_living() == []
    yard.store.close()


YardBuilder = Callable[..., tuple[Yard, ScriptedLauncher]]


@pytest.fixture
def build_yard(empty_yard: Yard) -> YardBuilder:
    """Return what queues runs whose jobs end as told; whatever worker drains them must leave nothing behind."""

    def build(guards: GuardSpec | None = None, **ends: list[Ends]) -> tuple[Yard, ScriptedLauncher]:
        empty_yard.queue(*ends, guards=guards or GuardSpec())
        empty_yard.launcher.ends.update(ends)
        return empty_yard, empty_yard.launcher

    return build


@pytest.fixture
def other(sleeper: "subprocess.Popen[bytes]") -> Process:
    """A living worker that is not this process."""
    born = birth_of(sleeper.pid)
    assert born is not None
    return Process(socket.gethostname(), sleeper.pid, born)


def lock_once(monkeypatch: pytest.MonkeyPatch, store: object, method: str) -> list[str]:
    """Let a method of the queue fail the first time; return the list that notes it."""
    real, locked = getattr(store, method), []

    def act(*args: Any, **options: Any) -> Any:
        if not locked:
            locked.append(method)
            raise QueueLockedError("knockout.db: the queue cannot be used: database is locked")
        return real(*args, **options)

    monkeypatch.setattr(store, method, act)
    return locked


def test_runs_are_taken_in_the_queues_order_as_slots_are_free(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE], E3=[CRASHED])
    worker = yard.worker(CPU_SLOTS[:2])
    assert worker.drain(Onlooker())
    assert launcher.starts == [("E1", "cpu0", []), ("E2", "cpu1", ["cpu0"]), ("E3", "cpu0", ["cpu1"])]
    assert yard.outcomes() == {
        "E1": (RunState.DONE, DONE.reason),
        "E2": (RunState.DONE, DONE.reason),
        "E3": (RunState.FAILED, CRASHED.reason),
    }
    assert [row.id for row in worker.claims.ended.values()] == list(yard.ids.values())
    assert worker.problems == []


def test_runs_of_other_campaigns_are_taken_unless_some_are_asked_for(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    yard.queue("F1")
    launcher.ends["F1"] = [DONE]
    assert yard.worker(names=["E2"]).drain(Onlooker())
    assert launcher.started == ["E2"]
    assert yard.worker().drain(Onlooker())
    assert launcher.started == ["E2", "E1", "F1"]


def test_a_worker_for_all_runs_waits_for_no_other_worker(build_yard: YardBuilder, other: Process) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    taken = yard.store.claim(other)
    assert taken is not None
    assert yard.worker().drain(Onlooker())
    assert launcher.started == ["E2"]
    assert yard.outcomes()["E1"] == (RunState.RUNNING, "")


def test_a_worker_that_stays_takes_what_is_queued_later(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE])
    launcher.ends["F1"] = [DONE]
    worker = yard.worker(stays=True)
    leave = {60: lambda: yard.store.workers.ask_to_stop([worker.claims.process])}
    assert not worker.drain(Onlooker({20: lambda: yard.queue("F1"), **leave}))
    assert {state for state, _ in yard.outcomes().values()} == {RunState.DONE}
    assert launcher.started == ["E1", "F1"]


def test_runs_that_another_living_worker_has_are_waited_for(build_yard: YardBuilder, other: Process) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    taken = yard.store.claim(other)
    assert taken is not None
    onlooker = Onlooker({30: lambda: yard.store.end(taken, RunState.DONE, "trained elsewhere")})
    assert yard.worker(names=["E1", "E2"]).drain(onlooker)
    assert onlooker.looks >= 30
    assert launcher.started == ["E2"]
    assert yard.outcomes()["E1"] == (RunState.DONE, "trained elsewhere")


def test_a_run_whose_worker_dies_is_taken_over(
    build_yard: YardBuilder, other: Process, sleeper: "subprocess.Popen[bytes]"
) -> None:
    yard, launcher = build_yard(E1=[DONE])
    assert yard.store.claim(other) is not None

    def die() -> None:
        sleeper.kill()
        sleeper.wait()

    assert yard.worker(names=["E1"]).drain(Onlooker({10: die}))
    assert launcher.started == ["E1"]
    (row,) = yard.store.runs()
    assert (row.state, row.attempt, row.losses) == (RunState.DONE, 2, 1)


def test_a_request_through_the_queue_lets_jobs_finish_their_epochs_and_starts_no_more(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": LONG}
    worker = yard.worker(CPU_SLOTS[:1])
    assert not worker.drain(Onlooker({5: lambda: yard.store.workers.ask_to_stop([worker.claims.process])}))
    assert launcher.started == ["E1"]
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, STOPPED), "E2": (RunState.QUEUED, "")}


def test_a_time_that_is_up_lets_jobs_finish_their_epochs_and_starts_no_more(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": LONG}
    asked = iter([False] * 5)
    feed = yard.given(["E1", "E2"], lambda: next(asked, True))
    assert not Worker(yard.store, yard.paths, CPU_SLOTS[:1], launcher, feed).drain(Onlooker({}))
    assert launcher.started == ["E1"]
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, STOPPED), "E2": (RunState.QUEUED, "")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_jobs_finish_their_epochs_and_starts_no_more(
    build_yard: YardBuilder, number: signal.Signals, heeded: None
) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": LONG}
    before = signal.getsignal(number)
    assert not yard.worker(CPU_SLOTS[:1]).drain(Onlooker({5: interrupt(number)}))
    assert signal.getsignal(number) is before
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, STOPPED), "E2": (RunState.QUEUED, "")}


def test_a_closed_terminal_that_is_to_be_ignored_stops_nothing(build_yard: YardBuilder) -> None:
    yard, _ = build_yard(E1=[DONE])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert yard.worker().drain(Onlooker({2: interrupt(signal.SIGHUP)}))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert yard.outcomes() == {"E1": (RunState.DONE, DONE.reason)}


def test_a_second_interrupt_ends_jobs_at_once(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": LONG, "E2": LONG}

    def be_deaf() -> None:
        for job in launcher.jobs:
            job.is_deaf = True

    acts = {4: be_deaf, 5: interrupt(), 9: interrupt()}
    assert not yard.worker().drain(Onlooker(acts))
    assert [job.status for job in launcher.jobs] == [-signal.SIGKILL, -signal.SIGKILL]
    assert set(yard.outcomes().values()) == {(RunState.INTERRUPTED, AT_ONCE)}


def test_an_interrupt_while_a_run_is_started_stops_that_run(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": LONG}
    start = launcher.start

    def start_and_interrupt(*args: Any) -> ScriptedJob:
        signal.raise_signal(signal.SIGINT)
        return start(*args)

    monkeypatch.setattr(launcher, "start", start_and_interrupt)
    assert not yard.worker().drain(Onlooker())
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, STOPPED), "E2": (RunState.QUEUED, "")}


@pytest.mark.parametrize(("beat_seconds", "looks"), [(0.01, LONG), (1e9, 8)])
def test_a_run_that_was_given_to_another_worker_is_left_to_it(
    build_yard: YardBuilder,
    other: Process,
    monkeypatch: pytest.MonkeyPatch,
    beat_seconds: float,
    looks: int,
) -> None:
    monkeypatch.setattr("orchestrator.launch.worker.HEARTBEAT_SECONDS", beat_seconds)
    yard, launcher = build_yard(E1=[-9], E2=[DONE])
    launcher.looks = {"E1": looks}
    worker = yard.worker()
    assert worker.drain(Onlooker({4: lambda: yard.give_to("E1", other)}))
    assert launcher.jobs[0].status == -signal.SIGKILL
    assert not yard.folder("E1").result.exists()
    assert yard.outcomes() == {"E1": (RunState.RUNNING, ""), "E2": (RunState.DONE, DONE.reason)}
    assert worker.problems == [f"{yard.ids['E1']}: it is another worker's now; its job here is ended"]
    assert [row.experiment for row in worker.claims.ended.values()] == ["E2"]


def test_a_run_that_waits_for_its_second_try_and_is_given_away_is_not_started_again(
    build_yard: YardBuilder, other: Process
) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY], E2=[DONE])
    launcher.looks = {"E2": 30}
    assert yard.worker().drain(Onlooker({15: lambda: yard.give_to("E1", other)}))
    assert launcher.started == ["E1", "E2"]
    assert yard.outcomes() == {"E1": (RunState.RUNNING, ""), "E2": (RunState.DONE, DONE.reason)}


def spoil_order(yard: Yard) -> str:
    yard.folder("E1").order.unlink()
    return f"{yard.folder('E1').order}: there is no such file; queue the run again with `knockout queue add`"


def spoil_code(yard: Yard) -> str:
    order = read_order(yard.folder("E1"))
    write_order(yard.folder("E1"), msgspec.structs.replace(order, code=OrderedCode(tree="0ther")))
    copy = yard.paths.code_copy("0ther")
    return f"{copy}: the copy of the code that the run was queued with is gone; {AGAIN}"


def spoil_config(yard: Yard) -> str:
    yard.folder("E1").config.unlink()
    return f"[Errno 2] No such file or directory: '{yard.folder('E1').config}'"


def spoil_capture(yard: Yard) -> str:
    (yard.paths.root / "LocA.h5").write_bytes(b"other bursts")
    order = read_order(yard.folder("E1"))
    write_order(yard.folder("E1"), msgspec.structs.replace(order, files={"LocA.h5": "da7a"}))
    changed = "has changed since the run was queued; queue the run again with `knockout queue add`"
    return f"{yard.paths.root / 'LocA.h5'} {changed}"


def test_a_run_that_cannot_be_compiled_here_is_left_for_another_machine(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.start.find_compiler_problem", lambda: "there is no compiler")
    yard, launcher = build_yard(E1=[])
    order = read_order(yard.folder("E1"))
    write_order(yard.folder("E1"), msgspec.structs.replace(order, needs=("compiler",)))
    assert yard.worker(CPU_SLOTS[:1]).drain(Onlooker())
    assert launcher.started == []
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, "it cannot be started: there is no compiler")}


@pytest.mark.parametrize("spoil", [spoil_order, spoil_code, spoil_config, spoil_capture])
def test_a_run_that_cannot_be_started_is_left_with_a_sentence_and_the_others_are_trained(
    build_yard: YardBuilder, spoil: Callable[[Yard], str]
) -> None:
    yard, launcher = build_yard(E1=[], E2=[DONE])
    reason = f"it cannot be started: {spoil(yard)}"
    worker = yard.worker(CPU_SLOTS[:1])
    assert worker.drain(Onlooker())
    assert launcher.started == ["E2"]
    assert worker.problems == [f"{yard.ids['E1']}: {reason}"]
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, reason), "E2": (RunState.DONE, DONE.reason)}
    assert [row.experiment for row in worker.claims.ended.values()] == ["E2"]


def test_a_run_whose_folder_is_held_elsewhere_is_left_to_whoever_holds_it(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, launcher = build_yard(E1=[])
    monkeypatch.setattr(
        "orchestrator.launch.start.end_remaining_jobs", lambda folder: "process 7 on moon is at work on it"
    )
    worker = yard.worker()
    assert worker.drain(Onlooker())
    assert launcher.started == []
    held = f"{yard.folder('E1').path}: process 7 on moon is at work on it; end that, and queue the run again"
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, f"it cannot be started: {held}")}


def test_a_job_that_cannot_be_launched_is_left_with_a_sentence(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, launcher = build_yard(E1=[], E2=[])

    def refuse(*args: Any) -> ScriptedJob:
        raise OSError("no more processes")

    monkeypatch.setattr(launcher, "start", refuse)
    assert yard.worker().drain(Onlooker())
    assert set(yard.outcomes().values()) == {(RunState.INTERRUPTED, "it cannot be started: no more processes")}


CHECKS = """\
import json, pathlib, sys
here = pathlib.Path(__file__).parent
asked = json.load(sys.stdin)
(here / "asked").open("a").write(f"{asked['deep']} {len(asked['configs'])}\\n")
problem = (here / "problem").read_text()
print(json.dumps([{"params": {}, "problem": {"message": problem, "at": []} if problem else None}]))
"""


@pytest.mark.parametrize("problem", ["", "model.dim 16 is too small for this code"])
def test_code_that_is_not_the_campaigns_own_is_asked_once_whether_it_can(empty_yard: Yard, problem: str) -> None:
    copy = empty_yard.paths.code_copy("5e1f") / "model"
    asked = copy / "studies" / "radio" / "task.py"
    asked.parent.mkdir(parents=True)
    asked.write_text(CHECKS)
    (copy / "__main__.py").touch()
    for package in (copy, copy / "studies", copy / "studies" / "radio"):
        (package / "__init__.py").touch()
    (asked.parent / "problem").write_text(problem)
    empty_yard.queue("E1", "E2", code=OrderedCode(tree="5e1f", is_own=True))
    empty_yard.launcher.ends.update({"E1": [DONE], "E2": [DONE]})
    worker = empty_yard.worker(CPU_SLOTS[:1])
    assert worker.drain(Onlooker())
    assert (asked.parent / "asked").read_text() == "True 1\n"
    assert len(worker.claims.ended.values()) == 2
    if problem:
        rejected = Result(state="failed", failure="rejected", reason=problem, epochs=0)
        assert [empty_yard.folder(name).read_result() for name in ("E1", "E2")] == [rejected, rejected]
        assert set(empty_yard.outcomes().values()) == {(RunState.FAILED, problem)}
        assert empty_yard.launcher.started == []
    else:
        assert empty_yard.launcher.started == ["E1", "E2"]


def test_a_full_disk_leaves_the_run_to_go_on_later_and_starts_nothing_more(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_SPACE], E2=[DONE], E3=[DONE])
    launcher.looks = {"E2": LONG}
    worker = yard.worker(CPU_SLOTS[:2])
    assert not worker.drain(Onlooker())
    full = "the disk is full; free some space, and it goes on from its last checkpoint"
    assert worker.problems == [f"{yard.ids['E1']}: {full}; nothing more was started"]
    assert yard.outcomes() == {
        "E1": (RunState.INTERRUPTED, full),
        "E2": (RunState.INTERRUPTED, STOPPED),
        "E3": (RunState.QUEUED, ""),
    }


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.launch.settle.WAITS_SECONDS", (0.0, 0.0))


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("status", [HELD, AWAY, UNKNOWN_STATUS, -signal.SIGKILL, -signal.SIGBUS])
def test_a_run_that_something_interrupted_is_tried_again_by_the_same_worker(
    build_yard: YardBuilder, status: int
) -> None:
    yard, launcher = build_yard(E1=[status, DONE], E2=[DONE])
    worker = yard.worker(CPU_SLOTS[:1])
    assert worker.drain(Onlooker())
    assert set(yard.outcomes().values()) == {(RunState.DONE, DONE.reason)}
    assert sorted(launcher.started) == ["E1", "E1", "E2"]
    assert len(worker.problems) == 1


@pytest.mark.usefixtures("no_waits")
def test_a_run_that_is_interrupted_again_and_again_without_an_epoch_is_left_to_a_person(
    build_yard: YardBuilder,
) -> None:
    yard, launcher = build_yard(E1=[AWAY, AWAY, AWAY], E2=[DONE])
    assert yard.worker(CPU_SLOTS[:1]).drain(Onlooker())
    state, reason = yard.outcomes()["E1"]
    assert state is RunState.INTERRUPTED
    assert reason.startswith("the system refused something that the job needs")
    assert launcher.started.count("E1") == 3


@pytest.mark.usefixtures("no_waits")
def test_what_keeps_a_job_from_being_started_for_a_moment_is_waited_for(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, launcher = build_yard(E1=[DONE])
    real, errors = launcher.start, [OSError(errno.ESTALE, os.strerror(errno.ESTALE), "train.log")]

    def start(*words: Any) -> ScriptedJob:
        if errors:
            raise errors.pop()
        return real(*words)

    monkeypatch.setattr(launcher, "start", start)
    worker = yard.worker()
    assert worker.drain(Onlooker())
    assert yard.outcomes()["E1"] == (RunState.DONE, DONE.reason)
    assert worker.problems == [f"{yard.ids['E1']}: it cannot be started: [Errno 116] Stale file handle: 'train.log'"]


def test_a_folder_that_cannot_be_read_for_a_moment_ends_no_job(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, _ = build_yard(E1=[DONE])
    real, errors = RunFolder.read_epochs, [OSError(errno.EIO, os.strerror(errno.EIO))]

    def read(folder: RunFolder) -> list[EpochRecord]:
        if errors:
            raise errors.pop()
        return real(folder)

    append_epoch(yard.folder("E1"), an_epoch())
    monkeypatch.setattr(RunFolder, "read_epochs", read)
    worker = yard.worker()
    assert worker.drain(Onlooker())
    assert yard.outcomes()["E1"] == (RunState.DONE, DONE.reason)
    assert worker.problems == [f"{yard.ids['E1']}: [Errno 5] Input/output error; its job goes on"]


def test_a_queue_that_breaks_lets_jobs_finish_their_epoch(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": LONG, "E2": LONG}

    def fail(*_: object) -> None:
        raise QueueError("knockout.db: the queue cannot be used: file is not a database")

    onlooker = Onlooker({6: lambda: monkeypatch.setattr(yard.store, "send_heartbeat", fail)})
    with pytest.raises(QueueError, match="not a database"):
        yard.worker().drain(onlooker)
    # Asked to stop, and not killed.
    assert [job.status for job in launcher.jobs] == [130, 130]


def test_a_result_that_this_version_cannot_read_is_left_to_a_person(build_yard: YardBuilder) -> None:
    yard, _ = build_yard(E1=[b'{"format": 9, "outcome": "fine"}'], E2=[DONE])
    worker = yard.worker()
    assert worker.drain(Onlooker())
    state, reason = yard.outcomes()["E1"]
    assert state is RunState.INTERRUPTED
    assert "result.json: this is no result of this version of Knockout" in reason
    assert worker.problems == [f"{yard.ids['E1']}: {reason}"]
    assert yard.outcomes()["E2"] == (RunState.DONE, DONE.reason)
    assert yard.folder("E1").result.read_bytes() == b'{"format": 9, "outcome": "fine"}'


@pytest.mark.parametrize("method", ["end", "claim", "send_heartbeat", "runs", "dismiss"])
def test_a_queue_that_is_locked_just_now_loses_nothing(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[DONE])
    locked = lock_once(monkeypatch, yard.store.workers if method == "dismiss" else yard.store, method)
    worker = yard.worker(CPU_SLOTS[:1])
    assert worker.drain(Onlooker())
    assert locked == [method]
    assert launcher.started == ["E1", "E2"]
    assert set(yard.outcomes().values()) == {(RunState.DONE, DONE.reason)}
    assert [row.id for row in worker.claims.ended.values()] == list(yard.ids.values())
    assert worker.problems == ["knockout.db: the queue cannot be used: database is locked"]
    yard.store.workers.dismiss(worker.claims.process)


def test_a_locked_queue_does_not_forget_a_run_that_was_refused(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, _ = build_yard(E1=[])
    reason = f"it cannot be started: {spoil_order(yard)}"
    lock_once(monkeypatch, yard.store, "end")
    assert yard.worker(names=["E1"]).drain(Onlooker())
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, reason)}


def test_a_locked_queue_lets_nobody_tell_of_a_second_try_twice(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY, NO_MEMORY])
    lock_once(monkeypatch, yard.store, "end")
    assert yard.worker().drain(Onlooker())
    assert launcher.started == ["E1", "E1"]
    assert yard.outcomes() == {"E1": (RunState.FAILED, f"at the second try, alone on its device: {NO_MEMORY.reason}")}


@pytest.mark.parametrize("method", ["close", "remove_leftovers"])
def test_a_worktree_that_git_does_not_let_go_of_stops_no_training(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse() -> None:
        raise CodeError("the worktree is locked")

    yard, _ = build_yard(E1=[DONE])
    worker = yard.worker()
    monkeypatch.setattr(worker.starter.checkouts, method, refuse)
    assert worker.drain(Onlooker())
    assert yard.outcomes() == {"E1": (RunState.DONE, DONE.reason)}
    assert worker.problems == ["the worktree is locked"]


def test_a_mistake_in_the_middle_leaves_no_job_and_no_claim_behind(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[DONE], E2=[NO_MEMORY])
    launcher.looks = {"E1": LONG}

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        yard.worker().drain(Onlooker({15: fail}))
    assert launcher.jobs[0].status == 130
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, AT_ONCE), "E2": (RunState.INTERRUPTED, WAITED)}


def test_a_mistake_between_claim_and_start_leaves_no_claim_behind(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[])
    with pytest.raises(IndexError):
        yard.worker().drain(Onlooker())
    assert launcher.jobs == []
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, AT_ONCE)}


def test_a_run_out_of_memory_is_tried_again_alone_while_others_wait(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY, DONE], E2=[DONE], E3=[DONE], E4=[DONE])
    assert yard.worker().drain(Onlooker())
    assert launcher.starts == [
        ("E1", "cpu0", []),
        ("E2", "cpu1", ["cpu0"]),
        ("E3", "cpu2", ["cpu0", "cpu1"]),
        ("E1", "cpu0", []),
        ("E4", "cpu0", []),
    ]
    assert set(yard.outcomes().values()) == {(RunState.DONE, "all epochs trained")}


def test_a_second_time_out_of_memory_settles_the_run_and_says_so(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY, NO_MEMORY], E2=[DONE])
    assert yard.worker().drain(Onlooker())
    assert launcher.started == ["E1", "E2", "E1"]
    reason = "at the second try, alone on its device: the job ran out of memory after epoch 1"
    result = yard.folder("E1").read_result()
    assert result == Result(state="failed", failure="out_of_memory", reason=reason, epochs=1)
    assert yard.outcomes() == {"E1": (RunState.FAILED, reason), "E2": (RunState.DONE, "all epochs trained")}


def test_two_runs_out_of_memory_are_tried_again_one_after_the_other(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY, DONE], E2=[NO_MEMORY, CRASHED])
    assert yard.worker().drain(Onlooker())
    assert launcher.starts[2:] == [("E1", "cpu0", []), ("E2", "cpu0", [])]
    assert yard.outcomes() == {"E1": (RunState.DONE, DONE.reason), "E2": (RunState.FAILED, CRASHED.reason)}


def test_a_second_try_that_cannot_be_started_gives_its_device_back(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY], E2=[DONE], E3=[DONE])
    launcher.looks = {"E2": 20}
    worker = yard.worker(CPU_SLOTS[:2])
    assert worker.drain(Onlooker({12: lambda: spoil_order(yard)}))
    assert launcher.started == ["E1", "E2", "E3"]
    assert [state for state, _ in yard.outcomes().values()] == [RunState.INTERRUPTED, RunState.DONE, RunState.DONE]
    assert len(worker.problems) == 1


def test_alone_on_a_gpu_leaves_the_other_gpus_to_others(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY, DONE], E2=[DONE], E3=[DONE], E4=[DONE], E5=[DONE], E6=[DONE])
    launcher.looks = {"E1": 40, "E2": 50, "E3": 90, "E4": 60, "E5": 120, "E6": 120}
    launcher.peak_bytes = GIB
    assert with_memory(yard.worker(GPU_SLOTS), 40 * GIB).drain(Onlooker())
    assert launcher.starts[4:] == [
        ("E5", "gpu1", ["gpu0", "gpu1"]),
        ("E6", "gpu1", ["gpu0", "gpu1"]),
        ("E1", "gpu0", ["gpu1", "gpu1"]),
    ]
    assert {state for state, _ in yard.outcomes().values()} == {RunState.DONE}


def with_memory(worker: Worker, free_bytes: int | None) -> Worker:
    """Let every GPU of a worker have so much free memory; None if NVML does not know."""
    worker.jobs.read_free_bytes = lambda slot: free_bytes
    return worker


ONE_GPU = GPU_SLOTS[::2]
RELATIVE = GuardSpec(relative_to_reference=2.0)


def test_two_jobs_share_a_gpu_once_the_first_has_told_its_memory(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(guards=RELATIVE, E1=[DONE], E2=[DONE])
    launcher.looks, launcher.peak_bytes = {"E1": 60}, GIB
    assert with_memory(yard.worker(ONE_GPU), 40 * GIB).drain(Onlooker())
    assert launcher.starts == [("E1", "gpu0", []), ("E2", "gpu0", ["gpu0"])]


@pytest.mark.parametrize(("peak_bytes", "free_bytes"), [(None, 40), (30, 30)])
def test_a_second_job_waits_for_the_end_of_the_first_without_its_word_or_without_room(
    build_yard: YardBuilder, peak_bytes: int | None, free_bytes: int
) -> None:
    yard, launcher = build_yard(guards=RELATIVE, E1=[DONE], E2=[DONE])
    launcher.looks = {"E1": 60}
    launcher.peak_bytes = None if peak_bytes is None else peak_bytes * GIB
    onlooker = Onlooker()
    assert with_memory(yard.worker(ONE_GPU), free_bytes * GIB).drain(onlooker)
    assert launcher.starts == [("E1", "gpu0", []), ("E2", "gpu0", [])]
    assert onlooker.told == []


def test_where_nvml_tells_no_memory_jobs_follow_each_other_and_that_is_said_once(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(guards=RELATIVE, E1=[DONE], E2=[DONE], E3=[DONE])
    launcher.looks, launcher.peak_bytes = {"E1": 60, "E2": 60}, GIB
    onlooker, worker = Onlooker(), with_memory(yard.worker(ONE_GPU), None)
    assert worker.drain(onlooker)
    assert launcher.starts == [("E1", "gpu0", []), ("E2", "gpu0", []), ("E3", "gpu0", [])]
    assert onlooker.told == ["NVML does not tell the free memory of GPU 0, so only one job at a time runs on it"]
    assert worker.problems == []


def test_a_run_with_a_limit_by_the_clock_waits_until_its_gpu_is_empty_and_keeps_it(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(guards=RELATIVE, E1=[DONE])
    yard.queue("E2", guards=GuardSpec(epoch_seconds=10.0))
    yard.queue("E3", guards=RELATIVE)
    launcher.ends.update(E2=[DONE], E3=[DONE])
    launcher.looks, launcher.peak_bytes = {"E1": 60, "E2": 60}, GIB
    assert with_memory(yard.worker(ONE_GPU), 40 * GIB).drain(Onlooker())
    assert launcher.starts == [("E1", "gpu0", []), ("E2", "gpu0", []), ("E3", "gpu0", [])]
    assert {state for state, _ in yard.outcomes().values()} == {RunState.DONE}


def test_a_run_that_waits_for_an_empty_gpu_can_go_on_after_an_interrupt(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(guards=RELATIVE, E1=[DONE])
    yard.queue("E2", guards=GuardSpec(epoch_seconds=10.0))
    launcher.ends.update(E2=[DONE])
    launcher.looks, launcher.peak_bytes = {"E1": LONG}, GIB
    assert not with_memory(yard.worker(ONE_GPU), 40 * GIB).drain(Onlooker({60: interrupt()}))
    assert launcher.started == ["E1"]
    assert yard.outcomes()["E2"] == (RunState.INTERRUPTED, AT_ONCE)


def test_a_second_try_that_is_interrupted_starts_again_on_its_own_gpu(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.settle.WAITS_SECONDS", (0.01,))
    yard, launcher = build_yard(guards=RELATIVE, E1=[NO_MEMORY, AWAY, DONE])
    assert yard.worker(GPU_SLOTS).drain(Onlooker())
    assert launcher.starts == [("E1", "gpu0", [])] * 3


def test_any_other_failure_is_not_tried_again(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[CRASHED])
    assert yard.worker().drain(Onlooker())
    assert len(launcher.starts) == 1
    assert yard.outcomes() == {"E1": (RunState.FAILED, CRASHED.reason)}


def test_an_interrupt_leaves_a_run_that_waits_for_its_second_try_to_go_on_later(build_yard: YardBuilder) -> None:
    yard, launcher = build_yard(E1=[NO_MEMORY], E2=[DONE])
    launcher.looks = {"E2": LONG}
    assert not yard.worker().drain(Onlooker({10: interrupt()}))
    assert yard.outcomes() == {"E1": (RunState.INTERRUPTED, WAITED), "E2": (RunState.INTERRUPTED, STOPPED)}
    assert yard.folder("E1").read_result() is None


def test_a_run_above_the_campaigns_own_memory_limit_is_not_tried_again(
    build_yard: YardBuilder, a_run: Callable[..., RunRecord]
) -> None:
    yard, launcher = build_yard(guards=GuardSpec(memory_bytes=1000), E1=[DONE])
    append_epoch(yard.folder("E1"), a_run(yard.plan, "E1", 0).epochs[0])
    assert yard.worker().drain(Onlooker())
    assert len(launcher.starts) == 1
    state, reason = yard.outcomes()["E1"]
    assert state is RunState.FAILED
    assert reason.startswith("epoch 1 held 0.001 GB of memory at its peak")


def test_a_slow_run_is_ruled_on_with_the_load_that_others_put_on_the_machine(
    build_yard: YardBuilder, a_run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], list[int]]] = []

    def find_load(slots: Sequence[Slot], own_pids: Sequence[int]) -> str:
        asked.append(([slot.name for slot in slots], list(own_pids)))
        return "load 5.2 for 2 jobs"

    monkeypatch.setattr("orchestrator.launch.start.find_other_load", find_load)
    limits = GuardSpec(epoch_seconds=0.5, warmup_epochs=1, slow_epochs=1)
    yard, _ = build_yard(guards=limits, E0=[DONE], E1=[DONE])
    for record in a_run(yard.plan, "E1", 0).epochs:
        append_epoch(yard.folder("E1"), record)
    assert yard.worker().drain(Onlooker())
    assert asked == [(["cpu0", "cpu1"], [os.getpid()] * 3)]
    assert yard.outcomes()["E1"] == (
        RunState.TOO_SLOW,
        "an epoch takes 1.00 s, the limit is 0.50 s; all of the last 2 epochs were slower, after 1 of warm-up; "
        "the machine was shared: load 5.2 for 2 jobs",
    )


class ToldProbe:
    """The place of two trainings that take turns: notes who they are, and says what it is told."""

    started: ClassVar[list[tuple[Side, Side, Slot, int]]] = []
    says = Measurement(arm_seconds=(2.2,) * SLOW_TURNS, reference_seconds=(1.0,) * SLOW_TURNS)
    num_closed = 0
    is_over = False

    def __init__(self, arm: Side, reference: Side, slot: Slot, paused_group: int) -> None:
        self.started.append((arm, reference, slot, paused_group))

    def measurement(self) -> Measurement:
        return self.says

    def close(self) -> None:
        type(self).num_closed += 1


@pytest.fixture
def told_probe(monkeypatch: pytest.MonkeyPatch) -> type[ToldProbe]:
    monkeypatch.setattr("orchestrator.launch.probing.PairedProbe", ToldProbe)
    monkeypatch.setattr("orchestrator.launch.start.find_other_load", lambda slots, pids: None)
    monkeypatch.setattr(ToldProbe, "started", [])
    monkeypatch.setattr(ToldProbe, "num_closed", 0)
    return ToldProbe


def build_suspect(build_yard: YardBuilder, a_run: Callable[..., RunRecord]) -> Yard:
    """Queue E0, which is done at once, and E1, whose epochs took four times as long; E0 is E1's last reference."""
    limits = GuardSpec(relative_to_reference=1.5, warmup_epochs=1, slow_epochs=2)
    yard, launcher = build_yard(guards=limits, E0=[DONE], E1=[DONE])
    launcher.looks["E1"] = LONG
    references = ("H2-s0-00000000", "E5-s0-00000000", yard.ids["E0"])
    write_order(yard.folder("E1"), msgspec.structs.replace(read_order(yard.folder("E1")), references=references))
    unreadable = RunFolder(yard.paths.runs / references[1])
    unreadable.path.mkdir()
    unreadable.epochs.write_text('{"epoch": 1}\n')
    for record in a_run(yard.plan, "E1", 0).epochs:
        append_epoch(yard.folder("E1"), record)
        append_epoch(yard.folder("E0"), msgspec.structs.replace(record, seconds=0.25))
    return yard


def test_a_slow_run_is_timed_on_its_slot_against_the_first_reference_that_has_come_far_enough(
    build_yard: YardBuilder, a_run: Callable[..., RunRecord], told_probe: type[ToldProbe]
) -> None:
    yard = build_suspect(build_yard, a_run)
    assert yard.worker().drain(Onlooker())
    state, reason = yard.outcomes()["E1"]
    assert state is RunState.TOO_SLOW
    assert reason.startswith("an epoch takes 2.2 s, 2.20 x the reference's 1 s")
    code = yard.paths.code_copy(TREE)
    arm, reference = (Side(yard.folder(name).config, code, PROBE) for name in ("E1", "E0"))
    ((*sides, slot, paused_groups),) = told_probe.started
    assert (sides, slot.name, paused_groups) == ([arm, reference], "cpu1", [os.getpid()])
    assert told_probe.num_closed == 1


def test_an_interrupt_while_a_run_is_timed_ends_the_probe_and_lets_the_run_finish_its_epoch(
    build_yard: YardBuilder,
    a_run: Callable[..., RunRecord],
    told_probe: type[ToldProbe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(told_probe, "says", Measurement())
    yard = build_suspect(build_yard, a_run)
    assert not yard.worker().drain(Onlooker({6: interrupt()}))
    assert yard.outcomes()["E1"] == (RunState.INTERRUPTED, STOPPED)
    assert told_probe.num_closed == len(told_probe.started) == 1


def test_a_second_interrupt_ends_the_probe_with_the_job(
    build_yard: YardBuilder,
    a_run: Callable[..., RunRecord],
    told_probe: type[ToldProbe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(told_probe, "says", Measurement())
    yard = build_suspect(build_yard, a_run)

    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert not yard.worker().drain(Onlooker({6: interrupt_twice}))
    assert yard.outcomes()["E1"] == (RunState.INTERRUPTED, AT_ONCE)
    assert told_probe.num_closed == len(told_probe.started) == 1


def test_runs_are_trained_with_the_code_and_the_guards_that_they_were_queued_with(
    study: Any, a_run: Callable[..., RunRecord], a_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.worker.POLL_SECONDS", 0.001)
    study.edit("profiles:", "guards: {memory_bytes: 1000}\nprofiles:")
    (run_id, *_) = study.add("baseline")
    study.edit("memory_bytes: 1000", "memory_bytes: 1000000000000")
    (study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
    append_epoch(study.paths.run(run_id), a_run(a_plan({}), "baseline", 0).epochs[0])
    launcher, store = ScriptedLauncher({"baseline": [DONE]}), open_store(study.paths)
    seen: list[str] = []
    monkeypatch.setattr(
        launcher, "close", lambda: seen.append((launcher.codes[0] / "model" / "__main__.py").read_text())
    )
    assert Worker(store, study.paths, CPU_SLOTS, launcher, EveryRun()).drain(Onlooker())
    (row,) = store.runs()
    store.close()
    assert seen == ["print('one')\n"]
    assert (row.state, row.failure) == (RunState.FAILED, "out_of_memory")
    assert list(study.paths.worktrees.iterdir()) == []


def test_a_mistake_in_the_middle_leaves_no_worktree_behind(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study.add("baseline")
    launcher, store = ScriptedLauncher({"baseline": [DONE]}), open_store(study.paths)
    launcher.looks = {"baseline": LONG}

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Worker(store, study.paths, CPU_SLOTS, launcher, EveryRun()).drain(Onlooker({1: fail}))
    store.close()
    assert len(launcher.codes) == 1
    assert list(study.paths.worktrees.iterdir()) == []


def test_a_second_interrupt_asks_nothing_of_a_queue_that_is_away(
    build_yard: YardBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of a silent database takes seconds: whoever interrupts twice must not wait for several."""
    yard, launcher = build_yard(E1=[DONE])
    launcher.looks = {"E1": LONG}
    calls: list[str] = []

    def away(name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            calls.append(name)
            if len(calls) == 3:
                interrupt()()
                interrupt()()
                calls.clear()
            raise QueueLockedError("the server is silent")

        return call

    def silence() -> None:
        for name in ("send_heartbeat", "runs", "claim", "end"):
            patches.setattr(yard.store, name, away(name))
        for name in ("dismiss", "list_living"):
            patches.setattr(yard.store.workers, name, away(name))

    with monkeypatch.context() as patches:
        worker = yard.worker()
        assert not worker.drain(Onlooker({4: silence}))
        assert len(calls) <= 1
    assert [job.status for job in launcher.jobs] == [-signal.SIGKILL]
    yard.store.workers.dismiss(worker.claims.process)
