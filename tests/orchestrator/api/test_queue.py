"""What is queued, in which order, and that what was queued stays what it was."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.api import queue as api_queue
from orchestrator.api.queue import Queued, RunOptions, add, planned_rows, refuse_impossible
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import CodeError, DataError
from orchestrator.launch.provenance import write_provenance
from orchestrator.launch.slots import Slot
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.folder import Result
from orchestrator.runs.order import Order, read_order
from orchestrator.runs.probes import Measurement, Probe, append_probe
from orchestrator.runs.states import RunState

PATCH = """\
--- a/model/__main__.py
+++ b/model/__main__.py
@@ -1 +1 @@
-print('one')
+print('{word}')
"""
WITH_PATCHES = """\
  P1: {title: Fits, group: code, hypothesis: Why., patch: fits.patch}
  P2: {title: Does not fit, group: code, hypothesis: Why., patch: misses.patch}
"""
StudyFolder = Any
"""That of conftest.py."""


class Queue:
    """Queues experiments of a study, and reads the queue."""

    def __init__(self, study: StudyFolder) -> None:
        self.study, self.paths = study, study.paths
        self.store: Store = open_store(study.paths)

    def open(self, *experiments: str, seeds: tuple[int, ...] = (0,)) -> Selection:
        return open_campaign(Request(file=self.study.file, profile="quick", seeds=seeds, experiments=experiments))

    def add(self, *experiments: str, seeds: tuple[int, ...] = (0,), **options: bool) -> Queued:
        return add(self.open(*experiments, seeds=seeds), self.store, RunOptions(**options))

    def rows(self) -> list[QueuedRun]:
        return self.store.runs()

    def states(self) -> dict[str, RunState]:
        return {short(row.id): row.state for row in self.rows()}

    def id_of(self, name: str) -> str:
        return next(row.id for row in self.rows() if short(row.id) == name)

    def order(self, name: str) -> Order:
        return read_order(self.paths.run(self.id_of(name)))

    def claim(self, name: str) -> QueuedRun:
        claimed = self.store.claim(Process.own(), [self.id_of(name)])
        assert claimed is not None
        return claimed

    def end(self, name: str, state: str = "done", failure: str | None = None) -> str:
        """Let a worker train a run to its end; return its id."""
        claimed = self.claim(name)
        self.study.end(claimed.id, state, failure)
        assert self.store.end(claimed, RunState(state), f"it is {state}", failure)
        return claimed.id


def short(run_id: str) -> str:
    return run_id.rpartition("-")[0]


@pytest.fixture
def queue(study: StudyFolder) -> Iterator[Queue]:
    queue = Queue(study)
    yield queue
    queue.store.close()


@pytest.fixture
def patched(queue: Queue) -> Queue:
    """A study with two patches, of which only the first fits the code."""
    root = queue.paths.root
    (root / "fits.patch").write_text(PATCH.format(word="two"))
    (root / "misses.patch").write_text(PATCH.format(word="three").replace("-print('one')", "-print('nought')"))
    queue.study.file.write_text(queue.study.file.read_text() + WITH_PATCHES)
    queue.study.commit()
    return queue


def test_runs_wait_seed_by_seed_with_references_first(queue: Queue) -> None:
    queued = queue.add("H2", seeds=(0, 1))
    assert [short(row.id) for row in queue.rows()] == ["baseline-s0", "E5-s0", "H2-s0", "baseline-s1", "E5-s1", "H2-s1"]
    assert {row.state for row in queue.rows()} == {RunState.QUEUED}
    assert {row.profile for row in queue.rows()} == {"quick"}
    assert queued.ids == tuple(row.id for row in queue.rows())
    assert (queued.finished, queued.rejected) == (frozenset(), {})
    stamps = [queue.order(short(run_id)).queued for run_id in queued.ids]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == len(stamps)


def test_what_is_added_later_waits_behind_what_waits_already(queue: Queue) -> None:
    queue.add("E5", seeds=(1,))
    queue.add("E5", seeds=(0, 1))
    assert [short(row.id) for row in queue.rows()] == ["baseline-s1", "E5-s1", "baseline-s0", "E5-s0"]


def test_law_1_adding_twice_changes_nothing(queue: Queue) -> None:
    """The same spec gives the same ids."""
    first = queue.add("E5", seeds=(0, 1))
    rows = queue.rows()
    before = {path: path.read_bytes() for path in queue.paths.runs.rglob("*.json")}
    branches = queue.study.git("branch", "--list")
    second = queue.add("E5", seeds=(0, 1))
    assert second.ids == first.ids
    assert queue.rows() == rows
    assert {path: path.read_bytes() for path in queue.paths.runs.rglob("*.json")} == before
    assert queue.study.git("branch", "--list") == branches


def test_a_run_folder_holds_all_that_is_needed_to_start_it_later(queue: Queue) -> None:
    (run_id,) = queue.add("baseline").ids
    folder, order = queue.paths.run(run_id), queue.order("baseline-s0")
    assert {file.name for file in folder.path.iterdir()} == {"config.json", "order.json"}
    assert folder.read_config().experiment == "baseline"
    assert run_id.endswith(order.identity[:8])
    assert order.run == run_id
    assert set(order.files) == {"data/LocA.h5", "data/LocB.h5", "data/LocD.h5"}
    assert order.code.commit == queue.study.git("rev-parse", str(order.code.branch))
    assert order.code.base_commit == queue.study.git("rev-parse", "HEAD")
    assert not order.code.is_own


def test_a_run_is_as_fast_as_its_reference_or_failing_that_as_the_baseline(queue: Queue) -> None:
    queue.add("H2", seeds=(0, 1))
    references = {name: [short(run) for run in queue.order(name).references] for name in queue.states()}
    assert references["baseline-s1"] == []
    assert references["E5-s0"] == ["baseline-s0", "baseline-s1"]
    assert references["H2-s1"] == ["E5-s0", "E5-s1", "baseline-s0", "baseline-s1"]


def test_what_was_queued_is_what_is_trained_whatever_is_edited_afterwards(queue: Queue) -> None:
    queue.study.edit("profiles:", "guards: {epoch_seconds: 10}\nprofiles:")
    queue.study.commit()
    queue.add("E5")
    order = queue.order("E5-s0")
    before = {path: path.read_bytes() for path in queue.paths.runs.rglob("*.json")}
    queue.study.edit("epoch_seconds: 10", "epoch_seconds: 99")
    queue.study.edit("loss.gamma: 2.0", "loss.gamma: 5.0")
    (queue.paths.root / "model" / "__main__.py").write_text("print('two')\n")
    queue.study.commit()
    queue.add("E5")
    assert len(queue.rows()) == 4
    assert {path: path.read_bytes() for path in before} == before
    assert order.guards.epoch_seconds == 10
    assert json.loads(queue.paths.run(order.run).config.read_text())["params"]["loss"]["gamma"] == 2.0
    checkouts = Checkouts(queue.paths)
    assert (checkouts.open("E5", order.code) / "model" / "__main__.py").read_text() == "print('one')\n"
    checkouts.close()


def test_what_has_a_result_is_not_queued(queue: Queue) -> None:
    queue.add("baseline")
    run_id = queue.end("baseline-s0")
    before = queue.paths.run(run_id).order.read_bytes()
    queued = queue.add("E5")
    assert queued.finished == {run_id}
    assert queue.states() == {"baseline-s0": RunState.DONE, "E5-s0": RunState.QUEUED}
    assert queue.paths.run(run_id).order.read_bytes() == before


def test_where_all_have_results_model_is_asked_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add("baseline")
    queue.end("baseline-s0")
    monkeypatch.setattr(api_queue, "refuse_impossible", lambda study: pytest.fail("it was asked"))
    assert len(queue.add("baseline").finished) == 1


def test_a_result_that_the_queue_does_not_know_is_taken_over(queue: Queue) -> None:
    (run_id,) = queue.add("baseline").ids
    queue.study.end(run_id, "failed", "diverged")
    queue.add("baseline")
    (row,) = queue.rows()
    assert (row.state, row.reason, row.failure) == (RunState.FAILED, "it is failed", "diverged")


@pytest.mark.parametrize("state", ["done", "too_slow", "failed"])
def test_a_row_that_says_ended_about_a_folder_without_a_result_waits_again(queue: Queue, state: str) -> None:
    queue.add("baseline")
    run_id = queue.end("baseline-s0", state)
    queue.paths.run(run_id).result.unlink()
    assert queue.add("baseline").finished == frozenset()
    assert queue.states() == {"baseline-s0": RunState.QUEUED}


def test_a_waiting_run_whose_order_is_gone_gets_one_again(queue: Queue) -> None:
    (run_id,) = queue.add("baseline").ids
    queue.paths.run(run_id).order.unlink()
    queue.add("baseline")
    assert queue.order("baseline-s0").run == run_id


def test_what_was_interrupted_or_cancelled_waits_again(queue: Queue) -> None:
    queue.add("E5")
    assert queue.store.end(queue.claim("baseline-s0"), RunState.INTERRUPTED, "stopped")
    assert queue.store.move(queue.id_of("E5-s0"), RunState.QUEUED, RunState.CANCELLED)
    queue.add("E5")
    assert queue.states() == {"baseline-s0": RunState.QUEUED, "E5-s0": RunState.QUEUED}


def test_a_run_under_way_is_left_alone(queue: Queue) -> None:
    queue.add("baseline")
    claimed = queue.claim("baseline-s0")
    before = queue.paths.run(claimed.id).order.read_bytes()
    queue.study.edit("profiles:", "guards: {epoch_seconds: 10}\nprofiles:")
    queue.add("baseline")
    assert queue.rows() == [claimed]
    assert queue.paths.run(claimed.id).order.read_bytes() == before


def test_adding_a_waiting_run_again_gives_it_the_guards_of_now(queue: Queue) -> None:
    queue.add("baseline")
    queue.study.edit("profiles:", "guards: {epoch_seconds: 10}\nprofiles:")
    queue.add("baseline")
    assert queue.order("baseline-s0").guards.epoch_seconds == 10


def test_a_failed_run_is_trained_again_only_where_that_is_asked_for(queue: Queue) -> None:
    queue.add("E5")
    failed, done = queue.end("baseline-s0", "failed", "crashed"), queue.end("E5-s0")
    assert queue.add("E5").finished == {failed, done}
    assert queue.states()["baseline-s0"] is RunState.FAILED
    assert queue.add("E5", retry=True).finished == {done}
    assert queue.states() == {"E5-s0": RunState.DONE, "baseline-s0": RunState.QUEUED}
    assert not queue.paths.run(failed).result.exists()


def note_ruling(queue: Queue, run_id: str) -> None:
    """Note that a probe has ruled a run too slow."""
    slow = Probe(epoch=1, paused_seconds=1.0, measurement=Measurement(), is_slow=True, said="an epoch takes too long")
    append_probe(queue.paths.run(run_id), slow)


def test_a_run_that_a_probe_ruled_too_slow_against_another_seed_is_tried_again_once(queue: Queue) -> None:
    queue.add("E5", seeds=(0, 1))
    slow, done = queue.end("E5-s0", "too_slow"), queue.end("E5-s1")
    note_ruling(queue, slow)
    order = queue.order("E5-s0")
    assert queue.add("E5", seeds=(0, 1)).finished == {done}
    assert queue.states()["E5-s0"] is RunState.QUEUED
    assert queue.paths.run(slow).read_result() is None
    assert queue.order("E5-s0").identity == order.identity
    queue.end("E5-s0", "too_slow")
    note_ruling(queue, slow)
    assert queue.add("E5", seeds=(0, 1)).finished == {slow, done}
    assert queue.states()["E5-s0"] is RunState.TOO_SLOW


def test_runs_that_were_too_slow_at_every_seed_or_by_no_probe_are_not_tried_again(queue: Queue) -> None:
    queue.add("E5", seeds=(0, 1))
    for name in ("E5-s0", "E5-s1", "baseline-s0"):
        slow = queue.end(name, "too_slow")
        if name.startswith("E5"):
            note_ruling(queue, slow)
    queue.end("baseline-s1")
    assert len(queue.add("E5", seeds=(0, 1)).finished) == 4


def refuse_code(*_: object, **__: object) -> None:
    raise CodeError("git refuses the branch")


def refuse_data(*_: object) -> None:
    raise DataError("E5: heads 3 do not divide 64")


@pytest.mark.parametrize(
    ("name", "refuse"),
    [("refuse_impossible", refuse_data), ("find_code", refuse_code), ("Placing.order_of", refuse_code)],
)
def test_where_something_is_refused_nothing_is_queued_and_failures_stay_on_record(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, name: str, refuse: Callable[..., None]
) -> None:
    queue.add("baseline")
    failed = queue.end("baseline-s0", "failed", "crashed")
    rows = queue.rows()
    monkeypatch.setattr(f"orchestrator.api.queue.{name}", refuse)
    with pytest.raises((CodeError, DataError), match=r"git refuses the branch|heads 3 do not divide 64"):
        queue.add("H2", retry=True)
    assert queue.rows() == rows
    assert [folder.name for folder in queue.paths.runs.iterdir()] == [failed]
    assert queue.paths.run(failed).result.exists()


def test_code_that_is_refused_rejects_its_runs_with_gits_words_and_the_others_wait(patched: Queue) -> None:
    queued = patched.add("P1", "P2", seeds=(0, 1))
    assert set(queued.rejected) == {"P2"}
    assert "misses.patch" in queued.rejected["P2"]
    assert "model/__main__.py" in queued.rejected["P2"]
    assert queued.finished == {patched.id_of("P2-s0"), patched.id_of("P2-s1")}
    assert {name for name, state in patched.states().items() if state is RunState.QUEUED} == {
        "baseline-s0", "baseline-s1", "P1-s0", "P1-s1"
    }  # fmt: skip
    rejected = Result(state="failed", failure="rejected", reason=queued.rejected["P2"], epochs=0)
    rows = {row.id: row for row in patched.rows()}
    for run_id in queued.finished:
        assert patched.paths.run(run_id).read_result() == rejected
        assert (rows[run_id].state, rows[run_id].reason, rows[run_id].failure) == (
            RunState.FAILED,
            rejected.reason,
            "rejected",
        )


def test_code_of_its_own_is_in_the_order(patched: Queue) -> None:
    patched.add("P1")
    own, plain = patched.order("P1-s0").code, patched.order("baseline-s0").code
    assert own.is_own
    assert own.tree != plain.tree
    assert own.changes == ("model/__main__.py (+1 -1)",)
    checkouts = Checkouts(patched.paths)
    assert (checkouts.open("P1", own) / "model" / "__main__.py").read_text() == "print('two')\n"
    checkouts.close()


def test_a_patch_that_was_mended_is_another_run(patched: Queue) -> None:
    (refused,) = patched.add("P2").finished
    (patched.paths.root / "misses.patch").write_text(PATCH.format(word="three"))
    patched.study.commit()
    queued = patched.add("P2")
    assert queued.rejected == {}
    assert refused not in queued.ids


def test_outside_a_repository_code_of_its_own_is_rejected_and_the_rest_waits(patched: Queue) -> None:
    (patched.paths.root / ".git").rename(patched.paths.root.parent / "moved.git")
    queued = patched.add("P1")
    assert "needs a git repository around" in queued.rejected["P1"]
    assert patched.states() == {"baseline-s0": RunState.QUEUED, "P1-s0": RunState.FAILED}
    assert patched.order("baseline-s0").code.commit is None
    assert any("a copy of" in note for note in queued.notes)


def test_a_run_that_goes_on_after_it_was_queued_again_keeps_its_provenance(queue: Queue) -> None:
    (run_id,) = queue.add("baseline").ids
    folder = queue.paths.run(run_id)
    write_provenance(folder, queue.order("baseline-s0"), queue.paths.root, Slot("cpu0", {}))
    before = folder.provenance.read_bytes()
    queue.add("baseline")
    write_provenance(folder, queue.order("baseline-s0"), queue.paths.root, Slot("cpu1", {}))
    assert folder.provenance.read_bytes() == before


def test_the_rows_of_a_plan_wait_in_its_order(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"E5": {"change": {"optim.clip_norm": 2.0}}})
    rows = planned_rows(plan)
    assert [row.id for row in rows] == [run.id for run in plan.runs]
    assert {(row.experiment, row.seed) for row in rows} == set(plan.run_of)
    assert {row.state for row in rows} == {RunState.QUEUED}


def test_configurations_that_this_machine_cannot_compile_are_refused(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(DataError, match=r"baseline, E5, H2: `runtime.compile: true` cannot work here"):
        refuse_impossible(open_campaign(Request(file=study.file)))
