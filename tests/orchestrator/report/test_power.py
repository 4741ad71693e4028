"""What a campaign finds, learned from its finished runs and told in the units of the metric."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec, StagingSpec
from orchestrator.design.designs import Arms
from orchestrator.design.looks import share_out
from orchestrator.report.power import Question, count_arms, count_compared, foresee, judged_plan, learn, rules_of
from orchestrator.runs.record import RunRecord
from orchestrator.task.spec import ItemsSpec, ResampledSpec
from tests.builders.stranger_plans import build_numbers, build_stranger, build_told, score_items

LOSS = {"loss": {"better": "lower", "margin": 0.02}}
RMSE = {"error": {"better": "lower", "margin": "5%", "unit": "m", "from": {"items": "test", "rmse": "x"}}}
SEEDS = (0, 1, 2)
FOUR = ("baseline", "slow", "fast", "wild")


def numbers(plan: Plan, spread: float, names: tuple[str, ...] = FOUR) -> dict[str, RunRecord]:
    rng = np.random.default_rng(5)
    seeds = len(plan.campaign.seeds)
    return build_numbers(plan, {name: {"loss": (2.0 + spread * rng.normal(size=seeds)).tolist()} for name in names})


def items(plan: Plan, trial: bool = True) -> dict[str, RunRecord]:
    rng, trial_B = np.random.default_rng(2), np.repeat(np.arange(30), 10)
    runs = [
        build_told(
            plan, name, seed, error=score_items(plan, "error", {"x": rng.normal(size=300)}, trial_B if trial else None)
        )
        for seed in plan.campaign.seeds
        for name in FOUR
    ]
    return {run.id: run for run in runs}


def ask(plan: Plan, records: Mapping[str, RunRecord], **fields: Any) -> Question:
    known = learn(plan, records)
    assert known is not None
    usual: dict[str, Any] = {
        "plan": plan,
        "names": tuple(plan.arms),
        "num_seeds": len(plan.campaign.seeds),
        "known": known,
        "cost_of": lambda trainings: None,
    }
    return Question(**usual | fields)


class TestLearn:
    def test_one_run_of_each_says_nothing(self) -> None:
        plan = build_stranger(LOSS, seeds=(0,))
        assert learn(plan, numbers(plan, 0.1)) is None

    def test_seeds_of_the_baseline_alone_give_their_variance(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        known = learn(plan, build_numbers(plan, {"baseline": {"loss": [1.0, 2.0, 3.0]}}))
        assert known is not None
        assert (known.model.run_points2, known.degrees_of_freedom) == (pytest.approx(1.0), 2)
        assert (known.num_runs, known.num_configurations, known.unit) == (3, 1, None)

    def test_runs_that_are_equal_vary_by_the_rounding_of_a_step(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        known = learn(plan, build_numbers(plan, {"baseline": {"loss": [2.0, 2.0, 2.0]}}, 0.01))
        assert known is not None
        assert known.model.run_points2 == pytest.approx(0.01**2 / 12)

    def test_an_aa_arm_counts_as_the_baseline_at_other_seeds(self) -> None:
        plan = build_stranger(LOSS, seeds=(0, 1), aa=1)
        found = learn(plan, build_numbers(plan, {"baseline": {"loss": [1.0, 2.0]}, "AA1": {"loss": [3.0, 4.0]}}))
        assert found is not None
        # The values 1, 2, 3 and 4 have a variance of 5/3.
        assert (found.model.run_points2, found.num_configurations) == (pytest.approx(5 / 3), 1)

    def test_one_unusual_arm_does_not_speak_for_the_others(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        usual, records = learn(plan, numbers(plan, 0.1)), numbers(plan, 0.1)
        wild = build_numbers(plan, {"wild": {"loss": [2.0, 9.0, 2.0]}})
        unusual = learn(plan, records | wild)
        assert usual is not None
        assert unusual is not None
        # The variance of the wild arm is 16.
        assert unusual.model.run_points2 < 8.0

    def test_clusters_are_what_a_metric_rests_on(self) -> None:
        plan = build_stranger(RMSE, seeds=SEEDS)
        known = learn(plan, items(plan))
        assert known is not None
        assert (known.unit, known.model.num_items) == ("cluster", 30)
        assert 0.0 < known.model.rest_points2 <= known.model.run_points2

    def test_items_are_counted_where_there_are_no_clusters(self) -> None:
        plan = build_stranger(RMSE, seeds=SEEDS, items=ItemsSpec(file="{run_folder}/test.csv", key="key"))
        known = learn(plan, items(plan, trial=False))
        assert known is not None
        assert (known.unit, known.model.num_items) == ("item", 300)

    def test_splits_that_each_seed_draws_keep_their_share(self) -> None:
        drawn = ItemsSpec(file="{run_folder}/test.csv", key="key", resampled=ResampledSpec(test_share=0.2))
        plan = build_stranger(RMSE, seeds=SEEDS, items=drawn)
        known = learn(plan, items(plan, trial=False))
        assert known is not None
        assert (known.unit, known.model.test_ratio) == (None, pytest.approx(0.25))
        assert known.model.item_points2 == 0.0


class TestCounts:
    def test_controls_and_twins_are_no_comparisons(self, a_plan: Callable[..., Plan]) -> None:
        change = {"loss.kind": "focal", "loss.gamma": 2.0}
        plan = a_plan(
            {"E5": {"change": change}, "K1": {"change": change}, "H2": {"change": {"model.num_heads": 4}}}, aa=2
        )
        assert count_compared(plan) == 2
        assert count_arms(plan, plan.arms) == Arms(compared=4, references=1)

    def test_the_largest_group_counts_where_groups_are_corrected_apart(self, a_plan: Callable[..., Plan]) -> None:
        heads = {f"H{number}": {"change": {"model.num_heads": number}, "group": "size"} for number in (2, 4)}
        plan = a_plan(heads | {"E5": {"change": {"loss.kind": "focal"}}}, judging=JudgingSpec(family="group"))
        assert count_compared(plan) == 2

    def test_each_judged_metric_counts(self) -> None:
        both = {name: {"better": "higher", "margin": 0.1, "role": "judged"} for name in ("f1", "recall")}
        assert count_compared(build_stranger(both)) == 6

    def test_experiments_with_runs_are_corrected_too(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        records = numbers(plan, 0.1, ("baseline", "slow"))
        assert tuple(judged_plan(plan.campaign, plan.arms, ("fast",), plan, records).arms) == (
            "baseline",
            "slow",
            "fast",
        )
        staged = structs.replace(plan.campaign, staging=StagingSpec())
        assert tuple(judged_plan(staged, plan.arms, ("fast",), plan, records).arms) == ("baseline", "fast")

    def test_the_last_look_has_its_share_of_the_level(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS, staging=StagingSpec(max_seeds=5))
        last = share_out((2, 3, 5), 0.05)[-1]
        rules = rules_of(plan)
        assert rules.level == pytest.approx(0.05 * last.share)
        assert rules.equivalence_level == pytest.approx(0.05 * last.equivalence_share)


class TestSentences:
    def test_the_units_are_those_of_the_metric(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        outlook, (now, basis, offer) = foresee(ask(plan, numbers(plan, 0.01)))
        assert outlook.now is not None
        assert now == (
            f"with 3 seeds and 3 comparisons this campaign finds a difference of {outlook.now.smallest_points:.3f} in "
            f"`loss` with 80 % power; an arm that makes no difference is told no_change with "
            f"{100 * outlook.now.no_change_chance:.0f} %"
        )
        assert basis.startswith(
            "this rests on 12 finished runs of 4 configurations: from seed to seed a score varies by 0.0"
        )
        assert "(standard deviation; 90 % interval 0.0" in basis
        [design] = outlook.offers
        assert offer == (
            f"to find a difference of the margin (0.020): {design.design.seeds} seeds an arm "
            f"({design.trainings} trainings)"
        )
        assert design.smallest_points <= 0.02

    def test_a_ratio_is_told_in_percent_and_more_clusters_are_offered(self) -> None:
        plan = build_stranger(RMSE, seeds=SEEDS)
        outlook, (now, _, offer) = foresee(ask(plan, items(plan)))
        assert outlook.now is not None
        percent = 100 * np.expm1(outlook.now.smallest_points / 100)
        assert f"a difference of {percent:.1f} % in `error`" in now
        assert "the margin (5.0 %): " in offer
        assert "with four times the clusters " in offer

    def test_one_seed_gives_no_verdict(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        outlook, (now, *_) = foresee(ask(plan, numbers(plan, 0.01), num_seeds=1))
        assert outlook.now is None
        assert now == "with 1 seed this campaign gives no verdict: it takes two or more"

    def test_looks_are_told_at_the_last_one(self) -> None:
        plan = build_stranger(LOSS, seeds=(0, 1, 2, 3, 4), staging=StagingSpec(max_seeds=5))
        _, (now, _, offer) = foresee(ask(plan, numbers(plan, 0.01)))
        assert now.startswith("at its last look, with 5 seeds and 3 comparisons this campaign finds")
        assert "(at most " in offer

    def test_a_margin_that_no_design_reaches_is_said_with_the_best(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        outlook, (*_, offer) = foresee(ask(plan, numbers(plan, 5.0)))
        assert outlook.offers == ()
        assert offer.startswith(
            "no design of up to 50 seeds an arm finds a difference of the margin (0.020): 50 seeds an arm and "
            "200 of the baseline (350 trainings) find "
        )

    def test_a_budget_has_its_best_design(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        outlook, (*_, offer) = foresee(ask(plan, numbers(plan, 0.1), budget=20, cost_of=lambda number: f"{number} min"))
        [best] = outlook.offers
        assert best.trainings <= 20
        assert offer.startswith(f"within 20 trainings: {best.design.seeds} seeds an arm")
        assert f"({best.trainings} trainings, {best.trainings} min) find " in offer

    def test_a_budget_for_no_verdict_is_said(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        _, (*_, offer) = foresee(ask(plan, numbers(plan, 0.1), budget=5))
        assert offer == ("within 5 trainings no design gives verdicts: the smallest is 2 seeds an arm (8 trainings)")

    def test_runs_of_the_campaign_before_its_change_are_named_so(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        _, (_, basis, _) = foresee(ask(plan, numbers(plan, 0.1), from_before=True))
        assert "4 configurations, of the campaign as it was queued before it changed: from seed" in basis

    def test_items_that_were_never_compared_are_said_to_be_unknown(self) -> None:
        plan = build_stranger(RMSE, seeds=SEEDS)
        records = {run.id: run for run in items(plan).values() if run.experiment == "baseline"}
        outlook, (_, basis, _) = foresee(ask(plan, records))
        assert basis.endswith("; what items add to the error is known once an experiment has two seeds")
        assert {offer.design.items for offer in outlook.offers} <= {1}

    def test_few_arms_are_compared_in_pairs(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS, experiments={"slow": {"change": {"optim.learning_rate": 1e-5}}})
        outlook, (*_, offer) = foresee(ask(plan, numbers(plan, 0.01, ("baseline", "slow"))))
        assert all(each.design.reference_seeds == each.design.seeds for each in outlook.offers)
        assert "of the baseline" not in offer
