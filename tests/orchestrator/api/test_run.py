"""`knockout run`: what is trained, and how often."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.api.queue import RunOptions
from orchestrator.api.report import Outcome
from orchestrator.api.run import run
from orchestrator.campaign.selection import Request
from orchestrator.errors import DataError, UsageError
from orchestrator.launch.loop import Feed
from orchestrator.processes import Process
from orchestrator.queue.store import Store
from orchestrator.runs.folder import Result
from orchestrator.runs.paths import Paths
from orchestrator.runs.probes import Measurement, Probe, append_probe
from orchestrator.runs.states import RunState
from tests.builders.results import write_done
from tests.orchestrator.conftest import build_plan

OUTCOME = Outcome(plan=build_plan({}), rows=[], judgements={}, report=Path("report.md"), notes=())


class EndingWorker:
    """A worker that ends the runs that wait as it is told for each try."""

    tries: ClassVar[list[list[str]]] = []

    def __init__(self, store: Store, paths: Paths, slots: int | None, feed: Feed, per_gpu: int) -> None:
        self.store, self.paths, self.ids, self.problems = store, paths, feed.ids(), [f"a word of try {len(self.tries)}"]

    def drain(self, observer: object) -> bool:
        self.tries.append([])
        while (claimed := self.store.claim(Process.own(), self.ids)) is not None:
            self.tries[-1].append(claimed.id.rpartition("-")[0])
            state = "too_slow" if claimed.id.startswith("E5-s0") else "done"
            folder = self.paths.run(claimed.id)
            if state == "done":
                write_done(folder)
            else:
                folder.write_result(Result(state=state, reason=f"it is {state}", epochs=1))
                said = {"measurement": Measurement(), "is_slow": True, "said": "an epoch takes too long"}
                append_probe(folder, Probe(epoch=1, paused_seconds=1.0, **said))
            assert self.store.end(claimed, RunState(state))
        return True


def test_a_slow_seed_that_another_contradicts_is_tried_again_once_by_the_same_command(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.train.build_worker", EndingWorker)
    monkeypatch.setattr(EndingWorker, "tries", [])
    request = Request(file=study.file, profile="quick", seeds=(0, 1), experiments=("E5",))
    monkeypatch.setattr("orchestrator.api.run.conclude", lambda study, plan, code, notes: OUTCOME)
    outcome = run(request, RunOptions())
    assert EndingWorker.tries == [["baseline-s0", "E5-s0", "baseline-s1", "E5-s1"], ["E5-s0"]]
    assert (outcome.num_trained, outcome.num_finished_before) == (4, 0)
    assert outcome.problems == ("a word of try 0", "a word of try 1")
    run(request, RunOptions())
    assert len(EndingWorker.tries) == 2


def test_more_slots_than_gpus_are_refused_before_anything_starts(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.launch.contention.count_gpus", lambda: 1)
    study.edit("experiments:\n", "guards: {wall_seconds: 10.0}\nexperiments:\n")
    with pytest.raises(
        UsageError, match=r"--slots 2 is more than the 1 GPU of this machine: .*`wall_seconds` is a lim"
    ):
        run(Request(file=study.file), RunOptions(slots=2))
    assert not study.paths.results.exists()


@pytest.mark.parametrize("options", [RunOptions(), RunOptions(until_decided=True)])
def test_without_a_gpu_a_profile_in_fp16_is_refused_before_captures_are_made(
    study: Any, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.plan.find_gpu_problem", lambda profile, others: f"{profile} needs a GPU")
    staging = "staging: {screen_seeds: 2, max_seeds: 3, confirm_seeds: 2}\n"
    study.edit("experiments:\n", f"{staging if options.until_decided else ''}experiments:\n")
    study.edit("  captures:\n", "  emulate: {seed: 1, packets: 6, samples: 8192}\n  captures:\n")
    shutil.rmtree(study.paths.root / "data")
    with pytest.raises(DataError, match="quick needs a GPU"):
        run(Request(file=study.file), options)
    assert not (study.paths.root / "data").exists()
