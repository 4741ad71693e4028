"""A verdict worked out again from the counts is the verdict, to the last digit; and the lines say the same numbers."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec, StagingSpec
from orchestrator.report.steps import say_steps
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.item_pairs import RunItems
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Judgement, Verdict
from orchestrator.verdicts.staged import judge_as_declared
from orchestrator.verdicts.steps import Arithmetic, work_out
from tests.orchestrator.conftest import build_share

SLOW = Result(state="too_slow", reason="an epoch takes 14.50 s, the limit is 10.00 s", epochs=3)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}},
    "K1": {"on": "H2", "change": {"model.depth": 4}},
    "wide": {"change": {"model.expand_v": 4.0}, "group": "size"},
    "roll": {"change": {"augment.roll": {}}, "group": "size"},
}
TRAINED = ("baseline", "E5", "H2", "wide", "roll")
AA_CAMPAIGN = (*TRAINED, "AA1", "AA2")
Judged = tuple[Plan, dict[str, RunRecord], dict[str, Judgement]]
ACCURACY = st.integers(20, 90).map(lambda percent: percent / 100)
ENDING = st.one_of(ACCURACY, ACCURACY, ACCURACY, st.none(), st.just(SLOW))
JUDGING = st.builds(
    JudgingSpec,
    level=st.sampled_from([0.01, 0.05, 0.1]),
    correction=st.sampled_from(["dunnett", "holm", "benjamini_hochberg"]),
    family=st.sampled_from(["campaign", "group"]),
)


@pytest.fixture(scope="session")
def judged(a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]) -> Callable[..., Judged]:
    """A campaign of these outcomes with what is concluded about it."""

    plans: dict[str, Plan] = {}

    def built(outcomes: dict[str, Any], experiments: dict[str, dict[str, Any]] = EXPERIMENTS, **fields: Any) -> Judged:
        what = repr((experiments, fields))
        plan = plans[what] = plans.get(what) or a_plan(experiments, **fields)
        records = runs_of(plan, outcomes)
        return plan, records, judge(plan, records)

    return built


def cut(run: RunRecord, count: int) -> None:
    """Leave the last bursts of a run unscored."""
    items = run.scores["LocD"].items
    assert items is not None
    run.scores["LocD"] = build_share(
        RunItems(items.keys_B[:-count], items.stratum_B[:-count], None, {"correct": items.columns["correct"][:-count]})
    )


def numbers_of(steps: Arithmetic) -> dict[str, Any]:
    """The numbers of the steps by the names that a judgement has for them."""
    found: dict[str, Any] = {"delta_points": steps.delta_points, "num_items": steps.num_items}
    found |= {"dropped_seeds": steps.dropped_seeds, "dropped_items": steps.dropped_items}
    found["delta_points_of"] = {seed.seed: seed.delta_points for seed in steps.seeds}
    for part in (steps.error, steps.tests):
        found |= structs.asdict(part) if part else {}
    return {name: value for name, value in found.items() if name in Judgement.__struct_fields__}


class TestAgreement:
    @given(
        outcomes=st.fixed_dictionaries({name: st.lists(ENDING, min_size=3, max_size=3) for name in TRAINED}),
        judging=JUDGING,
        num_cut=st.integers(0, 30),
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_every_number_is_the_one_that_was_judged(
        self, judged: Callable[..., Judged], outcomes: dict[str, Any], judging: JudgingSpec, num_cut: int
    ) -> None:
        plan, records, judgements = judged(outcomes, seeds=(0, 1, 7), judging=judging)
        for run in records.values():
            if num_cut and run.scores and run.experiment == "H2":
                cut(run, num_cut)
        judgements = judge(plan, records)
        for name, judgement in judgements.items():
            steps = work_out(plan, records, judgements, name)
            found = numbers_of(steps)
            assert found == {field: getattr(judgement, field) for field in found}
            assert (steps.error is None) == (judgement.interval_points is None)
            assert (steps.tests is None) == (judgement.p_value is None)
            assert (steps.verdict, steps.reason) == (judgement.verdict, judgement.reason)

    def test_control_of_labels_without_meaning_has_no_part_in_the_pool(self, judged: Callable[..., Judged]) -> None:
        outcomes = {name: [0.8, 0.82, 0.79] for name in TRAINED} | {"null": [0.1, 0.9, 0.3]}
        null = {"null": {"control": "shuffled_labels"}}
        plan, records, judgements = judged(outcomes, EXPERIMENTS | null, seeds=(0, 1, 2))
        for name in ("E5", "null"):
            steps = work_out(plan, records, judgements, name)
            assert steps.error is not None
            assert steps.error.high_points == judgements[name].high_points
            assert (steps.pool is None) == (name == "null")

    @given(outcomes=st.fixed_dictionaries({name: st.lists(ENDING, min_size=3, max_size=3) for name in AA_CAMPAIGN}))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_so_it_is_for_arms_under_other_seeds(self, judged: Callable[..., Judged], outcomes: dict[str, Any]) -> None:
        plan, records, judgements = judged(outcomes, seeds=(0, 1, 7), aa=2)
        for name in ("AA1", "AA2", "E5"):
            steps = work_out(plan, records, judgements, name)
            found = numbers_of(steps)
            assert found == {field: getattr(judgements[name], field) for field in found}
            assert (steps.error is None) == (judgements[name].interval_points is None)
            assert (steps.replicates is not None) == (name != "E5" and steps.error is not None)


class TestMoreSeeds:
    """Seeds of one side, runs set aside and few differing items are worked out as they were judged."""

    @given(
        outcomes=st.fixed_dictionaries(
            {name: st.lists(ENDING, min_size=1, max_size=4) for name in TRAINED}
            | {"baseline": st.lists(ACCURACY, min_size=3, max_size=8)}
        ),
        correction=st.sampled_from(["dunnett", "holm"]),
    )
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_every_number_is_the_one_that_was_judged(
        self, judged: Callable[..., Judged], outcomes: dict[str, Any], correction: Any
    ) -> None:
        plan, records, judgements = judged(outcomes, seeds=tuple(range(8)), judging=JudgingSpec(correction=correction))
        for name, judgement in judgements.items():
            steps = work_out(plan, records, judgements, name)
            found = numbers_of(steps)
            assert found == {field: getattr(judgement, field) for field in found}
            assert steps.extra_seeds == judgement.extra_seeds
            assert steps.collapsed.get(name, ()) == (judgement.collapsed_seeds if judgement.reference else ())
            if steps.error:
                assert (steps.weights is None) == (not judgement.extra_seeds)

    def test_weighted_mean_and_its_spread_come_out_by_hand(self, judged: Callable[..., Judged]) -> None:
        few = {name: [0.8, 0.82] for name in TRAINED}
        outcomes = few | {"baseline": [0.8, 0.79, 0.81, 0.83, 0.80, 0.78, 0.79], "E5": [0.85, 0.86]}
        steps = work_out(*judged(outcomes, seeds=tuple(range(7))), "E5")
        weights, share = steps.weights, 0.0
        assert weights is not None
        assert steps.error is not None
        assert sorted(weights.extra["baseline"]) == [2, 3, 4, 5, 6]
        assert (weights.extra["E5"], weights.common_share["E5"]) == ({}, pytest.approx(1.0))
        share = weights.common_share["baseline"]
        common = np.mean([seed.reference_score for seed in steps.seeds])
        reference = share * common + (1 - share) * np.mean(list(weights.extra["baseline"].values()))
        ours = np.mean([seed.experiment_score for seed in steps.seeds])
        assert steps.delta_points == pytest.approx(ours - reference)
        assert weights.squares["baseline"] == pytest.approx(share**2 / 2 + (1 - share) ** 2 / 5)
        assert weights.apart == pytest.approx((1 - share) ** 2 / 2 + (1 - share) ** 2 / 5)
        of_mean = weights.apart * weights.common_points**2 + sum(
            weights.squares[side.side] * side.pooled_points**2 for side in steps.spreads
        )
        assert steps.error.spread_points == pytest.approx((2 * of_mean) ** 0.5)
        said = "\n".join(say_steps(steps))
        assert f"baseline: {share:.4f} from the common seeds, {1 - share:.4f} from the others" in said
        assert "baseline alone: 81.000 % at seed 2, 83.000 % at seed 3" in said

    def test_run_that_collapsed_is_said_to_be_set_aside(self, judged: Callable[..., Judged]) -> None:
        outcomes = {name: [0.8, 0.82, 0.79] for name in TRAINED} | {"wide": [0.8, 0.1, 0.81]}
        plan, records, judgements = judged(outcomes, seeds=(0, 1, 2))
        steps = work_out(plan, records, judgements, "wide")
        assert judgements["wide"].collapsed_seeds == (1,)
        assert steps.collapsed == {"wide": (1,)}
        assert [seed.seed for seed in steps.seeds] == [0, 2]
        assert "Set aside: wide at seed 1, far below its other runs, which agree." in "\n".join(say_steps(steps))
        found = numbers_of(steps)
        assert found == {field: getattr(judgements["wide"], field) for field in found}

    def test_few_differing_items_are_said_to_have_the_score_intervals_error(
        self, judged: Callable[..., Judged]
    ) -> None:
        right_B = np.arange(200) < 190
        other_B = right_B.copy()
        other_B[:2] = False
        outcomes = {name: [right_B, right_B] for name in TRAINED} | {"E5": [other_B, right_B]}
        plan, records, judgements = judged(outcomes)
        steps = work_out(plan, records, judgements, "E5")
        assert steps.is_sparse
        assert "at least that of the score interval (Tango 1998), as few bursts differ" in "\n".join(say_steps(steps))
        found = numbers_of(steps)
        assert found == {field: getattr(judgements["E5"], field) for field in found}

    def test_arm_far_wider_than_the_others_is_named(self, judged: Callable[..., Judged]) -> None:
        outcomes = {name: [0.8, 0.82, 0.79, 0.81] for name in TRAINED} | {"wide": [0.2, 0.9, 0.4, 0.7]}
        steps = work_out(*judged(outcomes, seeds=(0, 1, 2, 3)), "wide")
        assert steps.pool is not None
        assert steps.pool.outliers == ("wide",)
        words = "Configurations far wider than these keep the spread of their own runs: wide."
        assert words in "\n".join(say_steps(steps))


class TestStaged:
    """Where seeds are given out look by look, counts are worked out and the rest is as it was judged at the look."""

    STAGING = StagingSpec(screen_seeds=2, max_seeds=4, confirm_seeds=2)
    OUTCOMES = {
        "baseline": [0.8] * 6,
        "E5": [0.95] * 6,
        "H2": [0.95, 0.94, 0.96, 0.95, 0.95, 0.95],
        "wide": [0.8, None],
        "roll": [0.2, 0.2],
    }

    @pytest.fixture
    def standing(self, judged: Callable[..., Judged]) -> Judged:
        plan, records, _ = judged(self.OUTCOMES, seeds=tuple(range(6)), staging=self.STAGING)
        at_look, judgements = judge_as_declared(plan, records)
        return at_look, records, judgements

    def test_numbers_are_those_of_the_look(self, standing: Judged) -> None:
        plan, records, judgements = standing
        for name, judgement in judgements.items():
            steps = work_out(plan, records, judgements, name)
            found = numbers_of(steps)
            found |= structs.asdict(steps.at_look) if steps.at_look else {}
            assert {key: value for key, value in found.items() if key != "num_seeds"} == {
                field: getattr(judgement, field) for field in found if field != "num_seeds"
            }
            assert (steps.at_look is None) == (judgement.error_points is None)
        assert any(judgement.error_points for judgement in judgements.values())

    def test_look_at_an_arm_under_other_seeds_says_where_its_spread_is_from(
        self, judged: Callable[..., Judged]
    ) -> None:
        outcomes = self.OUTCOMES | {"AA1": [0.8, 0.81]}
        plan, records, _ = judged(outcomes, seeds=tuple(range(6)), staging=self.STAGING, aa=1)
        at_look, judgements = judge_as_declared(plan, records)
        words = "AA1 trains at other seeds than its reference, so the spread is that of every run of the configuration"
        assert words in "\n".join(say_steps(work_out(at_look, records, judgements, "AA1")))

    def test_look_is_said(self, standing: Judged) -> None:
        said = "\n".join(say_steps(work_out(*standing, "roll")))
        judgement = standing[2]["roll"]
        assert "3. Look at 2 seeds, one of several that share the level." in said
        assert f"p = {judgement.p_value:.4g}; for the look and the family {judgement.adjusted_p_value:.4g}" in said
        assert said.splitlines()[-1] == f"4. Rule: {judgement.reason}"


class TestSteps:
    OUTCOMES = {"baseline": [0.80, 0.79], "E5": [0.84, 0.86], "H2": [0.85, 0.83], "wide": SLOW, "roll": [0.6, 0.5]}

    @pytest.fixture
    def steps(self, judged: Callable[..., Judged]) -> Arithmetic:
        return work_out(*judged(self.OUTCOMES), "E5")

    def test_counts_are_those_of_the_runs(self, steps: Arithmetic) -> None:
        first, second = steps.seeds
        assert first.counts is not None
        assert second.counts is not None
        assert (first.counts.experiment_right, first.counts.reference_right) == (168, 160)
        assert (second.counts.experiment_right, second.counts.reference_right) == (172, 158)
        assert first.counts.experiment_alone - first.counts.reference_alone == 8
        assert (first.experiment_score, first.reference_score) == pytest.approx((84.0, 80.0))
        assert (first.delta_points, second.delta_points) == pytest.approx((4.0, 7.0))

    def test_sums_come_out_by_hand(self, steps: Arithmetic) -> None:
        assert steps.delta_points == pytest.approx(5.5)
        assert steps.own_spread_points == pytest.approx(3.0 / 2**0.5)
        error = steps.error
        assert error is not None
        parts = (error.seed_error_points, error.item_error_points, error.rest_error_points)
        assert error.error_points == pytest.approx(math.hypot(*parts))
        assert error.high_points - error.low_points == pytest.approx(2 * error.quantile * error.error_points)

    def test_spread_of_the_difference_is_that_of_both_arms(self, steps: Arithmetic) -> None:
        assert steps.pool is not None
        assert steps.error is not None
        assert [arm.arm for arm in steps.spreads] == ["E5", "baseline"]
        assert math.hypot(*(arm.pooled_points for arm in steps.spreads)) == pytest.approx(steps.error.spread_points)
        for arm in steps.spreads:
            ends = sorted((arm.own_points, steps.pool.deviation_points))
            assert ends[0] - 1e-9 <= arm.pooled_points <= ends[1] + 1e-9

    def test_pooled_spread_of_an_arm_follows_from_the_numbers_that_are_told(self, steps: Arithmetic) -> None:
        assert steps.pool is not None
        for arm in steps.spreads:
            weight, own = arm.prior_share * steps.pool.degrees_of_freedom, arm.own_degrees_of_freedom
            squares = weight * steps.pool.deviation_points**2 + own * arm.own_points**2
            assert arm.pooled_points**2 == pytest.approx(squares / (weight + own))

    def test_share_of_the_prior_is_said_where_an_arm_takes_less_of_it(self, steps: Arithmetic) -> None:
        first, second = steps.spreads
        shown = (structs.replace(first, prior_share=0.41), structs.replace(second, prior_share=1.0))
        said = "\n".join(say_steps(structs.replace(steps, spreads=shown)))
        assert said.count("; it takes 0.41 of that weight") == 1
        assert said.count("of that weight") == 1

    def test_devices_add_up_to_the_part_of_bursts_and_of_both(self, steps: Arithmetic) -> None:
        assert len(steps.strata) == 10
        assert np.mean([device.delta_points for device in steps.strata]) == pytest.approx(steps.delta_points)
        error = steps.error
        assert error is not None
        assert error.item_error_points > 0
        wanted = error.item_error_points**2 + error.rest_error_points**2
        assert sum(device.variance_points2 for device in steps.strata) == pytest.approx(wanted)

    def test_without_enough_configurations_the_spread_stands_for_itself(self, judged: Callable[..., Judged]) -> None:
        few = judged({"baseline": [0.8, 0.8], "E5": [0.84, 0.9]}, {"E5": EXPERIMENTS["E5"]})
        steps = work_out(*few, "E5")
        assert (steps.pool, steps.spreads) == (None, ())
        assert steps.error is not None
        assert steps.error.spread_points == pytest.approx(steps.own_spread_points)
        assert "Too few configurations" in "\n".join(say_steps(steps))

    def test_arm_under_other_seeds_has_the_spread_of_all_runs_of_its_configuration(
        self, judged: Callable[..., Judged]
    ) -> None:
        percents = {"baseline": [0.8, 0.76], "AA1": [0.84, 0.79], "AA2": [0.7, None]}
        steps = work_out(*judged(self.OUTCOMES | percents, aa=2), "AA1")
        replicates, error = steps.replicates, steps.error
        assert replicates is not None
        assert error is not None
        wanted = {0: 80.0, 1: 76.0, 10_000: 84.0, 10_001: 79.0, 20_000: 70.0}
        assert replicates.score_of == pytest.approx(wanted)
        assert replicates.deviation_points == pytest.approx(np.std(list(wanted.values()), ddof=1))
        assert error.spread_points == pytest.approx(2**0.5 * replicates.deviation_points)
        assert error.spread_degrees_of_freedom == replicates.degrees_of_freedom == 4
        assert (steps.pool, steps.spreads) == (None, ())

    def test_device_with_one_burst_takes_the_spread_of_the_others(self, judged: Callable[..., Judged]) -> None:
        plan, records, _ = judged(self.OUTCOMES)
        for run in records.values():
            if run.scores:
                cut(run, 19)
        steps = work_out(plan, records, judge(plan, records), "E5")
        *others, last = steps.strata
        assert (last.stratum, last.num_items) == ("9", 1)
        pooled = sum(device.variance_points2 for device in others) / sum(device.num_items for device in others)
        assert last.variance_points2 == pytest.approx(pooled)

    def test_one_burst_of_each_device_cannot_be_split_by_device(
        self, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]
    ) -> None:
        plan = a_plan({"E5": EXPERIMENTS["E5"]})
        records = runs_of(plan, {"baseline": [0.8, 0.7], "E5": [0.5, 0.9]}, num_items=10)
        steps = work_out(plan, records, judge(plan, records), "E5")
        assert steps.strata == ()
        assert "there is no split by device" in "\n".join(say_steps(steps))

    def test_comparison_and_its_mirror_image_have_one_rank(self, judged: Callable[..., Judged]) -> None:
        all_of_it = judged(self.OUTCOMES)
        there, back = (work_out(*all_of_it, name).tests for name in ("H2", "K1"))
        assert there is not None
        assert back is not None
        assert (there.rank, there.num_compared) == (back.rank, back.num_compared) == (3, 3)

    def test_one_seed_has_counts_and_no_error(self, judged: Callable[..., Judged]) -> None:
        steps = work_out(*judged({"baseline": [0.8], "E5": [0.84]}), "E5")
        assert (steps.verdict, len(steps.seeds), steps.error, steps.tests) == (Verdict.NEEDS_SEEDS, 1, None, None)


class TestWords:
    def test_every_printed_number_of_the_interval_is_the_rounded_one(self, judged: Callable[..., Judged]) -> None:
        plan, records, judgements = judged(TestSteps.OUTCOMES)
        said = "\n".join(say_steps(work_out(plan, records, judgements, "E5")))
        found = judgements["E5"]
        assert found.error_points is not None
        for value in (found.delta_points, found.low_points, found.high_points):
            assert f"{value:+.3f}".replace("-", "−") in said
        assert f"√({found.seed_error_points:.3f}² + {found.item_error_points:.3f}²" in said
        assert f"= {found.error_points:.3f} points" in said
        assert f"p = {found.p_value:.4g}" in said
        assert f"adjusted p = {found.adjusted_p_value:.4g}" in said
        assert f"one-sided p = {found.equivalence_p_value:.4g}" in said

    def test_steps_are_numbered_and_end_with_the_rule(self, judged: Callable[..., Judged]) -> None:
        plan, records, judgements = judged(TestSteps.OUTCOMES)
        lines = say_steps(work_out(plan, records, judgements, "E5"))
        assert lines[0] == f"E5 against baseline on LocD: {judgements['E5'].verdict}"
        assert [line[0] for line in lines if re.match(r"\d\. ", line)] == list("12345678")
        assert lines[-1] == f"8. Rule: {judgements['E5'].reason}"

    def test_counts_are_said_seed_by_seed(self, judged: Callable[..., Judged]) -> None:
        said = say_steps(work_out(*judged(TestSteps.OUTCOMES), "E5"))
        (line,) = [line for line in said if line.startswith("   seed 1: ")]
        assert re.fullmatch(
            r"   seed 1: 172 by E5, 158 by baseline \(\d+ by E5 alone, \d+ by baseline alone\): \+7\.000 points", line
        )

    @pytest.mark.parametrize(
        ("correction", "words"),
        [("holm", "Holm: times 3 (3 − 1 + 1)"), ("benjamini_hochberg", "Benjamini-Hochberg: times 3 / 1")],
    )
    def test_correction_is_said_with_its_factor(
        self, judged: Callable[..., Judged], correction: Any, words: str
    ) -> None:
        everything = judged(TestSteps.OUTCOMES, judging=JudgingSpec(correction=correction))
        assert words in "\n".join(say_steps(work_out(*everything, "roll")))

    def test_what_was_left_out_is_said(self, judged: Callable[..., Judged]) -> None:
        plan, records, _ = judged({"baseline": [0.8, 0.8, 0.8], "E5": [0.8, 0.9, None]}, seeds=(0, 1, 2))
        cut(records[plan.run_of["E5", 0]], 3)
        said = "\n".join(say_steps(work_out(plan, records, judge(plan, records), "E5")))
        assert "Left out: seed 2, scored on one side only." in said
        assert "Left out: 3 bursts that not every run was scored on." in said

    def test_one_seed_is_said_to_allow_nothing(self, judged: Callable[..., Judged]) -> None:
        said = "\n".join(say_steps(work_out(*judged({"baseline": [0.8], "E5": [0.84]}), "E5")))
        assert "There is one seed: +4.000 points" in said
        assert "no interval and no test" in said
        assert "needs seeds: 1 of at least 2" in said

    @pytest.mark.parametrize(
        ("experiment", "words"),
        [("wide", SLOW.reason), ("baseline", "the baseline: it is compared with nothing")],
    )
    def test_what_has_no_pairs_says_why(self, judged: Callable[..., Judged], experiment: str, words: str) -> None:
        head, why = say_steps(work_out(*judged(TestSteps.OUTCOMES), experiment))
        assert head.startswith(experiment)
        assert why == f"  {words}"

    def test_spread_of_an_arm_under_other_seeds_is_said_to_be_that_of_replicates(
        self, judged: Callable[..., Judged]
    ) -> None:
        everything = judged(TestSteps.OUTCOMES | {"AA1": [0.84, 0.79]}, aa=1)
        steps = work_out(*everything, "AA1")
        assert steps.replicates is not None
        said = "\n".join(say_steps(steps))
        assert "AA1 trains at other seeds than its reference, so the spread is that of every run of the conf" in said
        assert "The 4 runs of the baseline's configuration, all A/A arms included: 80.000 % at seed 0, 79.000 %" in said
        deviation = f"{steps.replicates.deviation_points:.3f}"
        assert f"Standard deviation of a run: {deviation} points, 3.0 degrees of freedom." in said
        assert f"The difference of two such runs: √2 × {deviation} = " in said
        assert "other configurations are used" not in said

    def test_control_is_said_to_be_the_reason_that_nothing_is_pooled(self, judged: Callable[..., Judged]) -> None:
        null = EXPERIMENTS | {"null": {"control": "shuffled_labels"}}
        plan, records, judgements = judged(TestSteps.OUTCOMES | {"null": [0.1, 0.12]}, null)
        said = "\n".join(say_steps(work_out(plan, records, judgements, "null")))
        assert "null is a control, and the spread of other arms says nothing about it" in said
        assert "Too few configurations" not in said
        assert "Against no difference" not in said
        assert said.endswith(judgements["null"].reason)

    def test_configuration_of_another_name_is_said_to_be_the_same(self, judged: Callable[..., Judged]) -> None:
        everything = judged(TestSteps.OUTCOMES)
        assert "\n   E5, the configuration of K1 as well: " in "\n".join(say_steps(work_out(*everything, "K1")))
        assert "as well" not in "\n".join(say_steps(work_out(*everything, "H2")))

    def test_margin_that_holds_the_difference_is_said(self, judged: Callable[..., Judged]) -> None:
        steps = work_out(*judged(dict.fromkeys(TRAINED, 0.8), margin=20.0), "E5")
        assert steps.verdict is Verdict.NO_CHANGE
        assert "below the level of 0.05; a p below it would be no_change" in "\n".join(say_steps(steps))
