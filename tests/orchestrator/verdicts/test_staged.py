"""A campaign judged look by look: what is decided, what is wanted, and what must be confirmed."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import AtLook, Verdict
from orchestrator.verdicts.next_run import next_run
from orchestrator.verdicts.staged import (
    SeedDecisionState,
    StagedVerdicts,
    experiments_left_out,
    judge_as_declared,
    judge_staged,
    plan_to_judge,
)
from tests.builders.stranger_plans import build_numbers, build_stranger

STAGING = StagingSpec(screen_seeds=2, max_seeds=3, confirm_seeds=2)
EXPERIMENTS = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"loss.gamma": 3.0}},
    "K1": {"change": {"loss.label_smoothing": 0.1}},
}
SLOW = Result(state="too_slow", reason="median epoch takes 1.1 s, the budget is 1.0 s", epochs=3)
DIVERGED = Result(state="failed", failure="diverged", reason="the loss rose", epochs=1)
NUM_BURSTS = 500

RunsOf = Callable[..., dict[str, RunRecord]]


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS, seeds=STAGING.all_seeds((0, 1)), staging=STAGING, margin=8.0)


def scored(num_correct: int) -> NDArray[np.bool_]:
    """The first bursts of each of ten devices are recognised."""
    correct = np.zeros((10, NUM_BURSTS // 10), dtype=np.bool_)
    for index in range(num_correct):
        correct[index % 10, index // 10] = True
    return correct.ravel()


@pytest.fixture
def standing(plan: Plan, runs_of: RunsOf) -> Callable[[Mapping[str, Any]], StagedVerdicts]:
    """Judge runs given as experiment -> how many bursts each seed recognised."""

    def of(outcomes: Mapping[str, Any]) -> StagedVerdicts:
        given = {
            name: [scored(each) if isinstance(each, int) else each for each in of] for name, of in outcomes.items()
        }
        return judge_staged(plan, runs_of(plan, given), STAGING)

    return of


CALM = {"baseline": [400, 402], "E5": [401, 401], "H2": [402, 400], "K1": [400, 401]}
"""Nothing differs."""
WON = CALM | {"K1": [470, 472]}


def test_nothing_trained_wants_the_screening_of_every_arm(plan: Plan, standing: Any) -> None:
    found = standing({})
    assert found.wanted == tuple((name, seed) for seed in (0, 1) for name in plan.arms)
    assert {decision.state for decision in found.decisions.values()} == {SeedDecisionState.UNDECIDED}
    assert {judgement.verdict for judgement in found.judgements.values()} == {Verdict.PENDING}


def test_no_verdict_is_given_while_the_first_look_waits_for_a_run(standing: Any) -> None:
    found = standing(WON | {"H2": [402]})
    judgement = found.judgements["K1"]
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == "no verdict before the look at 2 seeds is complete: it waits for 1 run"
    assert found.wanted == (("H2", 1),)


def test_what_is_decided_at_the_first_look_wants_no_more_seeds(standing: Any) -> None:
    found = standing(CALM)
    assert {decision.verdict for decision in found.decisions.values()} == {Verdict.NO_CHANGE}
    assert found.wanted == ()
    assert found.judgements["E5"].look_seeds == 2
    assert found.judgements["E5"].reason.endswith("; decided at the look at 2 seeds, at the level 3.8 %")


def test_an_undecided_experiment_wants_the_next_look_and_so_does_its_reference(standing: Any) -> None:
    found = standing(CALM | {"H2": [372, 404]})
    decision = found.decisions["H2"]
    assert (decision.state, decision.wants) == (SeedDecisionState.UNDECIDED, (2,))
    assert set(found.wanted) == {("E5", 2), ("H2", 2)}
    assert found.judgements["H2"].reason.endswith("; the next look waits for 2 runs")


def test_one_that_has_had_all_seeds_stays_inconclusive_and_says_what_it_would_take(standing: Any) -> None:
    found = standing(CALM | {"E5": [401, 401, 400], "H2": [372, 404, 350]})
    assert found.decisions["H2"].state is SeedDecisionState.EXHAUSTED
    assert found.wanted == ()
    assert "it would take" in found.judgements["H2"].reason


def test_a_later_seed_takes_no_decision_back(standing: Any) -> None:
    before = standing(CALM).judgements["E5"]
    after = standing(CALM | {"baseline": [400, 402, 300], "E5": [401, 401, 499]}).judgements["E5"]
    assert before == after


def test_the_same_records_give_the_same_decision(standing: Any) -> None:
    assert standing(WON) == standing(WON)


def test_a_stopped_experiment_is_decided(standing: Any) -> None:
    found = standing(CALM | {"K1": [SLOW, SLOW]})
    assert found.decisions["K1"].state is SeedDecisionState.DECIDED
    assert found.decisions["K1"].verdict is Verdict.TOO_SLOW


def test_an_experiment_whose_reference_was_stopped_gets_no_more_seeds(standing: Any) -> None:
    found = standing(CALM | {"baseline": [SLOW, SLOW]})
    assert found.decisions["E5"].state is SeedDecisionState.DECIDED
    assert found.wanted == ()


def test_an_arm_that_failures_bar_gets_no_seeds_without_end(standing: Any) -> None:
    outcomes = {name: [*of, of[0]] for name, of in WON.items()}
    found = standing(outcomes | {"K1": [470, DIVERGED, 472]})
    assert found.decisions["K1"].state is SeedDecisionState.EXHAUSTED
    assert "seed 1 failed (diverged) by the doing of K1" in found.judgements["K1"].reason
    assert [cell for cell in found.wanted if cell[0] == "K1"] == []


class TestConfirmation:
    def test_fresh_seeds_of_which_one_failed_by_its_own_doing_confirm_nothing(
        self, a_plan: Callable[..., Plan], runs_of: RunsOf
    ) -> None:
        staging = StagingSpec(screen_seeds=2, max_seeds=3, confirm_seeds=3)
        plan = a_plan(EXPERIMENTS, seeds=staging.all_seeds((0, 1)), staging=staging, margin=8.0)
        given = {name: [scored(each) for each in of] for name, of in WON.items()}
        fresh = {
            "baseline": [*given["baseline"], None, *[scored(400)] * 3],
            "K1": [*given["K1"], None, scored(470), scored(472), DIVERGED],
        }
        found = judge_staged(plan, runs_of(plan, given | fresh), staging).judgements["K1"]
        assert (found.verdict, found.is_confirmed, found.is_keeper) == (Verdict.IMPROVED, False, False)
        assert found.reason.endswith("; seed 5 failed by the doing of K1")
        whole = fresh | {"K1": [*fresh["K1"][:-1], scored(470)]}
        assert judge_staged(plan, runs_of(plan, given | whole), staging).judgements["K1"].is_keeper

    def test_a_metric_of_the_role_confirm_stands_in_place_of_the_judged_one(self) -> None:
        metrics = {
            "seen": {"better": "higher", "margin": 8.0},
            "held": {"better": "higher", "margin": 8.0, "role": "confirm"},
        }
        plan = build_stranger(metrics, seeds=STAGING.all_seeds((0, 1)), staging=STAGING)
        calm = {
            name: {"seen": [50.0, 51.0, 50.5, 50.2, 50.8], "held": [50.0, 51.0, 50.5, 50.2, 50.8]} for name in plan.arms
        }
        for held, is_confirmed in (([90.0, 91.0, 90.5, 90.2, 90.8], True), ([50.0, 51.0, 50.5, 50.2, 50.8], False)):
            won = calm | {"fast": {"seen": [90.0, 91.0, 90.5, 90.2, 90.8], "held": held}}
            judgement = judge_staged(plan, build_numbers(plan, won), STAGING).judgements["fast"]
            assert judgement.verdict is Verdict.IMPROVED
            assert judgement.is_confirmed is is_confirmed
            assert judgement.delta_points == pytest.approx(40.0)
            assert judgement.fresh is not None
            assert judgement.fresh.delta_points == pytest.approx(40.0 if is_confirmed else 0.0)

    def test_an_improvement_is_a_candidate_and_wants_fresh_seeds(self, standing: Any) -> None:
        found = standing(WON)
        judgement = found.judgements["K1"]
        assert judgement.verdict is Verdict.IMPROVED
        assert judgement.is_confirmed is False
        assert not judgement.is_keeper
        assert judgement.reason.endswith("; a candidate until seeds 3 and 4 confirm it")
        assert set(found.wanted) == {(name, seed) for name in ("baseline", "K1") for seed in (3, 4)}

    def test_fresh_seeds_that_show_it_too_make_it_a_keeper_and_both_numbers_are_told(self, standing: Any) -> None:
        found = standing(WON | {"baseline": [400, 402, None, 400, 401], "K1": [470, 472, None, 460, 462]})
        judgement = found.judgements["K1"]
        assert judgement.is_keeper
        assert judgement.fresh.seeds == (3, 4)
        assert judgement.fresh.delta_points == pytest.approx(12.1)
        assert judgement.delta_points == pytest.approx(14.0)
        assert judgement.reason.endswith(
            "; confirmed on seeds 3 and 4 alone: +12.1 points there, +14.0 where it was found"
        )

    def test_fresh_seeds_without_it_leave_the_verdict_and_make_no_keeper(self, standing: Any) -> None:
        found = standing(WON | {"baseline": [400, 402, None, 400, 401], "K1": [470, 472, None, 401, 399]})
        judgement = found.judgements["K1"]
        assert judgement.verdict is Verdict.IMPROVED
        assert not judgement.is_keeper
        assert "; not confirmed on seeds 3 and 4 alone: −0.1 points there" in judgement.reason
        assert found.wanted == ()

    def test_what_other_experiments_are_given_later_changes_no_confirmation(self, standing: Any) -> None:
        fresh = WON | {"baseline": [400, 402, None, 400, 401], "K1": [470, 472, None, 460, 462]}
        before = standing(fresh | {"E5": [372, 404]}).judgements["K1"]
        later = fresh | {"baseline": [400, 402, 300, 400, 401], "E5": [372, 404, 250], "H2": [402, 400, 250]}
        assert standing(later).judgements["K1"].fresh == before.fresh

    def test_an_undecided_experiment_wants_no_fresh_seeds_of_the_reference_that_it_shares(self, standing: Any) -> None:
        found = standing(WON | {"E5": [372, 404]})
        assert found.judgements["E5"].verdict is Verdict.INCONCLUSIVE
        assert (found.decisions["E5"].wants, found.decisions["K1"].wants) == ((2,), (3, 4))


class TestTwins:
    @pytest.fixture
    def plan(self, a_plan: Callable[..., Plan]) -> Plan:
        twice = EXPERIMENTS | {"K2": EXPERIMENTS["K1"]}
        return a_plan(twice, seeds=STAGING.all_seeds((0, 1)), staging=STAGING, margin=8.0)

    def test_a_run_that_two_experiments_share_is_wanted_once_and_serves_both(self, standing: Any) -> None:
        found = standing(WON)
        assert found.judgements["K2"].verdict is Verdict.IMPROVED
        assert len(found.wanted) == 4
        shared = next_run(found, {"K1": 0.1, "baseline": 100.0}.get)
        assert shared is not None
        assert (shared.experiment, shared.serves) == ("K1", ("K1", "K2"))

    def test_a_run_that_two_experiments_share_is_waited_for_once(self, standing: Any) -> None:
        reason = standing({"baseline": [400, 402], "E5": [401, 401], "H2": [402, 400]}).judgements["E5"].reason
        assert reason.endswith("it waits for 2 runs")


class TestControls:
    @pytest.fixture
    def plan(self, a_plan: Callable[..., Plan]) -> Plan:
        with_control = EXPERIMENTS | {"shuffled": {"control": "shuffled_labels"}}
        return a_plan(with_control, seeds=STAGING.all_seeds((0, 1)), staging=STAGING, margin=8.0)

    def test_labels_without_meaning_are_nothing_to_decide(self, standing: Any) -> None:
        found = standing(CALM | {"shuffled": [50, 55]})
        assert found.judgements["shuffled"].verdict is None
        assert "shuffled" not in found.decisions

    def test_a_run_of_theirs_is_next_because_the_look_waits_for_it(self, standing: Any) -> None:
        found = next_run(standing(CALM), lambda name: 1.0)
        assert found is not None
        assert (found.experiment, found.reason) == (
            "shuffled",
            "it is a control of the campaign, and the first look waits for it",
        )


class TestWhatIsJudgedTogether:
    @pytest.fixture
    def records(self, plan: Plan, runs_of: RunsOf) -> dict[str, RunRecord]:
        return runs_of(plan, {name: [scored(each) for each in CALM[name]] for name in ("baseline", "E5", "K1")})

    def test_a_verdict_is_the_same_whichever_experiments_are_named(
        self, plan: Plan, records: dict[str, RunRecord]
    ) -> None:
        whole = structs.replace(plan, campaign=structs.replace(plan.campaign, staging=None, seeds=(0, 1)))
        alone, both = (plan_to_judge(whole, names, records) for names in (["E5"], ["E5", "K1"]))
        assert list(alone.arms) == ["baseline", "E5", "K1"]
        assert judge(alone, records) == judge(both, records)
        assert experiments_left_out(whole, alone, records) == []

    def test_looks_are_of_what_is_named_alone_and_the_rest_can_be_named(
        self, plan: Plan, records: dict[str, RunRecord]
    ) -> None:
        part = plan_to_judge(plan, ["E5"], records)
        assert list(part.arms) == ["baseline", "E5"]
        assert experiments_left_out(plan, part, records) == ["K1"]


class TestLevels:
    def test_one_look_of_several_tests_at_its_share(self, plan: Plan, runs_of: RunsOf) -> None:
        at_two = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=(0, 1)))
        records = runs_of(at_two, {name: [scored(each) for each in of] for name, of in WON.items()})
        alone, shared = judge(at_two, records)["K1"], judge(at_two, records, AtLook(0.1, 0.1, {}))["K1"]
        assert alone.adjusted_p_value is not None
        assert shared.adjusted_p_value == pytest.approx(10 * alone.adjusted_p_value)
        assert shared.level == pytest.approx(0.005)
        assert shared.low_points is not None
        assert alone.low_points is not None
        assert shared.low_points < alone.low_points

    def test_comparisons_without_a_number_yet_count_among_those_that_are_adjusted(
        self, plan: Plan, runs_of: RunsOf
    ) -> None:
        records = runs_of(plan, {"baseline": [scored(400), scored(402)], "E5": [scored(401), scored(410)]})
        assert judge(plan, records, AtLook(1.0, 1.0, {}))["E5"].num_compared == 3
        assert judge(plan, records)["E5"].num_compared == 1


def test_a_campaign_without_staging_is_judged_at_once(plan: Plan, runs_of: RunsOf) -> None:
    fixed = structs.replace(plan, campaign=structs.replace(plan.campaign, staging=None, seeds=(0, 1)))
    records = runs_of(fixed, {"baseline": [0.8, 0.8], "E5": [0.8, 0.8]}, num_items=NUM_BURSTS)
    assert judge_as_declared(fixed, records) == (fixed, judge(fixed, records))


def test_the_plan_of_a_report_holds_the_runs_that_were_asked_for_and_no_others(plan: Plan, runs_of: RunsOf) -> None:
    told, judgements = judge_as_declared(plan, runs_of(plan, {"baseline": [0.8, 0.8]}, num_items=NUM_BURSTS))
    assert told.campaign.seeds == (0, 1)
    assert {run.id for run in told.runs} == {plan.run_of[name, seed] for name in plan.arms for seed in (0, 1)}
    assert judgements.keys() == plan.arms.keys()


class TestFirstLookAtOneSeed:
    """The spread comes from the reference, which has the root of 25 times as many seeds as each of 25 experiments."""

    STAGING = StagingSpec(screen_seeds=1, max_seeds=4, reference_seeds=10)
    NAMES = tuple(f"clip{number}" for number in range(25))
    CALM: Mapping[str, list[int]] = {
        "baseline": [400, 402, 399, 401, 400],
        **{f"clip{number}": [401] for number in range(25)},
    }

    @pytest.fixture
    def judged(self, a_plan: Callable[..., Plan], runs_of: RunsOf) -> Callable[[Mapping[str, Any]], StagedVerdicts]:
        changes = {name: {"change": {"optim.clip_norm": 2.0 + number}} for number, name in enumerate(self.NAMES)}
        plan = a_plan(changes, seeds=self.STAGING.all_seeds((0,)), staging=self.STAGING, margin=8.0)

        def of(outcomes: Mapping[str, Any]) -> StagedVerdicts:
            given = {name: [scored(each) for each in counts] for name, counts in outcomes.items()}
            return judge_staged(plan, runs_of(plan, given), self.STAGING)

        return of

    def test_it_wants_one_seed_of_each_and_five_of_the_reference(self, judged: Any) -> None:
        wanted = judged({}).wanted
        assert sorted(seed for name, seed in wanted if name == "baseline") == [0, 1, 2, 3, 4]
        assert {(name, seed) for name, seed in wanted if name != "baseline"} == {(name, 0) for name in self.NAMES}

    def test_difference_beyond_any_doubt_has_its_verdict_and_the_others_have_theirs(self, judged: Any) -> None:
        found = judged({**self.CALM, "clip3": [50]})
        judgement = found.judgements["clip3"]
        assert (judgement.verdict, judgement.look_seeds, judgement.seeds) == (Verdict.REGRESSION, 1, (0,))
        assert judgement.extra_seeds == (1, 2, 3, 4)
        assert found.judgements["clip4"].verdict is Verdict.NO_CHANGE

    def test_difference_that_an_unlucky_seed_may_make_waits(self, judged: Any) -> None:
        found = judged({**self.CALM, "baseline": [400, 416, 384, 408, 392], "clip3": [370]})
        assert found.decisions["clip3"].state is SeedDecisionState.UNDECIDED
        assert ("clip3", 1) in found.wanted

    def test_reference_with_few_seeds_lends_no_spread_and_the_file_is_told_so(self) -> None:
        with pytest.raises(
            ValueError, match="reference_seeds 4 shows too little of it; use reference_seeds of 5 or more"
        ):
            StagingSpec(screen_seeds=1, reference_seeds=4)
