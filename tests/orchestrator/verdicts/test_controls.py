"""Arms that must show nothing, and parts of a full stack."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy.stats import beta, binom, binomtest

from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.controls import contributions, false_verdicts, interval_by_strata, shuffled_labels
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict

E5 = {"change": {"loss.kind": "focal"}}
H2 = {"on": "E5", "change": {"model.depth": 2}}
SHUFFLED = {"control": "shuffled_labels"}
Builder = Callable[..., Plan]
RunsOf = Callable[..., dict[str, RunRecord]]


class TestFalseVerdicts:
    def test_are_improvements_and_regressions_of_the_baseline_on_itself(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": E5}, aa=3)
        judgements = judge(plan, runs_of(plan, dict.fromkeys(("baseline", "E5", "AA1", "AA2"), 0.8)))
        judgements |= {
            name: structs.replace(judgements[name], verdict=verdict)
            for name, verdict in (("E5", Verdict.IMPROVED), ("AA1", Verdict.REGRESSION), ("AA2", Verdict.INCONCLUSIVE))
        }
        found = false_verdicts(plan, judgements)
        assert (found.num_arms, found.num_judged, found.wrong) == (3, 2, ("AA1",))

    def test_are_none_without_such_arms(self, a_plan: Builder) -> None:
        plan = a_plan({"E5": E5})
        assert false_verdicts(plan, judge(plan, {})).num_arms == 0


class TestShuffledLabels:
    def test_run_far_above_chance_is_outside_its_interval(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"null": SHUFFLED})
        first, second = shuffled_labels(plan, runs_of(plan, {"null": [0.11, 0.4], "baseline": 0.8}))
        assert (first.experiment, first.num_right, first.num_items, first.chance_percent) == ("null", 22, 200, 10.0)
        assert (first.num_strata, second.num_strata) == (10, 10)
        assert (first.includes_chance, second.includes_chance) == (True, False)

    def test_interval_is_that_of_the_shares_of_its_strata(self, a_plan: Builder, runs_of: RunsOf) -> None:
        correct = np.repeat([True, *[False] * 9], 20)
        plan = a_plan({"null": SHUFFLED})
        record, *_ = shuffled_labels(plan, runs_of(plan, {"null": [correct, correct]}))
        items = next(iter(runs_of(plan, {"null": [correct]}).values())).scores["LocD"].items
        assert items is not None
        counts = [np.bincount(np.unique(items.stratum_B, return_inverse=True)[1], weights=each) for each in
                  (items.columns["correct"], np.ones(200))]  # fmt: skip
        low, high = interval_by_strata(*counts)
        assert (record.low_percent, record.high_percent) == pytest.approx((100 * low, 100 * high))

    def test_run_that_was_not_scored_says_nothing(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"null": SHUFFLED})
        assert [row.seed for row in shuffled_labels(plan, runs_of(plan, {"null": [None, 0.1]}))] == [1]

    def test_chance_is_one_over_the_transmitters_that_are_learned(self, a_plan: Builder, runs_of: RunsOf) -> None:
        devices = {"LocA": [0, 4], "LocB": [0, 4], "LocD": [0, 4]}
        captures = {name: {"path": f"{name}.h5", "devices": of, "packets": [0, 20]} for name, of in devices.items()}
        plan = a_plan({"null": SHUFFLED}, data={"captures": captures})
        assert shuffled_labels(plan, runs_of(plan, {"null": 0.25}))[0].chance_percent == 25.0


class TestByStrata:
    """Ten devices of 100 bursts, and a model that knows nothing."""

    ITEMS_K = np.full(10, 100.0)

    def test_one_device_named_for_all_is_worked_by_hand(self) -> None:
        """Shares of 1 and nine times 0 have a variance of 0.1, so v = 0.01 and 9 items, times (1.9623 / 2.2622)^2."""
        right_K = np.array([100.0, *[0.0] * 9])
        counted = 9 * (1.96234 / 2.26216) ** 2
        right = 0.1 * counted
        wanted = (beta.ppf(0.025, right, counted - right + 1), beta.ppf(0.975, right + 1, counted - right))
        assert interval_by_strata(right_K, self.ITEMS_K) == pytest.approx(wanted, rel=1e-4)

    @pytest.mark.parametrize("right", [0.0, 100.0])
    def test_devices_all_wrong_or_all_right_reach_as_far_as_one_item_each(self, right: float) -> None:
        """Clopper and Pearson have 30.85 % for none of ten."""
        low, high = interval_by_strata(np.full(10, right), self.ITEMS_K)
        assert (low, high) == pytest.approx((0.0, 0.30850) if right == 0 else (0.69150, 1.0), abs=1e-5)

    def test_devices_that_agree_give_clopper_and_pearson_of_all_items(self) -> None:
        exact = binomtest(100, 1000).proportion_ci(0.95)
        assert interval_by_strata(np.full(10, 10.0), self.ITEMS_K) == pytest.approx((exact.low, exact.high))

    def test_without_strata_it_is_clopper_and_pearson(self) -> None:
        exact = binomtest(22, 200).proportion_ci(0.95)
        assert interval_by_strata(np.array([22.0]), np.array([200.0])) == pytest.approx((exact.low, exact.high))

    def test_chance_is_held_where_each_device_is_named_as_a_block(self) -> None:
        """The number of devices named right is binomial(10, 0.1), so the coverage is a sum of its chances, exactly."""
        ends = [interval_by_strata(np.repeat([100.0, 0.0], [k, 10 - k]), self.ITEMS_K) for k in range(11)]
        held = sum(binom.pmf(k, 10, 0.1) for k, (low, high) in enumerate(ends) if low <= 0.1 <= high)
        # Clopper and Pearson over 1,000 bursts hold it for k = 1 alone.
        assert held >= 0.95 > binom.pmf(1, 10, 0.1)

    @pytest.mark.parametrize("alike", [0.0, 0.1, 0.5])
    def test_chance_is_held_where_bursts_of_a_device_are_partly_alike(self, alike: float) -> None:
        rng = np.random.default_rng(7)
        held = 0
        for _ in range(1000):
            share_K = rng.beta(0.1 * (1 / alike - 1), 0.9 * (1 / alike - 1), 10) if alike else np.full(10, 0.1)
            low, high = interval_by_strata(rng.binomial(100, share_K).astype(float), self.ITEMS_K)
            held += low <= 0.1 <= high
        # Three Monte Carlo errors of 95 % in 1,000 are 2 %.
        assert held / 1000 > 0.93

    def test_a_leak_is_still_found(self) -> None:
        low, _ = interval_by_strata(np.full(10, 20.0) + np.arange(10), self.ITEMS_K)
        assert low > 0.1


class TestContributions:
    @pytest.fixture
    def full(self, a_plan: Builder) -> Plan:
        return a_plan({"E5": E5, "wide": {"change": {"model.expand_v": 4.0}}}, ablate=("E5", "wide"))

    def test_of_a_part_is_what_is_lost_without_it(self, full: Plan, runs_of: RunsOf) -> None:
        outcomes: dict[str, Any] = {"baseline": 0.7, "E5": [0.80, 0.81], "wide": [0.75, 0.74], "full": [0.9, 0.88]}
        judgements = judge(full, runs_of(full, outcomes))
        by_part = {found.part: found for found in contributions(full, judgements)}
        assert list(by_part) == ["E5", "wide"]
        without = judgements["full-without-E5"]
        assert by_part["E5"].worth_points == pytest.approx(89.0 - 74.5)
        assert (by_part["E5"].low_points, by_part["E5"].high_points) == (-without.high_points, -without.low_points)
        assert by_part["E5"].verdict is without.verdict

    def test_of_what_has_not_run_is_missing_and_never_zero(self, full: Plan) -> None:
        found = contributions(full, judge(full, {}))[0]
        assert (found.worth_points, found.low_points, found.verdict) == (None, None, Verdict.PENDING)

    def test_are_none_without_a_full_stack(self, a_plan: Builder) -> None:
        plan = a_plan({"E5": E5, "H2": H2})
        assert contributions(plan, judge(plan, {})) == []
