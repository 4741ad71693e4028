"""P-values of one family are adjusted together, each comparison once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.estimate import estimate_delta
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.pool import Pool
from orchestrator.stats.spread import Spread
from orchestrator.verdicts.comparisons import (
    Evidence,
    comparison,
    gather,
    pair_arms,
    spread_between,
)
from orchestrator.verdicts.family import adjust, contrast_of, distinct_p_values

SLOW = Result(state="too_slow", reason="an epoch takes 14.50 s, the limit is 10.00 s", epochs=3)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}},
    "K1": {"on": "H2", "change": {"model.depth": 4}},
    "null": {"control": "shuffled_labels"},
}
RunsOf = Callable[..., dict[str, RunRecord]]
Pairs = Callable[..., PairedDifferences]


def evidence_of(
    plan: Plan, spreads: Mapping[str, Spread], replicates: Spread | None = None, common_points2: float = 0.0
) -> Evidence:
    """What a campaign without a run would have gathered, with these spreads."""
    empty = gather(plan, {}, plan.campaign.judged)
    return replace(empty, pool=Pool(spreads=spreads, common_points2=common_points2), replicates=replicates)


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS)


class TestAdjusting:
    P_OF = {("E5", "LocD"): 0.01, ("H2", "LocD"): 0.03, ("K1", "LocD"): 0.03}

    def test_mirror_image_is_no_second_test(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(EXPERIMENTS, judging=JudgingSpec(correction="holm"))
        assert sorted(distinct_p_values(plan, self.P_OF).values()) == [0.01, 0.03]
        assert adjust(plan, self.P_OF, {})[comparison(plan, "E5"), "LocD"] == pytest.approx(2 * 0.01)

    @pytest.mark.parametrize(
        ("correction", "smaller"), [("holm", 0.04), ("benjamini_hochberg", 0.03), ("dunnett", 1 - 0.98**2)]
    )
    def test_correction_is_that_of_the_campaign(
        self, a_plan: Callable[..., Plan], correction: Any, smaller: float
    ) -> None:
        plan = a_plan(EXPERIMENTS, judging=JudgingSpec(correction=correction))
        p_of = {("E5", "LocD"): 0.02, ("H2", "LocD"): 0.03}
        # Dunnett's is counted at points, and a test without a contrast is independent of others.
        assert adjust(plan, p_of, {})[comparison(plan, "E5"), "LocD"] == pytest.approx(smaller, abs=0.0003)

    def test_nothing_to_adjust_is_nothing(self, plan: Plan) -> None:
        assert adjust(plan, {}, {}) == {}

    def test_unless_a_campaign_says_otherwise_it_is_dunnetts(self) -> None:
        assert JudgingSpec().correction == "dunnett"

    def test_contrast_is_the_weighted_sum_of_the_runs(self, a_plan: Callable[..., Plan], runs_of: RunsOf) -> None:
        plan = a_plan({name: {"change": {"model.depth": depth}} for name, depth in (("A", 2), ("B", 3), ("C", 5))})
        shares = {"baseline": [0.8, 0.82], "A": [0.81, 0.8], "B": [0.79, 0.83], "C": [0.7, 0.72]}
        evidence = gather(plan, runs_of(plan, shares), plan.campaign.judged)
        pairs = pair_arms(evidence, "A", "baseline")
        estimate = estimate_delta(pairs, spread_between(evidence, "A", "baseline", pairs))
        found = contrast_of(evidence, ("A", "LocD"), pairs, estimate)
        assert found.weights == {("A", 0): 0.5, ("A", 1): 0.5, ("baseline", 0): -0.5, ("baseline", 1): -0.5}
        assert found.error_points == estimate.error_points
        for arm, points2 in found.seed_points2.items():
            beyond = evidence.pool.spreads[arm].variance_points2 - evidence.table.item_points2[arm]
            assert points2 == pytest.approx(max(0.0, beyond))
