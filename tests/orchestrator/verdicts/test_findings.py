"""Everything that a report says is worked out once, and tables and words read the same."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.report import tables
from orchestrator.report.write import write_report
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts import claims, comparisons, controls, findings, interactions, judge, ledger, staged
from orchestrator.verdicts.findings import Findings, judge_all

REPORTED = {"accuracy": 85.0, "delta": 1.0, "versus": "baseline"}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "A": {"change": {"loss.kind": "focal"}, "reported": REPORTED},
    "B": {"change": {"model.depth": 2}, "reported": {"delta": 2.0}},
    "C": {"change": {"augment.roll": {}}},
    "D": {"change": {"loss.label_smoothing": 0.1}},
}
PAIRS = (("A", "B"), ("A", "D"), ("B", "D"))
OUTCOMES = {name: [0.8, 0.82] for name in ("baseline", *EXPERIMENTS)}
ONCE = (
    (claims, "audit"),
    (claims, "find_protocol"),
    (claims, "judge_claims"),
    (interactions, "judge_interactions"),
    (interactions, "gather"),
    (ledger, "list_scorings"),
    (controls, "false_verdicts"),
    (controls, "shuffled_labels"),
    (controls, "contributions"),
    (tables, "claims_table"),
    (tables, "audit_table"),
)
A_PART = ((ledger, "seed_scores"),)
"""Called once an arm."""
Counts = Counter[str]


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS, interactions=PAIRS)


@pytest.fixture
def records(plan: Plan, runs_of: Callable[..., dict[str, RunRecord]]) -> dict[str, RunRecord]:
    return runs_of(plan, OUTCOMES)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Count the calls of everything that a report needs once, through whichever module."""
    counts: Counts = Counter()

    def count(module: Any, name: str) -> None:
        original = getattr(module, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            counts[name] += 1
            return original(*arguments, **named)

        for user in (module, findings):
            if hasattr(user, name):
                monkeypatch.setattr(user, name, counted)

    for module, name in (*ONCE, *A_PART, (judge, "gather")):
        count(module, name)
    return counts


def test_one_whole_report_works_everything_out_once(
    plan: Plan, records: dict[str, RunRecord], calls: Counts, tmp_path: Path
) -> None:
    judgements = judge.judge(plan, records)
    assert calls == {"gather": 1}
    write_report(judge_all(plan, records, judgements), Paths(tmp_path))
    assert {name: calls[name] for _, name in ONCE} == {name: 1 for _, name in ONCE} | {"gather": 2}
    assert calls["seed_scores"] == len(plan.arms)


def test_spreads_are_pooled_once_for_all_pairs_that_end_at_one_look(
    a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]], calls: Counts
) -> None:
    staging = StagingSpec(screen_seeds=2, max_seeds=3, confirm_seeds=2)
    plan = a_plan(EXPERIMENTS, interactions=PAIRS, staging=staging, seeds=staging.all_seeds((0, 1)))
    records = runs_of(plan, OUTCOMES)
    judged, judgements = staged.judge_as_declared(plan, records)
    calls.clear()
    found = judge_all(judged, records, judgements)
    assert len(found.interactions) == len(judged.interactions)
    assert len(judged.interactions) >= len(PAIRS)
    assert calls["gather"] == 1


def test_without_judgements_the_plan_is_judged_as_its_campaign_declares(
    plan: Plan, records: dict[str, RunRecord]
) -> None:
    assert judge_all(plan, records) == judge_all(plan, records, judge.judge(plan, records))


def test_what_is_known_of_each_arm_is_in_the_findings(plan: Plan, records: dict[str, RunRecord]) -> None:
    found = judge_all(plan, records)
    assert list(found.judgements) == list(found.seed_scores) == list(plan.arms)
    assert [claim.experiment for claim in found.claims.audited] == ["A", "B"]
    assert set(found.claims.agreement_of) == {"A", "B"}
    assert len(found.scorings) == len(records)


def test_a_part_of_a_campaign_keeps_the_judgements_of_the_whole(plan: Plan, records: dict[str, RunRecord]) -> None:
    handed_in = {
        name: structs.replace(judgement, num_compared=44) for name, judgement in judge.judge(plan, records).items()
    }
    found: Findings = judge_all(plan, records, handed_in)
    assert found.judgements is handed_in
    assert comparisons.configuration(found.plan, "A") == "A"
