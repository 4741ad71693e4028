"""What is compared with what: by these functions verdicts are reached, and worked out again."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from model.run_folder import Result
from orchestrator import comparisons
from orchestrator.comparisons import (
    accuracies_of,
    adjust,
    comparison,
    configuration,
    distinct_p_values,
    outcomes_of,
    pair_runs,
    score_table,
    spread_between,
)
from orchestrator.evidence import RunRecord
from orchestrator.plan import Plan
from orchestrator.spec import JudgingSpec
from orchestrator.variance import Spread

SLOW = Result(state="too_slow", reason="an epoch takes 14.50 s, the limit is 10.00 s", epochs=3)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}},
    "K1": {"on": "H2", "change": {"model.depth": 4}},
    "null": {"control": "shuffled_labels"},
}
RunsOf = Callable[..., dict[str, RunRecord]]


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS)


class TestRuns:
    def test_only_those_that_are_done_have_outcomes_and_an_accuracy(self, plan: Plan, runs_of: RunsOf) -> None:
        runs = comparisons.runs_of(plan, runs_of(plan, {"E5": [0.8, SLOW]}), "E5")
        assert (list(runs), list(outcomes_of(runs, "LocD")), accuracies_of(runs, "LocD")) == ([0, 1], [0], {0: 80.0})

    def test_one_that_is_not_there_is_none_and_never_zero(self, plan: Plan) -> None:
        runs = comparisons.runs_of(plan, {}, "E5")
        assert runs == {0: None, 1: None}
        assert (outcomes_of(runs, "LocD"), accuracies_of(runs, "LocD")) == ({}, {})

    def test_capture_that_was_not_scored_has_none(self, plan: Plan, runs_of: RunsOf) -> None:
        runs = comparisons.runs_of(plan, runs_of(plan, {"E5": 0.8}), "E5")
        assert (outcomes_of(runs, "LocC"), accuracies_of(runs, "LocC")) == ({}, {})

    def test_seeds_are_those_of_the_campaign(self, plan: Plan, runs_of: RunsOf) -> None:
        records = runs_of(plan, {"E5": [0.8, 0.9]})
        late = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=(1,)))
        assert accuracies_of(comparisons.runs_of(late, records, "E5"), "LocD") == {1: pytest.approx(90.0)}

    def test_sides_are_joined_where_both_were_scored(self, plan: Plan, runs_of: RunsOf) -> None:
        records = runs_of(plan, {"baseline": 0.8, "E5": [0.84, SLOW]})
        pairs = pair_runs(*(comparisons.runs_of(plan, records, name) for name in ("E5", "baseline")), "LocD")
        assert (pairs.seeds, pairs.dropped_seeds) == ((0,), (1,))
        assert pairs.delta_points_by_seed == pytest.approx([4.0])


class TestConfigurations:
    def test_twin_goes_by_the_first_of_its_configuration(self, plan: Plan) -> None:
        assert [configuration(plan, name) for name in ("E5", "H2", "K1")] == ["E5", "H2", "E5"]

    def test_comparison_and_its_mirror_image_are_one(self, plan: Plan) -> None:
        assert comparison(plan, "H2") == comparison(plan, "K1") == {"E5", "H2"}
        assert comparison(plan, "E5") == {"baseline", "E5"}

    def test_scores_hold_each_configuration_once_and_no_model_of_labels_without_meaning(
        self, plan: Plan, runs_of: RunsOf
    ) -> None:
        records = runs_of(plan, {"baseline": 0.8, "E5": [0.84, 0.86], "H2": [0.85, None], "null": 0.1})
        scores, num_bursts = score_table(plan, records)
        assert {name: len(of) for name, of in scores.items()} == {"baseline": 2, "E5": 2, "H2": 1}
        assert (scores["E5"], num_bursts) == ({0: pytest.approx(84.0), 1: pytest.approx(86.0)}, 200)

    def test_campaign_without_a_score_has_one_burst_to_round_to(self, plan: Plan) -> None:
        assert score_table(plan, {}) == ({"baseline": {}, "E5": {}, "H2": {}}, 1)

    def test_spread_of_a_difference_takes_both_sides(self, plan: Plan) -> None:
        spreads = {"baseline": Spread(3.0, 4.0), "E5": Spread(1.0, 2.0)}
        between = spread_between(plan, spreads, "K1", "baseline")
        assert between is not None
        assert between.variance_points2 == 4.0
        assert spread_between(plan, spreads, "H2", "E5") is None


class TestAdjusting:
    P_OF = {"E5": 0.01, "H2": 0.03, "K1": 0.03}

    def test_mirror_image_is_no_second_test(self, plan: Plan) -> None:
        assert sorted(distinct_p_values(plan, self.P_OF).values()) == [0.01, 0.03]
        assert adjust(plan, self.P_OF)[comparison(plan, "E5")] == pytest.approx(2 * 0.01)

    @pytest.mark.parametrize(("correction", "smaller"), [("holm", 0.04), ("benjamini_hochberg", 0.03)])
    def test_correction_is_that_of_the_campaign(
        self, a_plan: Callable[..., Plan], correction: Any, smaller: float
    ) -> None:
        plan = a_plan(EXPERIMENTS, judging=JudgingSpec(correction=correction))
        assert adjust(plan, {"E5": 0.02, "H2": 0.03})[comparison(plan, "E5")] == pytest.approx(smaller)

    def test_nothing_to_adjust_is_nothing(self, plan: Plan) -> None:
        assert adjust(plan, {}) == {}
