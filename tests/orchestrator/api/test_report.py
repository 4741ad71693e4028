"""What a report judges, and which keepers it names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestrator.api.report import Outcome, note_looks, outdated_keepers, queue_rows, report, verdict_row
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request
from orchestrator.campaign.spec import StagingSpec
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Judgement, Verdict
from tests.orchestrator.conftest import build_plan


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
    outcome = report(request)
    assert "since git cannot be run: there is no such program" in outcome.notes[0]
    assert outcome.report.is_file()
    assert set(outcome.judgements) == {"baseline", "E5", "H2"}


def test_a_row_of_the_table_has_the_numbers_of_its_judgement(judgement: Judgement) -> None:
    row = verdict_row(build_plan({}).campaign.judged, "E5", judgement)
    assert (row.reference, row.num_seeds, row.verdict) == ("baseline", 2, judgement.verdict)
    assert row.score == pytest.approx(91.0)
    assert row.delta_points == pytest.approx(10.5)
    assert row.interval_points == judgement.interval_points


def test_where_no_run_has_ended_every_verdict_is_pending(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    outcome = Outcome(plan=plan, rows=[], judgements=judge(plan, {}), report=Path("report.md"), notes=())
    found = [(row.experiment, row.verdict, row.num_seeds, row.delta_points) for row in outcome.verdict_rows]
    assert found == [("baseline", "pending", 0, None), ("E5", "pending", 0, None)]


def test_rows_of_other_runs_are_not_of_the_plan(study: Any, a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({})
    run_id = study.queue(plan.run_of["baseline", 1])
    study.queue("E9-s0-1")
    assert [row.id for row in queue_rows(study.paths, plan)] == [run_id]


class TestLookingAgain:
    """A verdict that was shown at fewer seeds before."""

    @staticmethod
    def judge_at(seeds: int, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]) -> Any:
        plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}}, seeds=tuple(range(seeds)))
        scores = {"baseline": [0.8, 0.81, 0.79][:seeds], "E5": [0.9, 0.92, 0.91][:seeds]}
        return plan, judge(plan, runs_of(plan, scores))

    def test_a_verdict_says_at_how_many_seeds_it_was_shown(
        self, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]], tmp_path: Path
    ) -> None:
        found = [
            note_looks(Paths(tmp_path), *self.judge_at(seeds, a_plan, runs_of), ["E5"])["E5"] for seeds in (2, 2, 3)
        ]
        assert [judgement.looks for judgement in found] == [(2,), (2,), (2, 3)]
        assert [bool(judgement.looks_sentence) for judgement in found] == [False, False, True]
        assert found[2].verdict == self.judge_at(3, a_plan, runs_of)[1]["E5"].verdict

    def test_what_has_no_test_is_no_look(
        self, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]], tmp_path: Path
    ) -> None:
        found = note_looks(Paths(tmp_path), *self.judge_at(1, a_plan, runs_of), ["baseline", "E5"])
        assert [judgement.looks for judgement in found.values()] == [(), ()]
        assert not Paths(tmp_path).looks.exists()

    def test_with_staging_nothing_is_counted(
        self, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]], tmp_path: Path
    ) -> None:
        plan, judgements = self.judge_at(2, a_plan, runs_of)
        staged = structs.replace(plan, campaign=structs.replace(plan.campaign, staging=StagingSpec()))
        assert note_looks(Paths(tmp_path), staged, judgements, ["E5"]) == {"E5": judgements["E5"]}
        assert not Paths(tmp_path).looks.exists()
