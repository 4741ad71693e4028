"""Verdicts by metrics of any kind: direction, margins in per cent, roles, clusters, seeds alone, and dead seeds."""

from typing import Any

import numpy as np
import pytest
from msgspec import structs

from orchestrator.campaign.spec import JudgingSpec, StagingSpec
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.task.spec import ItemsSpec, ResampledSpec
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Judgement, Verdict
from orchestrator.verdicts.staged import judge_as_declared
from tests.builders.stranger_plans import EXPERIMENTS, build_numbers, build_stranger, build_told, score_items

LOSS = {"val_loss": {"better": "lower", "margin": 0.02}}
LATENCY = {"better": "lower", "margin": "5%", "unit": "ms", "role": "no_worse", "from": {"file": "b.json", "key": "p"}}
ERROR = {"better": "lower", "margin": 0.05, "unit": "m", "from": {"items": "test", "rmse": "x - y"}}
BASE = [2.80, 2.83, 2.81]
SEEDS = (0, 1, 2)


def losses(resolution: float | None = 1e-4, **values: list[float]) -> dict[str, Judgement]:
    plan = build_stranger(LOSS, seeds=SEEDS)
    told = {name: {"val_loss": of} for name, of in ({"baseline": BASE} | values).items()}
    return judge(plan, build_numbers(plan, told, resolution))


def shifted(by: float) -> list[float]:
    return [round(value + by + 0.001 * place, 6) for place, value in enumerate(BASE)]


class TestDirection:
    def test_lower_value_is_an_improvement_where_lower_is_better(self) -> None:
        found = losses(slow=shifted(-0.2), fast=shifted(0.2), wild=shifted(0.0))
        assert [found[name].verdict for name in ("slow", "fast", "wild")] == [
            Verdict.IMPROVED,
            Verdict.REGRESSION,
            Verdict.NO_CHANGE,
        ]
        assert found["slow"].delta_points == pytest.approx(-0.199)
        assert "lies below 0, and lower is better" in found["slow"].reason

    def test_no_change_names_the_margin_in_the_unit(self) -> None:
        assert "within the margin of ±0.02 (" in losses(slow=shifted(0.0))["slow"].reason


class TestSeedsAlone:
    def test_verdict_says_that_it_rests_on_seeds(self) -> None:
        found = losses(slow=shifted(-0.2))["slow"]
        assert (found.rests_on, found.num_items, found.item_error_points) == ("seeds", 0, 0.0)

    def test_printed_digits_are_the_least_spread(self) -> None:
        rough = losses(0.1, slow=[value - 0.2 for value in BASE])["slow"]
        fine = losses(1e-6, slow=[value - 0.2 for value in BASE])["slow"]
        assert rough.error_points > 10 * fine.error_points

    def test_overlapping_splits_are_wider_and_no_number_of_seeds_need_tell(self) -> None:
        drawn = ItemsSpec(file="t.csv", key="key", resampled=ResampledSpec(test_share=0.2))
        rng = np.random.default_rng(3)
        plan = build_stranger({"error": ERROR}, items=drawn, seeds=SEEDS)
        records = {}
        for seed in SEEDS:
            keys = np.array([f"s{seed}-{number}" for number in range(50)])
            for name in ("baseline", "slow"):
                score = score_items(plan, "error", {"x": rng.normal(size=50), "y": np.zeros(50)}, keys=keys)
                run = build_told(plan, name, seed, error=score)
                records[run.id] = run
        found = judge(plan, records)["slow"]
        assert (found.seeds, found.rests_on) == (SEEDS, "seeds")
        spread = np.std(list(found.delta_points_of.values()), ddof=1)
        assert found.error_points == pytest.approx(spread * (1 / 3 + 0.25) ** 0.5)
        plain = structs.replace(
            plan, campaign=structs.replace(plan.campaign, items={"test": ItemsSpec(file="t.csv", key="key")})
        )
        reason = judge(plain, records)["slow"].reason
        assert "each seed holds other items: if it draws its own, say `resampled: {test_share: ...}`" in reason


class TestDeadEnds:
    def test_equal_numbers_at_all_seeds_show_no_spread_and_give_no_verdict(self) -> None:
        found = losses(baseline=[2.8] * 3, slow=[2.6] * 3)["slow"]
        assert found.verdict is Verdict.NEEDS_SEEDS
        assert found.reason.startswith("the seed has no effect: seeds 0, 1 and 2 give the same numbers")

    def test_change_that_changes_no_number_is_said_to_have_had_no_effect(self) -> None:
        found = losses(slow=BASE, fast=shifted(1e-6))
        assert "the change had no effect: every number equals that of baseline at every seed" in found["slow"].reason
        assert "no effect" not in found["fast"].reason

    def test_metric_that_a_run_does_not_tell_is_said_in_the_reason(self) -> None:
        plan = build_stranger(LOSS, seeds=SEEDS)
        records = build_numbers(plan, {"baseline": {"val_loss": BASE}})
        for seed in SEEDS:
            silent = structs.replace(build_told(plan, "slow", seed), unread={"val_loss": "`val_loss`: no line matches"})
            records[silent.id] = silent
        found = judge(plan, records)["slow"]
        assert found.verdict is Verdict.NEEDS_SEEDS
        assert "slow: seeds 0, 1 and 2 without a score of val_loss: `val_loss`: no line matches" in found.reason


class TestRatio:
    METRICS = {"latency": {"better": "lower", "margin": "5%", "unit": "ms"}}

    def judged(self, factor: float) -> Judgement:
        plan = build_stranger(self.METRICS, seeds=SEEDS)
        base = [100.0, 104.0, 98.0]
        told = {
            "baseline": {"latency": base},
            "slow": {"latency": [v * factor * (1 + 0.001 * i) for i, v in enumerate(base)]},
        }
        return judge(plan, build_numbers(plan, told, 0.1))["slow"]

    def test_margin_in_per_cent_judges_the_logarithm(self) -> None:
        assert self.judged(0.8).delta_points == pytest.approx(100 * np.log(0.8) + 0.1, abs=0.01)
        assert [self.judged(factor).verdict for factor in (0.8, 1.25, 1.01)] == [
            Verdict.IMPROVED,
            Verdict.REGRESSION,
            Verdict.NO_CHANGE,
        ]


class TestRoles:
    METRICS = {**LOSS, "latency": LATENCY, "accuracy": {"better": "higher", "role": "shown"}}

    def judged(self, latency: list[float]) -> Judgement:
        plan = build_stranger(self.METRICS, seeds=SEEDS)
        told: dict[str, Any] = {
            "baseline": {"val_loss": BASE, "latency": [10.0, 10.2, 10.1], "accuracy": [0.8, 0.81, 0.79]},
            "slow": {"val_loss": shifted(-0.2), "latency": latency, "accuracy": [0.85, 0.84, 0.86]},
        }
        return judge(plan, build_numbers(plan, told, 1e-3))["slow"]

    def test_what_must_be_no_worse_is_shown_to_be_so_or_nothing_is_kept(self) -> None:
        same, worse = self.judged([10.01, 10.2, 10.11]), self.judged([12.0, 12.2, 12.1])
        assert (same.verdict, worse.verdict) == (Verdict.IMPROVED, Verdict.IMPROVED)
        assert (same.is_keeper, worse.is_keeper) == (True, False)
        assert [other.passes for other in (same.others[0], worse.others[0])] == [True, False]
        assert "; no keeper: `latency` is not shown to be no worse than its margin" in worse.reason

    def test_what_cannot_be_told_is_no_pass(self) -> None:
        assert self.judged([10.0, 14.0, 7.0]).others[0].passes is False

    def test_what_is_shown_has_an_interval_and_no_word(self) -> None:
        shown = self.judged([10.0, 10.2, 10.1]).others[1]
        assert (shown.metric, shown.verdict, shown.passes) == ("accuracy", None, None)
        assert shown.interval_points is not None
        assert shown.adjusted_p_value is None

    def test_several_judged_metrics_are_corrected_together(self) -> None:
        plan = build_stranger(
            {**LOSS, "accuracy": {"better": "higher", "margin": 0.01, "role": "judged"}}
            | {"val_loss": {**LOSS["val_loss"], "role": "judged"}},
            seeds=SEEDS,
            judging=JudgingSpec(correction="holm"),
        )
        told = {
            "baseline": {"val_loss": BASE, "accuracy": [0.8, 0.81, 0.79]},
            "slow": {"val_loss": shifted(-0.2), "accuracy": [0.82, 0.81, 0.80]},
            "fast": {"val_loss": shifted(-0.02), "accuracy": [0.75, 0.77, 0.78]},
        }
        found = judge(plan, build_numbers(plan, told, 1e-4))
        tests = [found[name].p_value for name in ("slow", "fast")] + [
            found[name].others[0].p_value for name in ("slow", "fast")
        ]
        adjusted = [found[name].adjusted_p_value for name in ("slow", "fast")] + [
            found[name].others[0].adjusted_p_value for name in ("slow", "fast")
        ]
        assert adjusted == pytest.approx(ADJUST["holm"](tests, np.eye(4)))
        assert (found["slow"].num_compared, found["slow"].others[0].role) == (4, "judged")

    def test_run_that_collapsed_by_one_metric_is_in_no_mean_of_that_one(self) -> None:
        accuracy = {"better": "higher", "margin": 0.01, "role": "judged"}
        metrics = {"val_loss": {**LOSS["val_loss"], "role": "judged"}, "accuracy": accuracy}
        more = EXPERIMENTS | {"mild": {"change": {"optim.learning_rate": 2e-4}}}
        plan = build_stranger(metrics, seeds=SEEDS, experiments=more)
        told = {
            name: {"val_loss": shifted(0.01), "accuracy": [0.80 + by, 0.81 - by, 0.80]}
            for name, by in (("baseline", 0.0), ("slow", 0.002), ("fast", 0.004), ("wild", -0.003), ("mild", 0.001))
        }
        told["slow"]["accuracy"] = [0.80, 0.10, 0.81]
        found = judge(plan, build_numbers(plan, told, 1e-4))["slow"]
        other = found.others[0]
        assert other.delta_points_of.keys() == {0, 2}
        assert other.score == pytest.approx(0.805)
        assert (found.collapsed_seeds, found.score) == ((), pytest.approx(np.mean(shifted(0.01))))

    def test_looks_decide_by_the_main_metric(self) -> None:
        staging = StagingSpec(screen_seeds=2, max_seeds=2, confirm_seeds=2)
        plan = build_stranger(self.METRICS, seeds=(0, 1, 2, 3), staging=staging)
        values = {"val_loss": [*BASE, 2.82], "latency": [10.0, 10.2, 10.1, 10.0], "accuracy": [0.8, 0.81, 0.79, 0.8]}
        better = values | {"val_loss": [1.0, 1.03, 1.01, 1.02]}
        told = {"baseline": values, "fast": values, "wild": values, "slow": better}
        _, found = judge_as_declared(plan, build_numbers(plan, told, 1e-3))
        assert (found["slow"].verdict, found["slow"].is_confirmed) == (Verdict.IMPROVED, True)
        assert "confirmed on seeds 2 and 3 alone" in found["slow"].reason


class TestClusters:
    def judged(self, num_trials: int) -> Judgement:
        rng = np.random.default_rng(1)
        plan = build_stranger({"error": ERROR}, seeds=SEEDS)
        trial_B = np.repeat(np.arange(num_trials), 20)
        hard_B = np.exp(rng.normal(0, 0.3, num_trials))[trial_B]
        records = {}
        for seed in SEEDS:
            for name, scale in (("baseline", 1.0), ("slow", 0.7)):
                columns = {"x": scale * hard_B * rng.normal(size=len(trial_B)), "y": np.zeros(len(trial_B))}
                run = build_told(plan, name, seed, error=score_items(plan, "error", columns, trial_B))
                records[run.id] = run
        return judge(plan, records)["slow"]

    def test_units_are_the_clusters_and_few_of_them_are_warned_of(self) -> None:
        many, few = self.judged(40), self.judged(7)
        assert (many.rests_on, many.num_items, many.warnings) == ("clusters", 40, ())
        assert few.warnings == ("it rests on 7 clusters, and fewer than 8 show their own spread poorly",)
        assert many.verdict is Verdict.IMPROVED


class TestAlikeItems:
    def warnings(self, length: int) -> tuple[str, ...]:
        """Judge 200 items whose errors come in stretches of this length, which no column names."""
        rng = np.random.default_rng(1)
        plan = build_stranger({"error": ERROR}, seeds=SEEDS)
        hard_B = np.repeat(np.exp(rng.normal(0, 0.8, 200 // length)), length)
        keys = np.array([f"item-{number}" for number in range(200)])
        records = {}
        for seed in SEEDS:
            for name, scale in (("baseline", 1.0), ("slow", 0.7)):
                columns = {"x": scale * hard_B * (1 + rng.uniform(0, 0.1, 200)), "y": np.zeros(200)}
                run = build_told(plan, name, seed, error=score_items(plan, "error", columns, keys=keys))
                records[run.id] = run
        return judge(plan, records)["slow"].warnings

    def test_stretches_of_alike_items_are_warned_of_with_the_way_out(self) -> None:
        (warning,) = self.warnings(20)
        assert warning.startswith("neighbouring items are alike (correlation 0.")
        assert warning.endswith("name the cluster of each item (`cluster` of its table, `sessions` of its capture)")

    def test_independent_items_are_not_warned_of(self) -> None:
        assert self.warnings(1) == ()
