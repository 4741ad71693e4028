"""The table of verdicts on the terminal."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console

from orchestrator.api.run import Outcome
from orchestrator.campaign.plan import Plan
from orchestrator.cli.run import print_outcome
from orchestrator.runs.record import RunRecord
from orchestrator.stats.estimate import Estimate
from orchestrator.verdicts.judge import judge

EXPERIMENTS = {"E5": {"change": {"loss.kind": "focal"}}, "null": {"control": "shuffled_labels"}}
TOLD = Estimate(delta_points=1.0, low_points=0.5, high_points=1.5)
Printed = Callable[..., str]


@pytest.fixture
def printed(
    a_plan: Callable[..., Plan],
    runs_of: Callable[..., dict[str, RunRecord]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Printed:
    """What is printed of a campaign in which E5 improved, where fresh seeds say so."""
    plan = a_plan(EXPERIMENTS)
    judgements = judge(plan, runs_of(plan, {"baseline": 0.5, "E5": 0.9, "null": 0.1}))

    def text(fresh: Estimate | None = None, is_confirmed: bool | None = None, width: int = 120) -> str:
        monkeypatch.setattr("orchestrator.cli.run.OUT", Console(width=width))
        found = judgements | {"E5": structs.replace(judgements["E5"], fresh=fresh, is_confirmed=is_confirmed)}
        print_outcome(Outcome(plan=plan, rows=[], judgements=found, report=Path("report.md"), notes=()))
        return capsys.readouterr().out

    return text


@pytest.mark.parametrize(
    ("fresh", "is_confirmed", "verdict"),
    [
        (None, None, "improved"),
        (TOLD, True, "improved (confirmed)"),
        (TOLD, False, "improved (not confirmed)"),
        (Estimate(), None, "improved (to be confirmed)"),
        (Estimate(), False, "improved (to be confirmed)"),
    ],
)
def test_improvement_says_what_fresh_seeds_say(
    printed: Printed, fresh: Estimate | None, is_confirmed: bool | None, verdict: str
) -> None:
    (row,) = re.findall(r"^ E5 .*?(improved.*?) *$", printed(fresh, is_confirmed), re.MULTILINE)
    assert row == verdict


def test_narrow_terminal_cuts_nothing_off_a_verdict(printed: Printed) -> None:
    words = printed(TOLD, is_confirmed=False, width=70)
    folded = re.findall(r"^ E5 .*\n(?: {30}.*\n)*", words, re.MULTILINE)[0]
    assert " ".join(folded.split()).endswith("improved (not confirmed)")
    assert "…" not in words


def test_labels_without_meaning_have_an_accuracy_and_no_difference(printed: Printed) -> None:
    assert re.search(r"^ null +baseline +10\.0 +2 *$", printed(), re.MULTILINE)
