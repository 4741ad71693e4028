"""What the campaign concludes about each experiment. Pure: a plan and its records in, judgements out.

The rules, the first that fits; the level is `judging.level` (0.05):

1. guards ruled runs too slow, and no seed was done: `too_slow`, in the guard's words. A seed that was done contradicts
   the ruling: the slow seed is left out then, and said so. Every run failed: `failed`; no run has ended: `pending`
2. fewer than two seeds with both sides scored: `needs_seeds`, whatever the difference is
3. two one-sided tests at the level put the difference inside the margin: `no_change`. With 0.05 that is the 90 %
   interval inside the margin. This comes before the sign on purpose: an interval of +0.2 to +0.6 where only 1.0 matters
   is a real difference that makes no difference. It is a statement about one experiment and not adjusted: what a false
   one costs is one missed change of at least the margin, in at most one in twenty of such changes
4. the difference stands among all comparisons of its family (`judging.family`; p adjusted as `judging.correction` says
   and below the level): `improved` or `regression`. Twenty comparisons of nothing would give an interval off zero once
5. else `inconclusive`, with what it would take to tell

Whatever the verdict, the runs it rests on are compared with their reference's: what differs beyond the declared change
is a confound, marked beside the verdict and in its reason.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil, isinf

from msgspec import structs

from model.train.run_folder import Result
from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec
from orchestrator.runs.record import RunRecord
from orchestrator.runs.states import RunState
from orchestrator.stats.estimate import (
    Estimate,
    bursts_to_resolve,
    equivalence_p_value,
    estimate_delta,
    seeds_to_resolve,
)
from orchestrator.stats.multiplicity import CORRECTION_NAME
from orchestrator.stats.variance import MIN_POOLED
from orchestrator.verdicts.comparisons import (
    Runs,
    accuracies_by_seed,
    adjust,
    comparison,
    pair_runs,
    pooled_spreads,
    runs_by_seed,
    spread_between,
)
from orchestrator.verdicts.confounds import find_confounds
from orchestrator.verdicts.judgement import ONLY_LOOK, AtLook, Judgement, Verdict

Conclusion = tuple[Verdict, str]

CONTROLS = "controls"
"""The family of the arms that are no ideas, whatever `judging.family` is: they must not make an idea harder to find."""
MIN_SEEDS = 2
"""Below this many seeds with both sides scored no verdict is given."""
MAX_SEEDS = 100
"""A number of seeds above this is said as "more than"."""


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
    """How many comparisons its family has."""
    judging: JudgingSpec
    equivalence_level: float
    """That of the two one-sided tests: all of `judging.level`, or the share of this look."""
    margin_points: float
    capture: str


def judge(plan: Plan, records: Mapping[str, RunRecord], at: AtLook = ONLY_LOOK) -> dict[str, Judgement]:
    """Judge every experiment of a plan on the first capture of `data.report`.

    Args:
        plan: arms that are the same configuration share runs.
        records: run id -> what the run left; runs that are not there have not started.
        at: where this is one look of several, what of the level it spends; all comparisons of a family are counted
            then, also those that have no p-value yet.
    """
    runs = {name: runs_by_seed(plan, records, name) for name in plan.arms}
    capture = plan.campaign.data.report[0]
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
            family=_family(plan, name),
            num_compared=compared.get(_family(plan, name), 0),
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
    """Estimate the difference at some of a plan's seeds alone; the spread over seeds is pooled over all of them.

    The experiment has a reference.
    """
    sides = (experiment, plan.arms[experiment].reference or BASELINE)
    spread = spread_between(plan, pooled_spreads(plan, records), *sides)
    at_seeds = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=tuple(seeds)))
    own, reference_runs = (runs_by_seed(at_seeds, records, side) for side in sides)
    pairs = pair_runs(own, reference_runs, plan.campaign.data.report[0])
    return estimate_delta(pairs, spread, level)


def _estimate_all(plan: Plan, records: Mapping[str, RunRecord], level: float) -> dict[str, Estimate]:
    spreads = pooled_spreads(plan, records)
    runs = {name: runs_by_seed(plan, records, name) for name in plan.arms}
    return {
        name: estimate_delta(
            pair_runs(runs[name], runs[arm.reference], plan.campaign.data.report[0]),
            spread_between(plan, spreads, name, arm.reference),
            level,
        )
        for name, arm in plan.arms.items()
        if arm.reference is not None
    }


def _family(plan: Plan, experiment: str) -> str | None:
    arm = plan.arms[experiment]
    if arm.reference is None:
        return None
    if arm.control:
        return CONTROLS
    return "campaign" if plan.campaign.judging.family == "campaign" else arm.group


def family_size(judgements: Mapping[str, Judgement]) -> int:
    """Return how many comparisons the campaign's family has, also where only some of them are shown."""
    return max((found.num_compared or 0 for found in judgements.values() if found.family == "campaign"), default=0)


def _adjust(
    plan: Plan, estimates: Mapping[str, Estimate], at: AtLook
) -> tuple[dict[str, float], dict[str | None, int]]:
    """Adjust the p-values within each family; also return how many comparisons each family has."""
    adjusted: dict[str, float] = {}
    compared: dict[str | None, int] = {}
    tested = {name: found for name, found in estimates.items() if plan.arms[name].control != "shuffled_labels"}
    for family in dict.fromkeys(_family(plan, name) for name in tested):
        p_of = {
            name: p_value
            for name, estimate in tested.items()
            if _family(plan, name) == family and (p_value := at.spend(name, estimate.p_value)) is not None
        }
        adjusted_of = adjust(plan, p_of)
        adjusted |= {name: adjusted_of[comparison(plan, name)] for name in p_of}
        compared[family] = len(adjusted_of)
    return adjusted, compared


def _judge_case(case: _Case, baseline_runs: Runs) -> Judgement:
    verdict, reason = _conclude(case)
    confounds = _confounds(case, verdict)
    accuracy_percent_of = accuracies_by_seed(case.runs, case.capture)
    failures = [result.failure for run in case.runs.values() if (result := _result(run)) and result.failure]
    return Judgement(
        **structs.asdict(case.estimate),
        experiment=case.arm.id,
        reference=case.arm.reference,
        verdict=verdict,
        reason=f"{reason}{_describe_confounds(confounds)}",
        confounds=confounds,
        failure=failures[0] if failures and verdict is Verdict.FAILED else None,
        accuracy_percent=_mean(accuracy_percent_of),
        accuracy_percent_of=accuracy_percent_of,
        baseline_delta_points=_baseline_delta(case, baseline_runs),
        adjusted_p_value=case.adjusted_p_value,
        equivalence_p_value=case.equivalence_p_value,
        family=case.family,
        num_compared=case.num_compared if case.family else None,
    )


def _confounds(case: _Case, verdict: Verdict | None) -> tuple[str, ...]:
    """Compare the runs that the verdict rests on: all that ended where one was stopped, else the scored pairs."""
    if case.reference is None:
        return ()
    seeds = case.runs if verdict is not None and verdict.is_stop else case.estimate.seeds
    sides = ((seed, case.runs[seed], case.reference_runs[seed]) for seed in seeds)
    pairs = {seed: (run, other) for seed, run, other in sides if run and run.result and other and other.result}
    return find_confounds(case.arm, case.reference, pairs)


def _describe_confounds(confounds: Iterable[str]) -> str:
    topics = dict.fromkeys(sentence.partition(":")[0] for sentence in confounds)
    return f"; confounded: more than the declared change differs ({wording.listed(topics)})" if topics else ""


def _mean(values: Mapping[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _baseline_delta(case: _Case, baseline_runs: Runs) -> float | None:
    if case.arm.reference is None:
        return None
    return estimate_delta(pair_runs(case.runs, baseline_runs, case.capture), None).delta_points


def _conclude(case: _Case) -> tuple[Verdict | None, str]:
    stopped = _stopped(case)
    if stopped is not None:
        return stopped
    if case.arm.reference is None:
        return None, "the baseline: it is compared with nothing"
    if case.arm.control == "shuffled_labels":
        return None, "a control, trained on labels without meaning: it is held against chance, not its reference"
    if len(case.estimate.seeds) < MIN_SEEDS:
        return Verdict.NEEDS_SEEDS, _needs_seeds(case)
    verdict, reason = _weigh(case)
    return verdict, f"{reason}{_not_pooled(case)}{_left_out(case)}"


def _stopped(case: _Case) -> Conclusion | None:
    ended = [result for run in case.runs.values() if (result := _result(run)) and _has_ended(result)]
    slow = next((result for result in ended if result.state == RunState.TOO_SLOW), None)
    if slow is not None and not _is_any_done(case.runs):
        return Verdict.TOO_SLOW, slow.reason
    if not ended:
        return Verdict.PENDING, f"not run: {_describe_runs(case.runs, case.capture)}"
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
    """Say how the runs without scores ended, seeds with the same end together."""
    seeds_of: dict[str, list[int]] = {}
    is_any_done = _is_any_done(runs)
    for seed, run in runs.items():
        if ending := _ending(run, capture, is_any_done=is_any_done):
            seeds_of.setdefault(ending, []).append(seed)
    return "; ".join(f"{wording.seeds(seeds)} {ending}" for ending, seeds in seeds_of.items())


def _ending(run: RunRecord | None, capture: str, *, is_any_done: bool) -> str:
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


def _needs_seeds(case: _Case) -> str:
    return "; ".join(
        [f"needs seeds: {len(case.estimate.seeds)} of at least {MIN_SEEDS} have both sides scored", *_unscored(case)]
    )


def _unscored(case: _Case) -> list[str]:
    sides = ((case.arm.id, case.runs), (f"the reference {case.arm.reference}", case.reference_runs))
    return [f"{name}: {ended}" for name, runs in sides if (ended := _describe_runs(runs, case.capture))]


def _left_out(case: _Case) -> str:
    parts = _unscored(case)
    if case.estimate.dropped_bursts:
        parts.append(f"{wording.counted(case.estimate.dropped_bursts, 'burst')} that not every run was scored on")
    return f"; left out: {'; '.join(parts)}" if parts else ""


def _not_pooled(case: _Case) -> str:
    if case.estimate.moderated:
        return ""
    own = f"the spread over its seeds is known from its own {len(case.estimate.seeds)} seeds alone (plain t)"
    few = f"fewer than {MIN_POOLED} configurations have two seeds to pool it"
    return f"; {own}: {'it is a control' if case.arm.control else few}"


def decide_verdict(delta_points: float, adjusted_p: float, equivalence_p: float, level: float) -> Verdict:
    """Weigh two tests of one difference: that it is none, adjusted within its family, and that it is the margin."""
    if equivalence_p < level:
        return Verdict.NO_CHANGE
    if adjusted_p >= level:
        return Verdict.INCONCLUSIVE
    return Verdict.IMPROVED if delta_points > 0 else Verdict.REGRESSION


def _weigh(case: _Case) -> Conclusion:
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
        return verdict, f"off zero alone, but not {among}; {_would_tell(case)}"
    return verdict, f"the interval holds 0 and is not inside the margin; {_would_tell(case)}"


def _would_tell(case: _Case) -> str:
    """Say roughly how many seeds, else bursts, would give another verdict, if the difference stays what it is."""
    seeds = max(_least(case, seeds_to_resolve), len(case.estimate.seeds) + 1)
    if seeds < float("inf"):
        return f"it would take {f'roughly {seeds}' if seeds <= MAX_SEEDS else f'more than {MAX_SEEDS}'} seeds to tell"
    error = f"a standard error of {wording.plain(case.estimate.burst_error_points)} points"
    alone = f"the {wording.counted(case.estimate.num_bursts, 'burst')} alone leave {error}"
    bursts = _least(case, bursts_to_resolve)
    more = f"roughly {bursts:,} bursts" if bursts < float("inf") else "more seeds and more bursts"
    return f"no number of seeds would tell: {alone}; it would take {more}"


def _least(case: _Case, to_resolve: Callable[[Estimate, float, float], float]) -> float:
    """Return the smaller of what would bring the interval off zero and what would bring it inside the margin."""
    size, level = abs(case.estimate.delta_points or 0.0), case.estimate.level
    off_zero = to_resolve(case.estimate, size, level / max(1, case.num_compared))
    inside = to_resolve(case.estimate, case.margin_points - size, 2 * case.equivalence_level)
    least = min(off_zero, inside)
    return least if isinf(least) else ceil(least)
