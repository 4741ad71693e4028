"""What the campaign concludes about each experiment. Pure: a plan and its records in, judgements out.

The first rule that fits gives the verdict. The level is `judging.level` (0.05).

1. A guard stopped runs as too slow, and no seed is done: `too_slow`, with the guard's reason. If a seed is done, it
   contradicts the guard, so the slow seed is left out and the reason says so. Every run failed: `failed`. No run has
   ended: `pending`.
2. Fewer than two seeds have a score on both sides: `needs_seeds`, however large the difference is.
3. Two one-sided tests at the level put the difference inside the margin: `no_change`. With 0.05, the 90 % interval lies
   inside the margin. This rule comes before the sign on purpose. With a margin of 1.0, an interval of +0.2 to +0.6 is a
   real difference that does not matter. The test is not corrected for many experiments. A change as large as the margin
   is called no_change at most 5 % of the time.
4. The difference is significant among all comparisons of its family (`judging.family`): `improved` or `regression`. The
   p-value is adjusted as `judging.correction` says, since one of twenty null comparisons is below 0.05 by chance.
5. Otherwise: `inconclusive`, with what a verdict would take.

Example: 44 comparisons, Holm's correction, a margin of 1.0 point.

- +3.0 points, p = 0.0005, the smallest of all: 44 x 0.0005 = 0.022 is below 0.05, so it is `improved`.
- +3.0 points, p = 0.004, the second smallest: 43 x 0.004 = 0.17 is not, so it is `inconclusive`.
- +0.3 points, 90 % interval -0.2 to +0.8: inside +-1.0, so it is `no_change`.

For every verdict, the runs that it rests on are compared with their reference's. What differs beyond the declared
change is a confound. It is marked beside the verdict and in its reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec import structs

from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.fields import BASELINE, CONTROLS
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.runs.states import RunState
from orchestrator.stats.estimate import (
    Estimate,
    Resolve,
    equivalence_p_value,
    estimate_delta,
    fewest_to_decide,
    items_to_resolve,
    seeds_to_resolve,
)
from orchestrator.stats.multiplicity import CORRECTION_NAME
from orchestrator.stats.variance import MIN_POOLED
from orchestrator.verdicts.comparisons import (
    Runs,
    adjust,
    comparison,
    pair_runs,
    pooled_spreads,
    runs_by_seed,
    scores_by_seed,
    spread_between,
)
from orchestrator.verdicts.confounds import find_confounds
from orchestrator.verdicts.judgement import ONLY_LOOK, AtLook, Judgement, Verdict

Conclusion = tuple[Verdict, str]

MIN_SEEDS = 2
"""Least number of seeds with a score on both sides for a verdict."""
MAX_SEEDS = 100
"""A reason names no larger number of seeds; it says "more than" this one."""


@dataclass(frozen=True)
class _Case:
    """All that one verdict is made from."""

    arm: Arm
    reference: Arm | None
    runs: Runs
    reference_runs: Runs
    estimate: Estimate
    adjusted_p_value: float | None
    equivalence_p_value: float | None
    family: str | None
    num_compared: int
    """The number of comparisons in its family."""
    judging: JudgingSpec
    equivalence_level: float
    """Level of the two one-sided tests: `judging.level`, or the share of it that this look has."""
    margin_points: float
    capture: str


def judge(plan: Plan, records: Mapping[str, RunRecord], at: AtLook = ONLY_LOOK) -> dict[str, Judgement]:
    """Judge every experiment of a plan on the first capture of `data.report`.

    Args:
        plan: arms that are the same configuration share runs.
        records: run id -> what the run left; a run without a record has not started.
        at: the part of the level that this look spends. In a campaign with looks, all comparisons of a family count,
            also those without a p-value yet.
    """
    runs = {name: runs_by_seed(plan, records, name) for name in plan.arms}
    capture = plan.campaign.judged.name
    estimates = _estimate_all(plan, records, plan.campaign.judging.level * at.share)
    adjusted, compared = _adjust(plan, estimates, at)
    equivalence = {name: equivalence_p_value(found, plan.campaign.margin) for name, found in estimates.items()}
    cases = {
        name: _Case(
            arm=arm,
            reference=plan.arms[arm.reference] if arm.reference else None,
            runs=runs[name],
            reference_runs=runs[arm.reference] if arm.reference else {},
            estimate=estimates.get(name, Estimate()),
            adjusted_p_value=adjusted.get(name),
            equivalence_p_value=None
            if (p_value := equivalence.get(name)) is None
            else min(1.0, p_value / at.equivalence_share),
            family=_family_of(plan, name),
            num_compared=compared.get(_family_of(plan, name), 0),
            judging=plan.campaign.judging,
            equivalence_level=plan.campaign.judging.level * at.equivalence_share,
            margin_points=plan.campaign.margin,
            capture=capture,
        )
        for name, arm in plan.arms.items()
    }
    return {name: _judge_case(case, runs[BASELINE]) for name, case in cases.items()}


def estimate_at(
    plan: Plan, records: Mapping[str, RunRecord], experiment: str, seeds: Iterable[int], level: float
) -> Estimate:
    """Estimate the difference at some seeds alone; the spread over seeds is pooled over all records.

    Args:
        plan: the arms; those without a pooled spread use their own seeds alone.
        records: run id -> what the run left.
        experiment: an arm with a reference.
        seeds: of the difference.
        level: one minus the coverage of the interval.
    """
    sides = (experiment, plan.arms[experiment].reference or BASELINE)
    spread = spread_between(plan, pooled_spreads(plan, records), *sides)
    at_seeds = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=tuple(seeds)))
    own, reference_runs = (runs_by_seed(at_seeds, records, side) for side in sides)
    pairs = pair_runs(own, reference_runs, plan.campaign.judged.name)
    return estimate_delta(pairs, spread, level)


def _estimate_all(plan: Plan, records: Mapping[str, RunRecord], level: float) -> dict[str, Estimate]:
    spreads = pooled_spreads(plan, records)
    runs = {name: runs_by_seed(plan, records, name) for name in plan.arms}
    return {
        name: estimate_delta(
            pair_runs(runs[name], runs[arm.reference], plan.campaign.judged.name),
            spread_between(plan, spreads, name, arm.reference),
            level,
        )
        for name, arm in plan.arms.items()
        if arm.reference is not None
    }


def _family_of(plan: Plan, experiment: str) -> str | None:
    arm = plan.arms[experiment]
    if arm.reference is None:
        return None
    if arm.control:
        # Whatever `judging.family` is: a control must not make an idea harder to find.
        return CONTROLS
    return "campaign" if plan.campaign.judging.family == "campaign" else arm.group


def family_size(judgements: Mapping[str, Judgement]) -> int:
    """Return the number of comparisons in the campaign's family, also if a report shows only some of them."""
    return max((found.num_compared or 0 for found in judgements.values() if found.family == "campaign"), default=0)


def _adjust(
    plan: Plan, estimates: Mapping[str, Estimate], at: AtLook
) -> tuple[dict[str, float], dict[str | None, int]]:
    """Adjust the p-values within each family; also return how many comparisons each family has."""
    adjusted: dict[str, float] = {}
    compared: dict[str | None, int] = {}
    # Shuffled labels are compared with chance, so they must not make the correction of other controls harsher.
    tested = {name: found for name, found in estimates.items() if plan.arms[name].control != "shuffled_labels"}
    for family in dict.fromkeys(_family_of(plan, name) for name in tested):
        p_of = {
            name: p_value
            for name, estimate in tested.items()
            if _family_of(plan, name) == family and (p_value := at.spend(name, estimate.p_value)) is not None
        }
        adjusted_of = adjust(plan, p_of)
        adjusted |= {name: adjusted_of[comparison(plan, name)] for name in p_of}
        compared[family] = len(adjusted_of)
    return adjusted, compared


def _judge_case(case: _Case, baseline_runs: Runs) -> Judgement:
    verdict, reason = _conclude(case)
    confounds = _find_confounds(case, verdict)
    score_of = scores_by_seed(case.runs, case.capture)
    # The first failure names the class, since seeds of one change mostly fail alike.
    failures = [result.failure for run in case.runs.values() if (result := _result(run)) and result.failure]
    return Judgement(
        **structs.asdict(case.estimate),
        experiment=case.arm.id,
        reference=case.arm.reference,
        verdict=verdict,
        reason=f"{reason}{_describe_confounds(confounds)}",
        confounds=confounds,
        failure=failures[0] if failures and verdict is Verdict.FAILED else None,
        score=_mean(score_of),
        score_of=score_of,
        baseline_delta_points=_baseline_delta(case, baseline_runs),
        adjusted_p_value=case.adjusted_p_value,
        equivalence_p_value=case.equivalence_p_value,
        family=case.family,
        num_compared=case.num_compared if case.family else None,
    )


def _find_confounds(case: _Case, verdict: Verdict | None) -> tuple[str, ...]:
    """Compare the runs that the verdict rests on: all that ended after a stop, otherwise the scored pairs."""
    if case.reference is None:
        return ()
    # A stop rests on runs without scores, so those are compared as well.
    seeds = case.runs if verdict is not None and verdict.is_stop else case.estimate.seeds
    sides = ((seed, case.runs[seed], case.reference_runs[seed]) for seed in seeds)
    pairs = {seed: (run, other) for seed, run, other in sides if run and run.result and other and other.result}
    return find_confounds(case.arm, case.reference, pairs)


def _describe_confounds(confounds: Iterable[str]) -> str:
    # The reason names topics only; the sentences stand below the verdict.
    topics = dict.fromkeys(sentence.partition(":")[0] for sentence in confounds)
    return f"; confounded: more than the declared change differs ({wording.listed(topics)})" if topics else ""


def _mean(values: Mapping[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _baseline_delta(case: _Case, baseline_runs: Runs) -> float | None:
    if case.arm.reference is None:
        return None
    return estimate_delta(pair_runs(case.runs, baseline_runs, case.capture), None).delta_points


def _conclude(case: _Case) -> tuple[Verdict | None, str]:
    stopped = _conclude_stop(case)
    if stopped is not None:
        return stopped
    if case.arm.reference is None:
        return None, "the baseline: it is compared with nothing"
    if case.arm.control == "shuffled_labels":
        return None, "a control, trained on labels without meaning: it is held against chance, not its reference"
    if len(case.estimate.seeds) < MIN_SEEDS:
        return Verdict.NEEDS_SEEDS, _describe_needs_seeds(case)
    verdict, reason = _judge_difference(case)
    return verdict, f"{reason}{_describe_own_spread(case)}{_describe_left_out(case)}"


def _conclude_stop(case: _Case) -> Conclusion | None:
    ended = [result for run in case.runs.values() if (result := _result(run)) and _has_ended(result)]
    # A guard rules on an epoch's time. One finished seed shows that the limit can be met.
    slow = next((result for result in ended if result.state == RunState.TOO_SLOW), None)
    if slow is not None and not _is_any_done(case.runs):
        return Verdict.TOO_SLOW, slow.reason
    if not ended:
        return Verdict.PENDING, f"not run: {_describe_runs(case.runs, case.capture)}"
    # One failed seed of several may be an accident of the machine; all failed seeds are a property of the change.
    if len(ended) == len(case.runs) and all(result.state == RunState.FAILED for result in ended):
        return Verdict.FAILED, _describe_runs(case.runs, case.capture)
    return None


def _is_any_done(runs: Runs) -> bool:
    return any(result.state == RunState.DONE for run in runs.values() if (result := _result(run)))


def _has_ended(result: Result) -> bool:
    return result.state in (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED)


def _result(run: RunRecord | None) -> Result | None:
    return run.result if run else None


def _describe_runs(runs: Runs, capture: str) -> str:
    """Say how the runs without scores ended, with the seeds of each end together."""
    seeds_of: dict[str, list[int]] = {}
    is_any_done = _is_any_done(runs)
    for seed, run in runs.items():
        if ending := _describe_ending(run, capture, is_any_done=is_any_done):
            seeds_of.setdefault(ending, []).append(seed)
    return "; ".join(f"{wording.seeds(seeds)} {ending}" for ending, seeds in seeds_of.items())


def _describe_ending(run: RunRecord | None, capture: str, *, is_any_done: bool) -> str:
    result = _result(run)
    if run is None or result is None:
        return "without a result yet"
    if result.state == RunState.TOO_SLOW and is_any_done:
        how = f"which a seed that is done contradicts; `knockout retry {run.id}` trains it on"
        return f"was ruled too slow, {how}: {result.reason}"
    if result.state == RunState.FAILED:
        return f"failed ({result.failure or 'no class given'}): {result.reason}"
    if result.state != RunState.DONE:
        return f"ended as {result.state}: {result.reason}"
    return "" if capture in run.bursts else f"without predictions on {capture}"


def _describe_needs_seeds(case: _Case) -> str:
    few = f"needs seeds: {len(case.estimate.seeds)} of at least {MIN_SEEDS} have both sides scored"
    return "; ".join([few, *_describe_unscored(case)])


def _describe_unscored(case: _Case) -> list[str]:
    sides = ((case.arm.id, case.runs), (f"the reference {case.arm.reference}", case.reference_runs))
    return [f"{name}: {ended}" for name, runs in sides if (ended := _describe_runs(runs, case.capture))]


def _describe_left_out(case: _Case) -> str:
    parts = _describe_unscored(case)
    if case.estimate.dropped_items:
        parts.append(f"{wording.counted(case.estimate.dropped_items, 'burst')} that not every run was scored on")
    return f"; left out: {'; '.join(parts)}" if parts else ""


def _describe_own_spread(case: _Case) -> str:
    if case.estimate.moderated:
        return ""
    own = f"the spread over its seeds is known from its own {len(case.estimate.seeds)} seeds alone (plain t)"
    few = f"fewer than {MIN_POOLED} configurations have two seeds to pool it"
    return f"; {own}: {'it is a control' if case.arm.control else few}"


def decide_verdict(delta_points: float, adjusted_p: float, equivalence_p: float, level: float) -> Verdict:
    """Return the verdict from the tests against zero (adjusted within the family) and against the margin."""
    # The margin comes before the sign: see rule 3 at the head of this module.
    if equivalence_p < level:
        return Verdict.NO_CHANGE
    if adjusted_p >= level:
        return Verdict.INCONCLUSIVE
    return Verdict.IMPROVED if delta_points > 0 else Verdict.REGRESSION


def _judge_difference(case: _Case) -> Conclusion:
    delta, p_value, level = case.estimate.delta_points, case.estimate.p_value, case.estimate.level
    adjusted_p, equivalence_p = case.adjusted_p_value, case.equivalence_p_value
    assert delta is not None
    assert p_value is not None
    assert adjusted_p is not None
    assert equivalence_p is not None
    verdict = decide_verdict(delta, adjusted_p, equivalence_p, case.judging.level)
    correction = f"{CORRECTION_NAME[case.judging.correction]}-adjusted p {wording.probability(adjusted_p)}"
    group = "" if case.family == "campaign" else f" of {case.family}"
    among = f"among {wording.counted(case.num_compared, 'comparison')}{group} ({correction})"
    if verdict is Verdict.NO_CHANGE:
        looks = ", adjusted for the looks" if case.equivalence_level < case.judging.level else ""
        tests = f"two one-sided tests, p {wording.probability(equivalence_p)}{looks}"
        inside = f"the {wording.coverage(2 * case.equivalence_level)} interval lies within the margin"
        return verdict, f"{inside} of ±{case.margin_points:g} points ({tests})"
    if verdict is not Verdict.INCONCLUSIVE:
        return verdict, f"the whole interval lies {'above' if delta > 0 else 'below'} 0, also {among}"
    if p_value < level:
        return verdict, f"off zero alone, but not {among}; {_describe_needed(case)}"
    return verdict, f"the interval holds 0 and is not inside the margin; {_describe_needed(case)}"


def _describe_needed(case: _Case) -> str:
    """Say roughly how many seeds, or else bursts, would give another verdict if the difference stays."""
    # The estimate may say that the present seeds are enough, but they gave no verdict: so at least one more.
    seeds = max(_fewest(case, seeds_to_resolve), len(case.estimate.seeds) + 1)
    if seeds < float("inf"):
        return f"it would take {f'roughly {seeds}' if seeds <= MAX_SEEDS else f'more than {MAX_SEEDS}'} seeds to tell"
    error = f"a standard error of {wording.plain(case.estimate.item_error_points)} points"
    alone = f"the {wording.counted(case.estimate.num_items, 'burst')} alone leave {error}"
    bursts = _fewest(case, items_to_resolve)
    more = f"roughly {bursts:,} bursts" if bursts < float("inf") else "more seeds and more bursts"
    return f"no number of seeds would tell: {alone}; it would take {more}"


def _fewest(case: _Case, to_resolve: Resolve) -> float:
    return fewest_to_decide(
        case.estimate, case.margin_points, case.num_compared, case.equivalence_level, to_resolve=to_resolve
    )
