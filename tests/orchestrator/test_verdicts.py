"""Each rule of a verdict, in the order in which they are asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.run_folder import Result
from orchestrator.evidence import RunRecord
from orchestrator.judgement import Judgement, Verdict
from orchestrator.plan import Plan
from orchestrator.verdicts import family_size, judge

FOCAL = {"change": {"loss.kind": "focal"}}
GAMMA = {"on": "E5", "change": {"loss.gamma": 3.0}}
SLOW = Result(state="too_slow", reason="median epoch takes 1.1 s, the budget is 1.0 s", epochs=3)
DIED = Result(state="failed", failure="out_of_memory", reason="the job held 3.9 GiB", epochs=1)
CANCELLED = Result(state="cancelled", reason="stopped by a person", epochs=1)

Builder = Callable[..., Plan]
RunsOf = Callable[..., dict[str, RunRecord]]


def outcomes(num_correct: int, num_bursts: int = 1000) -> NDArray[np.bool_]:
    """The first bursts of every device are recognised, so that runs differ by as little as they can."""
    per_device = num_bursts // 10
    correct = np.zeros((10, per_device), dtype=np.bool_)
    for index in range(num_correct):
        correct[index % 10, index // 10] = True
    return correct.ravel()


@pytest.fixture
def verdict_on(a_plan: Builder, runs_of: RunsOf) -> Callable[..., Judgement]:
    """Judge E5 on the baseline from an outcome a seed on each side."""

    def judged(experiment: Any, baseline: Any = 0.8, **fields: Any) -> Judgement:
        plan = a_plan({"E5": FOCAL}, **fields)
        return judge(plan, runs_of(plan, {"baseline": baseline, "E5": experiment}))["E5"]

    return judged


class TestStops:
    def test_one_slow_run_makes_the_experiment_too_slow_in_the_guards_words(self, verdict_on: Any) -> None:
        found = verdict_on([0.9, SLOW])
        assert (found.verdict, found.reason) == (Verdict.TOO_SLOW, SLOW.reason)

    def test_every_seed_failed_makes_it_failed_with_class_and_reason(self, verdict_on: Any) -> None:
        found = verdict_on([DIED, DIED])
        assert (found.verdict, found.failure) == (Verdict.FAILED, "out_of_memory")
        assert found.reason == "seeds 0 and 1 failed (out_of_memory): the job held 3.9 GiB"

    @pytest.mark.parametrize("ending", [None, CANCELLED])
    def test_experiment_of_which_no_run_ended_is_pending(self, verdict_on: Any, ending: Result | None) -> None:
        assert verdict_on([ending, ending]).verdict is Verdict.PENDING

    def test_failure_beside_an_unfinished_run_is_no_verdict_of_failure(self, verdict_on: Any) -> None:
        assert verdict_on([DIED, None]).verdict is Verdict.INCONCLUSIVE

    def test_stopped_baseline_says_so(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL})
        found = judge(plan, runs_of(plan, {"baseline": SLOW, "E5": 0.9}))
        assert found["baseline"].verdict is Verdict.TOO_SLOW
        assert found["E5"].verdict is Verdict.INCONCLUSIVE
        assert "the reference baseline: seeds 0 and 1 ended as too_slow: median epoch" in found["E5"].reason


class TestSeeds:
    @pytest.mark.parametrize("accuracy", [0.801, 0.9, 0.1])
    def test_one_seed_is_inconclusive_whatever_the_difference_is(self, verdict_on: Any, accuracy: float) -> None:
        found = verdict_on([accuracy], seeds=(0,))
        assert (found.verdict, found.low_points) == (Verdict.INCONCLUSIVE, None)
        assert found.reason.startswith("needs seeds: 1 of at least 2")

    def test_seed_with_one_side_is_left_out_and_named(self, verdict_on: Any) -> None:
        found = verdict_on([0.9, 0.9, DIED], seeds=(0, 1, 2))
        assert (found.seeds, found.dropped_seeds) == ((0, 1), (2,))
        assert "left out: E5: seed 2 failed (out_of_memory)" in found.reason

    def test_bursts_that_not_every_run_saw_are_left_out_and_counted(
        self, a_plan: Builder, a_run: Callable[..., RunRecord], runs_of: RunsOf
    ) -> None:
        plan = a_plan({"E5": FOCAL})
        records = runs_of(plan, {"baseline": outcomes(800)})
        for seed in (0, 1):
            full = a_run(plan, "E5", seed, outcomes(800))
            part = type(full.bursts["LocD"])(
                keys=full.bursts["LocD"].keys[:-7],
                devices=full.bursts["LocD"].devices[:-7],
                correct=full.bursts["LocD"].correct[:-7],
            )
            full.bursts["LocD"] = part
            records[full.id] = full
        found = judge(plan, records)["E5"]
        assert (found.num_bursts, found.dropped_bursts) == (993, 7)
        assert "7 bursts that not every run was scored on" in found.reason

    def test_run_without_predictions_gives_no_pair(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL})
        records = runs_of(plan, {"baseline": 0.8, "E5": 0.9})
        records[plan.run_of["E5", 1]].bursts.clear()
        found = judge(plan, records)["E5"]
        assert found.accuracy_percent == pytest.approx(90.0)
        assert "seed 1 without predictions on LocD" in found.reason


class TestIntervals:
    def test_difference_that_stands_is_an_improvement(self, verdict_on: Any) -> None:
        found = verdict_on([outcomes(n) for n in (899, 900, 901)], [outcomes(800)] * 3, seeds=(0, 1, 2))
        assert found.verdict is Verdict.IMPROVED
        assert found.low_points > 0
        assert found.delta_points == pytest.approx(10.0)

    def test_the_same_difference_the_other_way_is_a_regression(self, verdict_on: Any) -> None:
        found = verdict_on([outcomes(n) for n in (699, 700, 701)], [outcomes(800)] * 3, seeds=(0, 1, 2))
        assert found.verdict is Verdict.REGRESSION
        assert found.high_points < 0

    def test_interval_inside_the_margin_is_no_change_even_off_zero(self, verdict_on: Any) -> None:
        found = verdict_on([outcomes(820)] * 3, [outcomes(800)] * 3, seeds=(0, 1, 2), margin=5.0)
        assert found.low_points > 0
        assert found.verdict is Verdict.NO_CHANGE

    def test_interval_that_holds_zero_and_leaves_the_margin_is_inconclusive(self, verdict_on: Any) -> None:
        found = verdict_on([0.80, 0.90], [0.80, 0.80])
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "seeds to tell" in found.reason

    def test_bursts_too_few_for_the_margin_are_said_to_be_so(self, verdict_on: Any) -> None:
        won = np.array([True, True, False, False, False, False, False, False] * 10)
        lost = np.array([False, True, True, False, False, False, False, False] * 10)
        found = verdict_on([won, won], [lost, lost])
        assert found.reason.endswith("no number of seeds would tell: the 80 bursts alone leave a standard error of "
                                     f"{found.lasting_burst_error_points:.2f} points")  # fmt: skip

    def test_difference_to_the_baseline_goes_past_the_reference(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA})
        found = judge(plan, runs_of(plan, {"baseline": 0.80, "E5": 0.85, "gamma": 0.87}))["gamma"]
        assert (found.reference, found.delta_points) == ("E5", pytest.approx(2.0))
        assert found.baseline_delta_points == pytest.approx(7.0)

    def test_baseline_has_an_accuracy_and_no_verdict(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL})
        found = judge(plan, runs_of(plan, {"baseline": [0.80, 0.82], "E5": 0.85}))["baseline"]
        assert (found.verdict, found.delta_points) == (None, None)
        assert found.accuracy_percent == pytest.approx(81.0)
        assert found.accuracy_percent_of == pytest.approx({0: 80.0, 1: 82.0})


class TestFamily:
    @pytest.fixture
    def many(self, a_plan: Builder, runs_of: RunsOf) -> tuple[Plan, dict[str, Judgement]]:
        """Fourteen experiments, one of which is barely off zero by itself."""
        names = [f"X{index}" for index in range(13)]
        changes = {name: {"change": {"optim.clip_norm": 2.0 + index}} for index, name in enumerate(names)}
        plan = a_plan({"E5": FOCAL} | changes)
        accuracies = {name: [0.80, 0.795 + 0.001 * index] for index, name in enumerate(names)}
        return plan, judge(plan, runs_of(plan, accuracies | {"baseline": 0.80, "E5": 0.828}, num_bursts=1000))

    def test_interval_off_zero_that_fails_holm_is_inconclusive_and_says_why(self, many: Any) -> None:
        found = many[1]["E5"]
        assert found.low_points > 0
        assert found.adjusted_p_value >= 0.05
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.reason.startswith("off zero alone, but not among 14 comparisons (Holm-adjusted p ")

    def test_spread_over_seeds_is_pooled_over_the_campaign(self, many: Any) -> None:
        plan, found = many
        assert all(found[name].moderated for name in plan.arms if name != "baseline")
        assert all(found[name].degrees_of_freedom > 1 for name in plan.arms if name != "baseline")

    def test_comparison_and_its_mirror_image_count_once(self, a_plan: Builder, runs_of: RunsOf) -> None:
        back = {"on": "gamma", "change": {"loss.gamma": 2.0}}
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA, "back": back})
        found = judge(plan, runs_of(plan, {"baseline": 0.8, "E5": 0.83, "gamma": 0.82}))
        assert plan.arms["back"].same_as == "E5"
        assert family_size(plan, found) == 2
        assert found["back"].delta_points == pytest.approx(-found["gamma"].delta_points)
        assert found["back"].adjusted_p_value == found["gamma"].adjusted_p_value

    def test_two_comparisons_are_too_few_to_pool(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA})
        found = judge(plan, runs_of(plan, {"baseline": 0.8, "E5": 0.83, "gamma": 0.82}))
        assert not found["E5"].moderated
        assert found["E5"].degrees_of_freedom == 1


class TestConfounds:
    OLD = {"environment": {"torch": "2.12.1"}}
    NEW = {"environment": {"torch": "2.13.0"}}
    BETTER = ([outcomes(n) for n in (899, 900, 901)], [outcomes(800)] * 3)

    @pytest.fixture
    def judged(self, a_plan: Builder, a_run: Callable[..., RunRecord]) -> Callable[..., Judgement]:
        """Judge E5 from an outcome and an origin a seed, on a baseline of new torch."""

        def judge_e5(ours: Any, origins: Any, theirs: Any = None) -> Judgement:
            plan = a_plan({"E5": FOCAL}, seeds=tuple(range(len(ours))))
            sides = {"E5": (ours, origins), "baseline": (theirs or [0.8] * len(ours), [self.NEW] * len(ours))}
            records = [
                a_run(plan, name, seed, results[seed], provenance=provenances[seed])
                for name, (results, provenances) in sides.items()
                for seed in plan.campaign.seeds
            ]
            return judge(plan, {record.id: record for record in records})["E5"]

        return judge_e5

    def test_improvement_of_one_change_is_a_keeper(self, judged: Any) -> None:
        found = judged(self.BETTER[0], [self.NEW] * 3, self.BETTER[1])
        assert (found.verdict, found.confounds, found.is_keeper) == (Verdict.IMPROVED, (), True)

    def test_confounded_improvement_keeps_its_verdict_says_so_and_is_no_keeper(self, judged: Any) -> None:
        found = judged(self.BETTER[0], [self.NEW, self.OLD, self.OLD], self.BETTER[1])
        assert (found.verdict, found.is_keeper) == (Verdict.IMPROVED, False)
        assert found.confounds == ("environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seeds 1 and 2)",)
        assert found.reason.endswith("; confounded: more than the declared change differs (environment)")

    def test_only_an_improvement_is_a_keeper(self, judged: Any) -> None:
        assert not judged(self.BETTER[1], [self.NEW] * 3, self.BETTER[0]).is_keeper

    def test_seed_that_the_verdict_does_not_rest_on_confounds_nothing(self, judged: Any) -> None:
        assert judged([0.9, 0.9, DIED], [self.NEW, self.NEW, self.OLD]).confounds == ()
        assert len(judged([0.9, 0.9, 0.9], [self.NEW, self.NEW, self.OLD]).confounds) == 1

    def test_stop_rests_on_the_runs_that_ended_on_both_sides(self, judged: Any) -> None:
        found = judged([0.9, SLOW], [self.NEW, self.OLD])
        assert found.confounds == ("environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seed 1)",)
        assert found.reason == f"{SLOW.reason}; confounded: more than the declared change differs (environment)"
        assert judged([0.9, SLOW], [self.NEW, self.OLD], [0.8, None]).confounds == ()

    def test_pending_experiment_and_baseline_are_never_confounded(self, judged: Any, verdict_on: Any) -> None:
        assert judged([None, None], [self.OLD, self.OLD]).confounds == ()
        assert verdict_on([0.9, 0.9]).confounds == ()

    def test_stack_is_held_against_its_reference_and_not_against_the_baseline(
        self, a_plan: Builder, runs_of: RunsOf
    ) -> None:
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA, "back": {"on": "gamma", "change": {"loss.gamma": 2.0}}})
        records = runs_of(plan, {"E5": 0.83, "gamma": 0.82}, provenance=self.OLD)
        found = judge(plan, records | runs_of(plan, {"baseline": 0.8}, provenance=self.NEW))
        assert [name for name in plan.arms if found[name].confounds] == ["E5"]


def test_plan_without_a_single_record_is_judged_pending(a_plan: Builder) -> None:
    found = judge(a_plan({"E5": FOCAL, "gamma": GAMMA}), {})
    assert {judgement.verdict for judgement in found.values()} == {Verdict.PENDING}
