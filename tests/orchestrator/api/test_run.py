"""What becomes of branches and keepers after a judgement."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import structs

from model.train.run_folder import Result
from orchestrator.api.queue import RunOptions
from orchestrator.api.run import Outcome, outdated_keepers, report, run
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.launch.loop import Feed
from orchestrator.processes import Process
from orchestrator.queue.store import Store
from orchestrator.runs.paths import Paths
from orchestrator.runs.probes import Measurement, Probe, append_probe
from orchestrator.runs.record import RunRecord
from orchestrator.runs.states import RunState
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Judgement, Verdict
from tests.builders.results import write_done
from tests.orchestrator.conftest import build_plan

OUTCOME = Outcome(plan=build_plan({}), rows=[], judgements={}, report=Path("report.md"), notes=())


class EndingWorker:
    """A worker that ends the runs that wait as it is told for each try."""

    tries: ClassVar[list[list[str]]] = []

    def __init__(self, store: Store, paths: Paths, slots: int | None, feed: Feed) -> None:
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
    monkeypatch.setattr("orchestrator.api.run.build_worker", EndingWorker)
    monkeypatch.setattr(EndingWorker, "tries", [])
    request = Request(file=study.file, profile="quick", seeds=(0, 1), experiments=("E5",))
    monkeypatch.setattr("orchestrator.api.run.conclude", lambda study, plan, code, notes: OUTCOME)
    outcome = run(open_campaign(request), RunOptions(), object())
    assert EndingWorker.tries == [["baseline-s0", "E5-s0", "baseline-s1", "E5-s1"], ["E5-s0"]]
    assert (outcome.num_trained, outcome.num_finished_before) == (4, 0)
    assert outcome.problems == ("a word of try 0", "a word of try 1")
    run(open_campaign(request), RunOptions(), object())
    assert len(EndingWorker.tries) == 2


@pytest.fixture
def judgement(a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]) -> Judgement:
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    return judge(plan, runs_of(plan, {"baseline": [0.8, 0.81], "E5": [0.9, 0.92]}))["E5"]


def test_a_keeper_that_is_judged_otherwise_by_now_is_named_with_the_command_that_removes_it(
    judgement: Judgement,
) -> None:
    now = structs.replace(judgement, verdict=Verdict.NO_CHANGE)
    assert outdated_keepers({"E5": "c0de", "H2": "c0de"}, {"E5": now}) == [
        "keeper/E5 is a tag of an earlier verdict, which is no_change now: `git tag -d keeper/E5`"
    ]


@pytest.mark.parametrize("verdict", [Verdict.IMPROVED, Verdict.PENDING, Verdict.NEEDS_SEEDS])
def test_a_keeper_that_still_stands_or_cannot_be_told_is_left_alone(judgement: Judgement, verdict: Verdict) -> None:
    assert outdated_keepers({"E5": "c0de"}, {"E5": structs.replace(judgement, verdict=verdict)}) == []


def test_a_report_needs_no_git(study: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what trains or keeps code needs it: results are judged on a machine without."""
    study.end(study.start("baseline"), "too_slow")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    request = Request(file=study.file, profile="quick", seeds=(0,))
    outcome = report(open_campaign(request), request)
    assert "since git cannot be run: there is no such program" in outcome.notes[0]
    assert outcome.report.is_file()
    assert set(outcome.judgements) == {"baseline", "E5", "H2"}
