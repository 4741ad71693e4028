"""Each rule of a verdict, in the order in which they are asked."""

import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec
from orchestrator.design.needed import items_to_resolve
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.item_pairs import RunItems
from orchestrator.verdicts.conclude import decide_verdict
from orchestrator.verdicts.judge import family_size, judge
from orchestrator.verdicts.judgement import Judgement, Verdict
from tests.orchestrator.conftest import build_share

FOCAL = {"change": {"loss.kind": "focal"}}
GAMMA = {"on": "E5", "change": {"loss.gamma": 3.0}}
SLOW = Result(state="too_slow", reason="median epoch takes 1.1 s, the budget is 1.0 s", epochs=3)
DIED = Result(state="failed", failure="out_of_memory", reason="the job held 3.9 GiB", epochs=1)
CANCELLED = Result(state="cancelled", reason="stopped by a person", epochs=1)

Builder = Callable[..., Plan]
RunsOf = Callable[..., dict[str, RunRecord]]


def outcomes(num_correct: int, num_items: int = 1000) -> NDArray[np.bool_]:
    """The first bursts of every device are recognised, so that runs differ by as little as they can."""
    per_device = num_items // 10
    correct = np.zeros((10, per_device), dtype=np.bool_)
    for index in range(num_correct):
        correct[index % 10, index // 10] = True
    return correct.ravel()


def cut(run: RunRecord, count: int) -> RunRecord:
    """Leave the last bursts of a run unscored."""
    items = run.scores["LocD"].items
    assert items is not None
    run.scores["LocD"] = build_share(
        RunItems(items.keys_B[:-count], items.stratum_B[:-count], None, {"correct": items.columns["correct"][:-count]})
    )
    return run


@pytest.fixture
def verdict_on(a_plan: Builder, runs_of: RunsOf) -> Callable[..., Judgement]:
    """Judge E5 on the baseline from an outcome a seed on each side."""

    def judged(experiment: Any, baseline: Any = 0.8, **fields: Any) -> Judgement:
        plan = a_plan({"E5": FOCAL}, **fields)
        return judge(plan, runs_of(plan, {"baseline": baseline, "E5": experiment}))["E5"]

    return judged


class TestStops:
    @pytest.mark.parametrize("other", [SLOW, DIED, None])
    def test_seeds_that_agree_make_an_experiment_too_slow_in_the_guards_words(
        self, verdict_on: Any, other: Result | None
    ) -> None:
        found = verdict_on([SLOW, other])
        assert (found.verdict, found.reason) == (Verdict.TOO_SLOW, SLOW.reason)

    def test_a_slow_seed_that_another_contradicts_is_left_out_of_the_verdict_and_named(self, verdict_on: Any) -> None:
        seeds = (0, 1, 2)
        found = verdict_on([SLOW, 0.84, 0.8], [0.8] * 3, seeds=seeds)
        assert (found.verdict, found.seeds) == (Verdict.INCONCLUSIVE, (1, 2))
        assert (
            "; left out: E5: seed 0 was ruled too slow, which a seed that is done contradicts; `knockout retry E5-s0-"
            in (found.reason)
        )
        assert found.reason.endswith(f"` trains it on: {SLOW.reason}")

    def test_a_slow_seed_beside_a_single_other_leaves_too_few_seeds_for_a_verdict(self, verdict_on: Any) -> None:
        found = verdict_on([SLOW, 0.9])
        assert found.verdict is Verdict.NEEDS_SEEDS
        assert "seed 0 was ruled too slow, which a seed that is done contradicts" in found.reason

    def test_every_seed_failed_makes_it_failed_with_class_and_reason(self, verdict_on: Any) -> None:
        found = verdict_on([DIED, DIED])
        assert (found.verdict, found.failure) == (Verdict.FAILED, "out_of_memory")
        assert found.reason == "seeds 0 and 1 failed (out_of_memory): the job held 3.9 GiB"

    @pytest.mark.parametrize("ending", [None, CANCELLED])
    def test_experiment_of_which_no_run_ended_is_pending(self, verdict_on: Any, ending: Result | None) -> None:
        assert verdict_on([ending, ending]).verdict is Verdict.PENDING

    def test_failure_beside_an_unfinished_run_is_no_verdict_of_failure(self, verdict_on: Any) -> None:
        assert verdict_on([DIED, None]).verdict is Verdict.NEEDS_SEEDS

    def test_stopped_baseline_says_so(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL})
        found = judge(plan, runs_of(plan, {"baseline": SLOW, "E5": 0.9}))
        assert found["baseline"].verdict is Verdict.TOO_SLOW
        assert found["E5"].verdict is Verdict.NEEDS_SEEDS
        assert "the reference baseline: seeds 0 and 1 ended as too_slow: median epoch" in found["E5"].reason


class TestFailures:
    """Three seeds of five, far above the reference: what stands of it if the others failed."""

    BETTER, SAME, WORSE = ([outcomes(n) for n in (m - 1, m, m + 1)] for m in (900, 800, 700))
    REFERENCE = [outcomes(800)] * 5
    SEEDS = (0, 1, 2, 3, 4)

    def failed(self, failure: str) -> Result:
        return Result(state="failed", failure=failure, reason="the loss rose", epochs=1)

    @pytest.mark.parametrize("failure", ["diverged", "nonfinite", "out_of_memory"])
    @pytest.mark.parametrize("which", ["BETTER", "SAME"])
    def test_seeds_that_failed_by_their_own_doing_bar_improved_and_no_change(
        self, verdict_on: Any, failure: str, which: str
    ) -> None:
        ours, would = getattr(self, which), {"BETTER": "improved", "SAME": "no_change"}[which]
        whole = verdict_on(ours, [outcomes(800)] * 3, seeds=(0, 1, 2), margin=3.0)
        found = verdict_on([*ours, *[self.failed(failure)] * 2], self.REFERENCE, seeds=self.SEEDS, margin=3.0)
        assert (whole.verdict, found.verdict, found.is_keeper) == (would, Verdict.INCONCLUSIVE, False)
        assert found.reason.startswith(
            f"seeds 3 and 4 failed ({failure}) by the doing of E5, and the seeds that are left cannot decide alone; "
            f"they would say {would}: "
        )
        assert found.fragile == (f"E5: seeds 3 and 4 failed ({failure}); a seed that fails is a result too",)

    def test_survivors_may_still_tell_a_regression_which_is_fragile(self, verdict_on: Any) -> None:
        found = verdict_on([*self.WORSE, self.failed("diverged")], self.REFERENCE[:4], seeds=(0, 1, 2, 3))
        assert (found.verdict, found.is_fragile) == (Verdict.REGRESSION, True)

    def test_inconclusive_survivors_stay_so_and_the_reason_names_the_failures(self, verdict_on: Any) -> None:
        found = verdict_on([0.80, 0.90, self.failed("nonfinite")], [0.8] * 3, seeds=(0, 1, 2))
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "; seed 2 failed (nonfinite) by the doing of E5, and the seeds that are left" in found.reason

    def test_failure_of_the_reference_is_fragile_and_bars_nothing(self, verdict_on: Any) -> None:
        theirs = [*[outcomes(800)] * 3, self.failed("diverged")]
        found = verdict_on([*self.BETTER, outcomes(900)], theirs, seeds=(0, 1, 2, 3))
        assert (found.verdict, found.is_keeper) == (Verdict.IMPROVED, True)
        said = "the reference baseline: seed 3 failed (diverged); a seed that fails is a result too"
        assert found.fragile == (said,)

    @pytest.mark.parametrize("failure", ["crashed", "hung"])
    def test_failure_of_nobody_knows_whose_doing_is_fragile_and_bars_nothing(
        self, verdict_on: Any, failure: str
    ) -> None:
        found = verdict_on([*self.BETTER, self.failed(failure)], [outcomes(800)] * 4, seeds=(0, 1, 2, 3))
        assert (found.verdict, found.is_keeper) == (Verdict.IMPROVED, True)
        said = f"E5: seed 3 failed ({failure}); nobody knows whether the arm or the machine did it"
        assert found.fragile == (said,)

    @pytest.mark.parametrize("failure", ["lost", "rejected"])
    def test_failure_of_a_machine_or_a_person_says_nothing_of_the_arm(self, verdict_on: Any, failure: str) -> None:
        found = verdict_on([*self.BETTER, self.failed(failure)], [outcomes(800)] * 4, seeds=(0, 1, 2, 3))
        assert (found.verdict, found.fragile) == (Verdict.IMPROVED, ())

    def test_each_class_of_failure_is_named_with_its_seeds(self, verdict_on: Any) -> None:
        ours = [*self.BETTER, self.failed("diverged"), self.failed("nonfinite")]
        found = verdict_on(ours, self.REFERENCE, seeds=self.SEEDS)
        assert "seed 3 failed (diverged) and seed 4 failed (nonfinite) by the doing of E5" in found.reason


class TestSeeds:
    @pytest.mark.parametrize("accuracy", [0.801, 0.9, 0.1])
    def test_one_seed_is_below_the_floor_whatever_the_difference_is(self, verdict_on: Any, accuracy: float) -> None:
        found = verdict_on([accuracy], seeds=(0,))
        assert (found.verdict, found.low_points) == (Verdict.NEEDS_SEEDS, None)
        assert (found.p_value, found.adjusted_p_value, found.equivalence_p_value) == (None, None, None)
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
            records[full.id] = cut(full, 7)
        found = judge(plan, records)["E5"]
        assert (found.num_items, found.dropped_items) == (993, 7)
        assert "7 bursts that not every run was scored on" in found.reason

    def test_run_without_predictions_gives_no_pair(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL})
        records = runs_of(plan, {"baseline": 0.8, "E5": 0.9})
        records[plan.run_of["E5", 1]].scores.clear()
        found = judge(plan, records)["E5"]
        assert (found.score, list(found.score_of)) == (pytest.approx(90.0), [0])
        assert "seed 1 without a score of LocD" in found.reason


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
        said = r"; if the difference stays at \+5\.0 points, it would take roughly (\d+) seeds in all to tell; "
        found_all = re.search(said + r"over its interval, (\d+) to (more than 100|\d+) seeds in all", found.reason)
        assert found_all is not None
        assert 2 < int(found_all[2]) <= int(found_all[1])

    def test_bursts_too_few_for_the_margin_are_said_to_be_so(self, verdict_on: Any) -> None:
        won = np.array([True, True, False, False, False, False, False, False] * 10)
        lost = np.array([False, True, True, False, False, False, False, False] * 10)
        found = verdict_on([won, won], [lost, lost])
        alone = f"the 80 bursts alone leave a standard error of {found.item_error_points:.2f} points"
        assert f"points, seeds alone do not tell: {alone}; it would take roughly " in found.reason
        assert "no number of seeds" not in found.reason
        bursts = items_to_resolve(found, 1.0, 0.1)
        assert (
            f"roughly {ceil(bursts):,} bursts in all; over its interval, 3 to more than 100 seeds in all"
            in found.reason
        )
        assert bursts > 80

    def test_no_change_needs_only_the_interval_of_one_minus_two_levels_inside(self, verdict_on: Any) -> None:
        sides = ([outcomes(n) for n in (806, 813, 820)], [outcomes(800)] * 3)
        found = verdict_on(*sides, seeds=(0, 1, 2), margin=2.55)
        assert found.high_points > 2.55
        assert found.equivalence_p_value < 0.05
        assert found.verdict is Verdict.NO_CHANGE
        assert found.reason.startswith(
            "the 90 % interval lies within the margin of ±2.55 points (two one-sided tests, p "
        )
        strict = verdict_on(*sides, seeds=(0, 1, 2), margin=2.55, judging=JudgingSpec(level=0.01))
        assert strict.verdict is Verdict.INCONCLUSIVE
        assert strict.high_points > found.high_points

    def test_level_decides_what_stands(self, verdict_on: Any) -> None:
        sides = ([outcomes(n) for n in (830, 850, 870)], [outcomes(800)] * 3)
        found = verdict_on(*sides, seeds=(0, 1, 2))
        assert found.verdict is Verdict.IMPROVED
        assert found.adjusted_p_value == found.p_value
        strict = verdict_on(*sides, seeds=(0, 1, 2), judging=JudgingSpec(level=found.p_value / 2))
        assert strict.verdict is Verdict.INCONCLUSIVE
        assert strict.reason.startswith(
            "the interval holds 0 and is not inside the margin; if the difference stays at +5.0 points, it would take "
        )

    def test_spread_that_is_not_pooled_is_said_to_be_so(self, verdict_on: Any) -> None:
        assert "known from its own 2 seeds alone (plain t): fewer than 4 configurations have two seeds" in (
            verdict_on([0.8, 0.9]).reason
        )

    def test_difference_to_the_baseline_goes_past_the_reference(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA})
        found = judge(plan, runs_of(plan, {"baseline": 0.80, "E5": 0.85, "gamma": 0.87}))["gamma"]
        assert (found.reference, found.delta_points) == ("E5", pytest.approx(2.0))
        assert found.baseline_delta_points == pytest.approx(7.0)

    def test_baseline_has_an_accuracy_and_no_verdict(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL})
        found = judge(plan, runs_of(plan, {"baseline": [0.80, 0.82], "E5": 0.85}))["baseline"]
        assert (found.verdict, found.delta_points) == (None, None)
        assert found.score == pytest.approx(81.0)
        assert found.score_of == pytest.approx({0: 80.0, 1: 82.0})


class TestFamily:
    @pytest.fixture
    def many(self, a_plan: Builder, runs_of: RunsOf) -> tuple[Plan, dict[str, Judgement]]:
        """Fourteen experiments, one of which is barely off zero by itself."""
        names = [f"X{index}" for index in range(13)]
        changes = {name: {"change": {"optim.clip_norm": 2.0 + index}} for index, name in enumerate(names)}
        plan = a_plan({"E5": FOCAL} | changes, judging=JudgingSpec(correction="holm"))
        accuracies = {name: [0.80, 0.795 + 0.001 * index] for index, name in enumerate(names)}
        return plan, judge(plan, runs_of(plan, accuracies | {"baseline": 0.80, "E5": 0.828}, num_items=1000))

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

    def test_benjamini_and_hochberg_is_used_where_the_campaign_says_so(self, judged_by: Any) -> None:
        holm, other = judged_by(JudgingSpec(correction="holm")), judged_by(JudgingSpec(correction="benjamini_hochberg"))
        p_values = [found.p_value for found in holm.values() if found.reference]
        expected = multipletests(p_values, method="fdr_bh")[1]
        assert [found.adjusted_p_value for found in other.values() if found.reference] == pytest.approx(expected)
        assert "(Benjamini-Hochberg-adjusted p " in other["E5"].reason
        assert other["E5"].adjusted_p_value <= holm["E5"].adjusted_p_value

    def test_family_may_be_the_experiments_group(self, judged_by: Any) -> None:
        together, apart = (judged_by(JudgingSpec(correction="holm", family=of)) for of in ("campaign", "group"))
        assert {(found.family, found.num_compared) for found in together.values() if found.reference} == {
            ("campaign", 4)
        }
        assert [(apart[name].family, apart[name].num_compared) for name in ("E5", "clip", "clip2", "clip3")] == [
            ("loss", 1), ("size", 3), ("size", 3), ("size", 3)
        ]  # fmt: skip
        assert apart["E5"].adjusted_p_value == apart["E5"].p_value < together["E5"].adjusted_p_value
        sizes = [apart[name] for name in ("clip", "clip2", "clip3")]
        expected = multipletests([found.p_value for found in sizes], method="holm")[1]
        assert [found.adjusted_p_value for found in sizes] == pytest.approx(expected)
        assert "among 1 comparison of loss (" in apart["E5"].reason
        assert (apart["baseline"].family, apart["baseline"].num_compared) == (None, None)

    def test_controls_are_a_family_of_their_own(self, a_plan: Builder, runs_of: RunsOf) -> None:
        clips = {f"clip{n}": {"change": {"optim.clip_norm": 2.0 + n}} for n in range(4)}
        plan = a_plan({"E5": FOCAL, "shuffled": {"control": "shuffled_labels"}} | clips)
        found = judge(plan, runs_of(plan, {"baseline": [0.8, 0.81], "E5": [0.82, 0.8], "shuffled": [0.1, 0.09]}
                                    | {f"clip{n}": [0.8, 0.8 + 0.01 * n] for n in range(4)}))  # fmt: skip
        assert (found["shuffled"].family, found["shuffled"].num_compared) == ("controls", 0)
        assert (found["E5"].family, found["E5"].num_compared, family_size(found)) == ("campaign", 5, 5)
        assert found["E5"].moderated
        assert not found["shuffled"].moderated
        assert found["shuffled"].verdict is None
        assert "it is held against chance" in found["shuffled"].reason

    @pytest.fixture
    def judged_by(self, a_plan: Builder, runs_of: RunsOf) -> Callable[[JudgingSpec], dict[str, Judgement]]:
        """Judge four experiments of two groups, one of them better, in other ways."""
        clips = {f"clip{n or ''}": {"group": "size", "change": {"optim.clip_norm": 2.0 + n}} for n in (0, 2, 3)}

        def judged(judging: JudgingSpec) -> dict[str, Judgement]:
            plan = a_plan({"E5": FOCAL | {"group": "loss"}} | clips, seeds=(0, 1, 2), judging=judging)
            shares = {"baseline": 0.80, "E5": 0.90, "clip": [0.82, 0.80, 0.81], "clip2": [0.79, 0.80, 0.83]}
            return judge(plan, runs_of(plan, shares | {"clip3": [0.78, 0.80, 0.80]}, num_items=1000))

        return judged

    def test_comparison_and_its_mirror_image_count_once(self, a_plan: Builder, runs_of: RunsOf) -> None:
        back = {"on": "gamma", "change": {"loss.gamma": 2.0}}
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA, "back": back})
        found = judge(plan, runs_of(plan, {"baseline": 0.8, "E5": 0.83, "gamma": 0.82}))
        assert plan.arms["back"].same_as == "E5"
        assert family_size(found) == 2
        assert found["back"].delta_points == pytest.approx(-found["gamma"].delta_points)
        assert found["back"].adjusted_p_value == found["gamma"].adjusted_p_value
        assert {found[name].num_compared for name in ("E5", "gamma", "back")} == {2}

    def test_two_comparisons_are_too_few_to_pool(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": FOCAL, "gamma": GAMMA})
        found = judge(plan, runs_of(plan, {"baseline": 0.8, "E5": 0.83, "gamma": 0.82}))
        assert not found["E5"].moderated
        assert 1 <= found["E5"].degrees_of_freedom < 2


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
        found = judged([DIED, SLOW], [self.NEW, self.OLD])
        assert found.confounds == ("environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seed 1)",)
        assert found.reason == f"{SLOW.reason}; confounded: more than the declared change differs (environment)"
        assert judged([DIED, SLOW], [self.NEW, self.OLD], [0.8, None]).confounds == ()

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


@pytest.mark.parametrize(
    ("delta_points", "adjusted_p", "equivalence_p", "verdict"),
    [
        (0.5, 0.001, 0.049, Verdict.NO_CHANGE),
        (0.5, 0.049, 0.05, Verdict.IMPROVED),
        (-0.5, 0.049, 0.05, Verdict.REGRESSION),
        (-0.5, 0.05, 0.05, Verdict.INCONCLUSIVE),
    ],
)
def test_inside_the_margin_comes_before_the_sign(
    delta_points: float, adjusted_p: float, equivalence_p: float, verdict: Verdict
) -> None:
    assert decide_verdict(delta_points, adjusted_p, equivalence_p, 0.05) is verdict


class TestCollapsed:
    """One run that collapsed touches no other verdict."""

    NAMES = tuple(f"clip{number}" for number in range(8))
    GOOD: Mapping[str, tuple[int, ...]] = {
        "baseline": (800, 806, 797),
        "clip0": (803, 801, 800),
        "clip1": (852, 849, 855),
        "clip2": (745, 752, 749),
        "clip3": (799, 804, 796),
        "clip4": (802, 797, 799),
        "clip5": (861, 855, 863),
        "clip6": (801, 803, 795),
        "clip7": (798, 806, 799),
    }

    @pytest.fixture
    def found(self, a_plan: Builder, runs_of: RunsOf) -> Callable[..., dict[str, Judgement]]:
        changes = {name: {"change": {"optim.clip_norm": 2.0 + number}} for number, name in enumerate(self.NAMES)}

        def judged(num_seeds: int, **other: Any) -> dict[str, Judgement]:
            plan = a_plan(changes, seeds=tuple(range(num_seeds)), margin=3.0)
            given = {
                name: [outcomes(each) if isinstance(each, int) else each for each in of[:num_seeds]]
                for name, of in {**self.GOOD, **other}.items()
            }
            return judge(plan, runs_of(plan, given))

        return judged

    @pytest.mark.parametrize("num_seeds", [2, 3])
    @pytest.mark.parametrize("arm", ["clip3", "clip1"])
    def test_no_other_verdict_changes_and_no_other_interval_widens_by_a_fifth(
        self, found: Any, num_seeds: int, arm: str
    ) -> None:
        before, after = found(num_seeds), found(num_seeds, **{arm: (self.GOOD[arm][0], 100, self.GOOD[arm][2])})
        for name in set(self.NAMES) - {arm}:
            assert after[name].verdict is before[name].verdict
            widths = [of[name].high_points - of[name].low_points for of in (before, after)]
            assert widths[1] < 1.2 * widths[0]

    def test_its_seed_is_told_and_its_score_is_in_no_mean(self, found: Any) -> None:
        judgement = found(3, clip1=(852, 100, 855))["clip1"]
        assert judgement.collapsed_seeds == (1,)
        assert judgement.score_of == pytest.approx({0: 85.2, 1: 10.0, 2: 85.5})
        assert judgement.score == pytest.approx((85.2 + 85.5) / 2)
        assert (judgement.seeds, judgement.extra_seeds) == ((0, 2), (1,))
        assert judgement.verdict is Verdict.IMPROVED

    def test_of_two_runs_none_is_set_aside(self, found: Any) -> None:
        judgement = found(2, clip1=(852, 100))["clip1"]
        assert judgement.collapsed_seeds == ()
        assert judgement.verdict is Verdict.INCONCLUSIVE

    def test_arm_that_a_guard_stops_moves_others_through_the_pooled_spread_alone(self, found: Any) -> None:
        before, after = found(3), found(3, clip3=(SLOW, SLOW, SLOW))
        assert after["clip3"].verdict is Verdict.TOO_SLOW
        for name in set(self.NAMES) - {"clip3"}:
            for field in (
                "seeds",
                "delta_points",
                "delta_points_of",
                "rest_error_points",
                "item_error_points",
                "score",
            ):
                assert getattr(after[name], field) == getattr(before[name], field)
            widths = [of[name].high_points - of[name].low_points for of in (before, after)]
            assert widths[1] == pytest.approx(widths[0], rel=0.2)


class TestExtraSeeds:
    def test_reference_with_more_seeds_makes_every_interval_narrower(self, a_plan: Builder, runs_of: RunsOf) -> None:
        changes = {f"clip{number}": {"change": {"optim.clip_norm": 2.0 + number}} for number in range(6)}
        plan = a_plan(changes, seeds=tuple(range(10)))
        rng = np.random.default_rng(0)
        shares = {name: (0.8 + rng.normal(0, 0.02, 2)).tolist() for name in changes}
        more = (0.8 + rng.normal(0, 0.02, 10)).tolist()
        few, many = (
            judge(plan, runs_of(plan, shares | {"baseline": more[:number]}, num_items=2000)) for number in (2, 10)
        )
        for name in changes:
            assert (many[name].seeds, many[name].extra_seeds) == ((0, 1), tuple(range(2, 10)))
            assert many[name].delta_points_of == pytest.approx(few[name].delta_points_of)
            assert many[name].high_points - many[name].low_points < few[name].high_points - few[name].low_points
