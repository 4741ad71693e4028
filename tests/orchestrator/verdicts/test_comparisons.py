"""What is compared with what: by these functions verdicts are reached, and worked out again."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.pool import Pool, pool_arms
from orchestrator.stats.spread import ScoreTable, Spread, rounding_variance
from orchestrator.stats.weights import SideVariances
from orchestrator.verdicts import comparisons
from orchestrator.verdicts.comparisons import (
    Evidence,
    comparison,
    configuration,
    gather,
    item_points2,
    pair_arms,
    replicate_scores,
    replicate_spread,
    scores_by_seed,
    scores_of,
    side_variances,
    spread_between,
)
from orchestrator.verdicts.interactions import Additivity, InteractionJudgement, judge_interactions
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict
from orchestrator.verdicts.staged import judge_as_declared

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


DIVERGED = Result(state="failed", failure="diverged", reason="the loss rose", epochs=1)


class TestRuns:
    def test_only_those_that_are_done_have_outcomes_and_an_accuracy(self, plan: Plan, runs_of: RunsOf) -> None:
        runs = comparisons.runs_by_seed(plan, runs_of(plan, {"E5": [0.8, SLOW]}), "E5")
        assert (list(runs), list(scores_of(runs, "LocD")), scores_by_seed(runs, "LocD")) == (
            [0, 1],
            [0],
            {0: 80.0},
        )

    def test_one_that_is_not_there_is_none_and_never_zero(self, plan: Plan) -> None:
        runs = comparisons.runs_by_seed(plan, {}, "E5")
        assert runs == {0: None, 1: None}
        assert (scores_of(runs, "LocD"), scores_by_seed(runs, "LocD")) == ({}, {})

    def test_capture_that_was_not_scored_has_none(self, plan: Plan, runs_of: RunsOf) -> None:
        runs = comparisons.runs_by_seed(plan, runs_of(plan, {"E5": 0.8}), "E5")
        assert (scores_of(runs, "LocC"), scores_by_seed(runs, "LocC")) == ({}, {})

    def test_seeds_are_those_of_the_campaign(self, plan: Plan, runs_of: RunsOf) -> None:
        records = runs_of(plan, {"E5": [0.8, 0.9]})
        late = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=(1,)))
        assert scores_by_seed(comparisons.runs_by_seed(late, records, "E5"), "LocD") == {1: pytest.approx(90.0)}

    def test_sides_are_joined_where_both_were_scored(self, plan: Plan, runs_of: RunsOf) -> None:
        records = runs_of(plan, {"baseline": 0.8, "E5": [0.84, SLOW]})
        pairs = pair_arms(gather(plan, records, plan.campaign.judged), "E5", "baseline")
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
        found = gather(plan, records, plan.campaign.judged).table
        assert {name: len(of) for name, of in found.points.items()} == {"baseline": 2, "E5": 2, "H2": 1}
        assert (found.points["E5"], found.step_points) == ({0: pytest.approx(84.0), 1: pytest.approx(86.0)}, 0.5)

    def test_campaign_without_a_score_has_one_burst_to_round_to(self, plan: Plan) -> None:
        assert gather(plan, {}, plan.campaign.judged).table == ScoreTable({"baseline": {}, "E5": {}, "H2": {}}, 100.0)

    def test_spread_of_a_difference_takes_both_sides(self, plan: Plan, differences: Pairs) -> None:
        evidence = evidence_of(plan, {"baseline": Spread(3.0, 4.0), "E5": Spread(1.0, 2.0)})
        pairs = differences([[1, 0], [0, 0]])
        between = spread_between(evidence, "K1", "baseline", pairs)
        assert between is not None
        assert between.variance_points2 == pytest.approx(4.0)
        assert spread_between(evidence, "H2", "E5", pairs) is None

    def test_sides_have_what_a_seed_does_to_both_beside_their_own(self, plan: Plan) -> None:
        evidence = evidence_of(plan, {"baseline": Spread(3.0, 4.0), "E5": Spread(1.0, 2.0)}, common_points2=7.0)
        assert side_variances(evidence, "K1", "baseline") == SideVariances(Spread(1.0, 2.0), Spread(3.0, 4.0), 7.0)

    def test_items_of_runs_tell_what_they_explain(self, plan: Plan, runs_of: RunsOf) -> None:
        evidence = gather(plan, runs_of(plan, {"baseline": [0.8, 0.7], "E5": [0.8]}), plan.campaign.judged)
        right_SB = np.array([of.items.columns["correct"] for of in evidence.scores["baseline"].values() if of.items])
        own_SB = 100 * (right_SB - right_SB.mean(axis=0)).reshape(2, 10, 20)
        # Ten devices of twenty bursts each: the variance within a device, as that of a mean over all.
        expected = own_SB.var(axis=2, ddof=1).mean(axis=1).sum() / 200
        assert evidence.table.item_points2 == {"baseline": pytest.approx(expected)}
        assert item_points2(plan.campaign, plan.campaign.judged, evidence.scores["E5"]) is None

    def test_arm_that_guesses_is_at_chance(self, plan: Plan, runs_of: RunsOf) -> None:
        chance = plan.arms["E5"].about.chance
        assert chance == pytest.approx(0.1)
        found = gather(
            plan, runs_of(plan, {"baseline": 0.8, "E5": [0.14, 0.1], "H2": [0.15, 0.1]}), plan.campaign.judged
        )
        assert found.table.at_chance == {"E5"}


class TestExtraSeeds:
    """Seeds of one side alone count where the spread of both sides is known."""

    @pytest.fixture
    def plan(self, a_plan: Callable[..., Plan]) -> Plan:
        return a_plan(EXPERIMENTS, seeds=tuple(range(10)))

    def test_reference_at_ten_seeds_takes_two_fifths_off_the_variance_of_two_pairs(
        self, plan: Plan, runs_of: RunsOf
    ) -> None:
        known = Pool(spreads={"baseline": Spread(1.0, 9.0), "E5": Spread(1.0, 9.0)})
        few, many = ({"baseline": [0.8] * number, "E5": [0.8] * 2} for number in (2, 10))
        variances = []
        for outcomes in (few, many):
            evidence = replace(gather(plan, runs_of(plan, outcomes), plan.campaign.judged), pool=known)
            pairs = pair_arms(evidence, "E5", "baseline")
            assert pairs.seeds == (0, 1)
            spread = spread_between(evidence, "E5", "baseline", pairs)
            assert spread is not None
            variances.append(spread.variance_points2 / 2)
        assert variances == pytest.approx([1.0, 0.6])

    def test_without_a_pooled_spread_they_are_dropped(self, plan: Plan, runs_of: RunsOf) -> None:
        evidence = gather(plan, runs_of(plan, {"baseline": [0.8] * 3, "E5": [0.8] * 2}), plan.campaign.judged)
        pairs = pair_arms(evidence, "E5", "baseline")
        assert (pairs.seeds, pairs.dropped_seeds, pairs.weights) == ((0, 1), (2,), None)

    def test_one_common_seed_takes_what_runs_do_with_single_items_from_other_runs(
        self, plan: Plan, runs_of: RunsOf
    ) -> None:
        known = Pool(spreads={"baseline": Spread(4.0, 9.0), "E5": Spread(4.0, 9.0)})
        records = runs_of(plan, {"baseline": [0.8, 0.79, 0.81], "E5": [0.8]})
        evidence = replace(gather(plan, records, plan.campaign.judged), pool=known)
        pairs = pair_arms(evidence, "E5", "baseline")
        # Three runs of the reference count a third each; the arm's only run takes the reference's noise.
        assert pairs.weights is not None
        assert pairs.weights.reference == pytest.approx(dict.fromkeys(range(3), 1 / 3))
        assert pairs.rest_points2 == pytest.approx(evidence.table.item_points2["baseline"] * (1 + 1 / 3))

    def test_runs_that_collapsed_are_in_no_score(self, a_plan: Callable[..., Plan], runs_of: RunsOf) -> None:
        plan = a_plan(FAR, seeds=(0, 1, 2))
        records = runs_of(plan, {name: [0.8, 0.81, 0.79] for name in IDEAS} | {"D3": [0.8, 0.1, 0.81]})
        evidence = gather(plan, records, plan.campaign.judged)
        assert [evidence.collapsed(name) for name in IDEAS] == [(1,) if name == "D3" else () for name in IDEAS]
        assert sorted(evidence.scores["D3"]) == [0, 2]
        assert set(evidence.table.points["D3"]) == {0, 1, 2}


SEEDS = (0, 1, 4)
FAR = {"E5": {"change": {"loss.kind": "focal"}}, "H2": {"on": "E5", "change": {"model.depth": 2}}} | {
    f"D{depth}": {"change": {"model.depth": depth}} for depth in (3, 5, 6)
}
IDEAS = ("baseline", *FAR)
REPLICATES = ("AA1", "AA2", "AA3")
SHARES = st.lists(st.integers(20, 90).map(lambda percent: percent / 100), min_size=4, max_size=4)
OUTCOMES = st.lists(st.one_of(*[st.integers(20, 90).map(lambda percent: percent / 100)] * 4, st.none()), min_size=3)


@pytest.fixture(scope="module")
def with_aa(a_plan: Callable[..., Plan]) -> dict[int, Plan]:
    """The same campaign by how many A/A arms it has."""
    return {aa: a_plan(FAR, seeds=SEEDS, aa=aa) for aa in (0, 3)}


def table(plan: Plan, records: Mapping[str, RunRecord]) -> ScoreTable:
    return gather(plan, records, plan.campaign.judged).table


class TestReplicates:
    def test_have_no_column_of_the_table_and_no_part_in_the_prior(
        self, with_aa: dict[int, Plan], runs_of: RunsOf
    ) -> None:
        outcomes = {name: [0.8, 0.7, 0.9] for name in IDEAS} | {name: [0.1, 0.9, 0.2] for name in REPLICATES}
        records = runs_of(with_aa[3], outcomes)
        assert table(with_aa[3], records) == table(with_aa[0], records)
        assert set(table(with_aa[3], records).points) == set(IDEAS)
        assert gather(with_aa[3], records, with_aa[3].campaign.judged).pool == pool_arms(table(with_aa[0], records))

    @given(outcomes=st.fixed_dictionaries(dict.fromkeys((*IDEAS, *REPLICATES), OUTCOMES)))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_change_no_number_of_any_idea(
        self, with_aa: dict[int, Plan], runs_of: RunsOf, outcomes: dict[str, Any]
    ) -> None:
        records = runs_of(with_aa[3], outcomes)
        judged, alone = judge(with_aa[3], records), judge(with_aa[0], records)
        assert {name: judged[name] for name in IDEAS} == alone

    def test_are_the_runs_of_the_baselines_configuration_by_the_seeds_that_they_trained_at(
        self, with_aa: dict[int, Plan], runs_of: RunsOf
    ) -> None:
        records = runs_of(with_aa[3], {"baseline": [0.8, None, 0.7], "AA2": [0.9, SLOW, 0.6], "E5": 0.5})
        assert replicate_scores(with_aa[3], records, with_aa[3].campaign.judged) == pytest.approx(
            {0: 80.0, 4: 70.0, 20_000: 90.0, 20_004: 60.0}
        )

    def test_spread_is_their_sample_variance(self) -> None:
        found = replicate_spread([80.0, 70.0, 90.0, 60.0], 0.5)
        assert found is not None
        assert (found.variance_points2, found.degrees_of_freedom) == (pytest.approx(500 / 3), 3)

    def test_that_agree_tell_no_more_than_rounding_lets_them(self) -> None:
        assert replicate_spread([80.0, 80.0, 80.0], 0.5) == Spread(rounding_variance(0.5), 2)

    @pytest.mark.parametrize("percents", [[], [80.0]])
    def test_one_has_no_spread(self, percents: list[float]) -> None:
        assert replicate_spread(percents, 0.5) is None

    def test_difference_of_two_has_twice_the_variance_and_is_known_as_well(
        self, with_aa: dict[int, Plan], differences: Pairs
    ) -> None:
        pairs, known = differences([[1, 0], [0, 0], [0, 1]]), Spread(3.0, 7.0)
        found = spread_between(evidence_of(with_aa[3], {}, known), "AA1", "baseline", pairs)
        assert found == Spread(pytest.approx(6.0), 7.0)
        assert spread_between(evidence_of(with_aa[3], {"baseline": known}), "AA1", "baseline", pairs) is None

    def test_are_called_different_no_more_often_than_the_level_allows_where_seeds_are_strong(
        self, with_aa: dict[int, Plan], a_run: Callable[..., RunRecord]
    ) -> None:
        plan, generator, num_campaigns = with_aa[3], np.random.default_rng(5), 60
        wrong = off_zero = 0
        for _ in range(num_campaigns):
            seed_points = {shift: generator.normal(0.0, 6.0, len(SEEDS)) for shift in (0, 10_000, 20_000, 30_000)}
            records = {
                run.id: run
                for name, arm in plan.arms.items()
                for seed, points in zip(SEEDS, seed_points[arm.seed_shift], strict=True)
                for run in [a_run(plan, name, seed, generator.random(200) < 0.7 + points / 100, num_epochs=1)]
            }
            judged = judge(plan, records)
            found = [judged[name] for name in REPLICATES]
            wrong += any(judgement.verdict in (Verdict.IMPROVED, Verdict.REGRESSION) for judgement in found)
            off_zero += sum(judgement.p_value is not None and judgement.p_value < 0.05 for judgement in found)
        assert wrong <= 0.05 * num_campaigns
        assert off_zero <= 0.05 * num_campaigns * len(REPLICATES)


class TestInteractions:
    EXPERIMENTS: Mapping[str, Any] = {
        "A": {"change": {"model.depth": 2}},
        "B": {"change": {"model.pooling": "mean"}},
        "other": {"change": {"loss.kind": "focal"}},
    }
    AT_ONCE = {"baseline": [0.5, 0.5], "A": [0.55, 0.55], "B": [0.52, 0.52], "A-and-B": [0.95, 0.95]}

    def test_is_judged_on_its_four_arms(self, a_plan: Callable[..., Plan], runs_of: RunsOf) -> None:
        plan = a_plan(self.EXPERIMENTS, interactions=(("A", "B"),))
        records = runs_of(plan, self.AT_ONCE)
        judgements = judge(plan, records)
        (found,) = judge_interactions(plan, records, judgements)
        assert (found.first_points, found.second_points, found.both_points) == pytest.approx((5.0, 2.0, 45.0))
        assert found.contrast.delta_points == pytest.approx(38.0)
        assert found.contrast.moderated
        assert found.verdict is Additivity.SYNERGY
        assert judge_interactions(structs.replace(plan, interactions=()), records, judgements) == []

    def test_is_never_additive_where_a_seed_failed_by_the_doing_of_an_arm(
        self, a_plan: Callable[..., Plan], runs_of: RunsOf
    ) -> None:
        plan = a_plan(self.EXPERIMENTS, interactions=(("A", "B"),), seeds=(0, 1, 2), margin=40.0)
        calm = {name: [0.5, 0.5, 0.5] for name in self.AT_ONCE}
        for last, verdict in ((0.5, Additivity.ADDITIVE), (DIVERGED, Additivity.INCONCLUSIVE)):
            records = runs_of(plan, calm | {"B": [0.5, 0.5, last]})
            (found,) = judge_interactions(plan, records, judge(plan, records))
            assert found.verdict is verdict

    def test_takes_its_own_seeds_where_too_few_configurations_are_pooled(
        self, a_plan: Callable[..., Plan], runs_of: RunsOf
    ) -> None:
        plan = a_plan(self.EXPERIMENTS, interactions=(("A", "B"),))
        records = runs_of(plan, self.AT_ONCE | {"A": [0.55, None]})
        (found,) = judge_interactions(plan, records, judge(plan, records))
        assert (found.verdict, found.contrast.seeds) == (Additivity.NEEDS_SEEDS, (0,))


class TestStagedInteractions:
    """Seeds are given out look by look: what is said of a pair is said once, and stays."""

    STAGING = StagingSpec(screen_seeds=2, max_seeds=4, confirm_seeds=2)
    SURE = {"baseline": [0.5, 0.5], "A": [0.8, 0.8], "B": [0.75, 0.75], "other": [0.5, 0.5], "A-and-B": [0.95, 0.95]}

    @pytest.fixture
    def judged(self, a_plan: Callable[..., Plan], runs_of: RunsOf) -> Callable[..., InteractionJudgement]:
        plan = a_plan(
            TestInteractions.EXPERIMENTS,
            interactions=(("A", "B"),),
            seeds=self.STAGING.all_seeds((0, 1)),
            staging=self.STAGING,
            margin=3.0,
        )

        def of(outcomes: Mapping[str, Any]) -> InteractionJudgement:
            records = runs_of(plan, outcomes)
            at_look, judgements = judge_as_declared(plan, records)
            (found,) = judge_interactions(at_look, records, judgements)
            return found

        return of

    def test_p_value_counts_for_each_look_that_might_have_been_the_last(
        self, judged: Callable[..., InteractionJudgement]
    ) -> None:
        found = judged(
            {"baseline": [0.5, 0.5], "A": [0.8, 0.8], "B": [0.75, 0.75], "other": [0.5, 0.5], "A-and-B": [0.95, 0.96]}
        )
        assert found.contrast.p_value is not None
        assert found.adjusted_p_value == pytest.approx(min(1.0, len(self.STAGING.looks) * found.contrast.p_value))

    def test_waits_for_the_first_look(self, judged: Callable[..., InteractionJudgement]) -> None:
        found = judged(self.SURE | {"other": [0.5]})
        assert (found.verdict, found.adjusted_p_value) == (Additivity.WAITS, None)

    def test_has_its_word_once_all_four_arms_are_decided(self, judged: Callable[..., InteractionJudgement]) -> None:
        assert judged(self.SURE).verdict is Additivity.ANTAGONISM

    def test_waits_while_one_of_them_is_undecided(self, judged: Callable[..., InteractionJudgement]) -> None:
        found = judged(self.SURE | {"A": [0.45, 0.65]})
        assert (found.verdict, found.contrast.seeds) == (Additivity.WAITS, (0, 1))

    def test_arm_that_has_had_all_its_seeds_waits_no_more(self, judged: Callable[..., InteractionJudgement]) -> None:
        whole = {name: of * 2 for name, of in self.SURE.items()} | {"A": [0.40, 0.62, 0.43, 0.60], "B": [0.55] * 4}
        three, four = (judged({name: of[:num_seeds] for name, of in whole.items()}) for num_seeds in (3, 4))
        assert three.verdict is Additivity.WAITS
        assert four.verdict is Additivity.SYNERGY

    def test_arm_that_was_stopped_will_never_be_scored(self, judged: Callable[..., InteractionJudgement]) -> None:
        assert judged(self.SURE | {"B": [SLOW, SLOW]}).verdict is Additivity.NEEDS_SEEDS

    def test_more_runs_than_were_asked_for_change_nothing(self, judged: Callable[..., InteractionJudgement]) -> None:
        more = {name: [*of, 0.9, 0.1, 0.2, 0.7] for name, of in self.SURE.items()}
        assert judged(more) == judged(self.SURE)

    @given(noise=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=4, max_size=4), other=SHARES)
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_word_that_was_given_is_never_taken_back(
        self, judged: Callable[..., InteractionJudgement], noise: list[list[int]], other: list[float]
    ) -> None:
        cells = ("baseline", "A", "B", "A-and-B")
        outcomes = {
            cell: [self.SURE[cell][0] + each / 100 for each in of] for cell, of in zip(cells, noise, strict=True)
        }
        outcomes["other"] = other
        said = [judged({name: of[:num_seeds] for name, of in outcomes.items()}) for num_seeds in (2, 3, 4)]
        for before, after in pairwise(said):
            assert before.verdict is Additivity.WAITS or after == before

    def test_word_stays_while_another_experiment_is_undecided(
        self, judged: Callable[..., InteractionJudgement]
    ) -> None:
        said = [
            judged(self.SURE | {"baseline": [0.5] * num, "other": [0.5, 0.53, 0.9, 0.2][:num]}) for num in (2, 3, 4)
        ]
        assert said[0].verdict is Additivity.ANTAGONISM
        assert said[0] == said[1] == said[2]
