"""What becomes of branches and keepers after a judgement."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestrator.campaign import outdated_keepers, report
from orchestrator.evidence import RunRecord
from orchestrator.judgement import Judgement, Verdict
from orchestrator.plan import Plan
from orchestrator.study import Request, open_study
from orchestrator.verdicts import judge


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
    outcome = report(open_study(request), request)
    assert "since git cannot be run: there is no such program" in outcome.notes[0]
    assert outcome.report.is_file()
    assert set(outcome.judgements) == {"baseline", "E5", "H2"}
