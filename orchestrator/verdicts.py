"""What the campaign concludes about each experiment. Pure: a plan and its records in, judgements out.

The rules, the first that fits:

1. a guard stopped a run: `too_slow`, in the guard's words; every run failed: `failed`; no run has ended: `pending`
2. fewer than two seeds with both sides scored: `inconclusive`, whatever the difference is
3. the whole 95 % interval lies inside the margin: `no_change`. This comes before the sign on purpose: an interval of
   +0.2 to +0.6 where only 1.0 matters is a real difference that makes no difference
4. the interval lies on one side of zero, and the difference stands among all comparisons of the campaign (Holm-adjusted
   p below 0.05): `improved` or `regression`. Twenty comparisons of nothing would give an interval off zero about once
5. else `inconclusive`, with what it would take to tell

Whatever the verdict, the runs it rests on are compared with their reference's: what differs beyond the declared change
is a confound, marked beside the verdict and in its reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec import structs

from model.run_folder import Result
from orchestrator import wording
from orchestrator.evidence import RunRecord
from orchestrator.judgement import Estimate, Judgement, Verdict
from orchestrator.plan import Arm, Plan
from orchestrator.proof import find_confounds
from orchestrator.spec import BASELINE
from orchestrator.states import RunState
from orchestrator.stats import (
    ALPHA,
    PairedDifferences,
    VariancePrior,
    estimate_delta,
    fit_prior,
    holm_adjust,
    pair_outcomes,
    seed_variance,
    seeds_to_resolve,
)

Runs = dict[int, RunRecord | None]
"""Seed -> its run, None where there is none yet."""
Conclusion = tuple[Verdict, str]

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
    family: int
    """How many comparisons the campaign judges together."""
    margin_points: float
    capture: str


def judge(plan: Plan, records: Mapping[str, RunRecord]) -> dict[str, Judgement]:
    """Judge every experiment of a plan on the first capture of `data.report`.

    Args:
        plan: arms that are the same configuration share runs.
        records: run id -> what the run left; runs that are not there have not started.
    """
    runs = {name: _runs_of(plan, records, name) for name in plan.arms}
    capture = plan.campaign.data.report[0]
    compared = {name: arm.reference for name, arm in plan.arms.items() if arm.reference}
    pairs = {name: _pair(runs[name], runs[reference], capture) for name, reference in compared.items()}
    prior = _fit_campaign_prior(plan, pairs)
    estimates = {name: estimate_delta(pair, prior) for name, pair in pairs.items()}
    adjusted = _adjust(plan, estimates)
    family = _count_comparisons(plan, adjusted)
    cases = {
        name: _Case(
            arm=arm,
            reference=plan.arms[arm.reference] if arm.reference else None,
            runs=runs[name],
            reference_runs=runs[arm.reference] if arm.reference else {},
            estimate=estimates.get(name, Estimate()),
            adjusted_p_value=adjusted.get(name),
            family=family,
            margin_points=plan.campaign.margin,
            capture=capture,
        )
        for name, arm in plan.arms.items()
    }
    return {name: _judge_case(case, runs[BASELINE]) for name, case in cases.items()}


def _runs_of(plan: Plan, records: Mapping[str, RunRecord], experiment: str) -> Runs:
    return {seed: records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds}


def _pair(runs: Runs, reference_runs: Runs, capture: str) -> PairedDifferences:
    def scored(side: Runs) -> dict[int, RunRecord]:
        return {seed: run for seed, run in side.items() if run and _state(run) == "done" and capture in run.bursts}

    sides = [{seed: run.bursts[capture] for seed, run in scored(side).items()} for side in (runs, reference_runs)]
    return pair_outcomes(*sides)


def _comparison(plan: Plan, experiment: str) -> frozenset[str]:
    """Name the two configurations compared: K1 on H2 is the mirror image of H2 on E5 and counts once."""
    arm = plan.arms[experiment]
    sides = (arm, plan.arms[arm.reference or BASELINE])
    return frozenset(side.same_as or side.id for side in sides)


def _count_comparisons(plan: Plan, names: Iterable[str]) -> int:
    return len({_comparison(plan, name) for name in names})


def family_size(plan: Plan, judgements: Mapping[str, Judgement]) -> int:
    """Count the comparisons that the campaign judges together; K1 against H2 is H2 against E5 seen from behind."""
    return _count_comparisons(plan, [name for name, found in judgements.items() if found.p_value is not None])


def _fit_campaign_prior(plan: Plan, pairs: Mapping[str, PairedDifferences]) -> VariancePrior | None:
    distinct = {_comparison(plan, name): pair for name, pair in pairs.items() if pair.num_seeds > 1}
    return fit_prior([(seed_variance(pair), pair.num_seeds - 1) for pair in distinct.values()])


def _adjust(plan: Plan, estimates: Mapping[str, Estimate]) -> dict[str, float]:
    p_of = {name: estimate.p_value for name, estimate in estimates.items() if estimate.p_value is not None}
    distinct = {_comparison(plan, name): p_value for name, p_value in p_of.items()}
    adjusted = dict(zip(distinct, holm_adjust(list(distinct.values())), strict=True))
    return {name: adjusted[_comparison(plan, name)] for name in p_of}


def _judge_case(case: _Case, baseline_runs: Runs) -> Judgement:
    verdict, reason = _conclude(case)
    confounds = _confounds(case, verdict)
    accuracy_percent_of = _accuracies(case.runs, case.capture)
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


def _accuracies(runs: Runs, capture: str) -> dict[int, float]:
    results = {seed: _result(run) for seed, run in runs.items()}
    return {
        seed: 100.0 * result.scores[capture].accuracy
        for seed, result in results.items()
        if result is not None and result.state == RunState.DONE and capture in result.scores
    }


def _mean(values: Mapping[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _baseline_delta(case: _Case, baseline_runs: Runs) -> float | None:
    if case.arm.reference is None:
        return None
    return estimate_delta(_pair(case.runs, baseline_runs, case.capture), None).delta_points


def _conclude(case: _Case) -> tuple[Verdict | None, str]:
    stopped = _stopped(case)
    if stopped is not None:
        return stopped
    if case.arm.reference is None:
        return None, "the baseline: it is compared with nothing"
    if len(case.estimate.seeds) < 2:
        return Verdict.INCONCLUSIVE, _needs_seeds(case)
    verdict, reason = _weigh(case)
    return verdict, f"{reason}{_left_out(case)}"


def _stopped(case: _Case) -> Conclusion | None:
    ended = [result for run in case.runs.values() if (result := _result(run)) and _has_ended(result)]
    slow = next((result for result in ended if result.state == RunState.TOO_SLOW), None)
    if slow is not None:
        return Verdict.TOO_SLOW, slow.reason
    if not ended:
        return Verdict.PENDING, f"not run: {_describe_runs(case.runs, case.capture)}"
    if len(ended) == len(case.runs) and all(result.state == RunState.FAILED for result in ended):
        return Verdict.FAILED, _describe_runs(case.runs, case.capture)
    return None


def _has_ended(result: Result) -> bool:
    return result.state in (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED)


def _result(run: RunRecord | None) -> Result | None:
    return run.result if run else None


def _state(run: RunRecord | None) -> str:
    result = _result(run)
    return result.state if result else ""


def _describe_runs(runs: Runs, capture: str) -> str:
    """Say how the runs without scores ended, seeds with the same end together."""
    seeds_of: dict[str, list[int]] = {}
    for seed, run in runs.items():
        if ending := _ending(run, capture):
            seeds_of.setdefault(ending, []).append(seed)
    return "; ".join(f"{wording.seeds(seeds)} {ending}" for ending, seeds in seeds_of.items())


def _ending(run: RunRecord | None, capture: str) -> str:
    result = _result(run)
    if result is None:
        return "without a result yet"
    if result.state == RunState.FAILED:
        return f"failed ({result.failure or 'no class given'}): {result.reason}"
    if result.state != RunState.DONE:
        return f"ended as {result.state}: {result.reason}"
    return "" if run and capture in run.bursts else f"without predictions on {capture}"


def _needs_seeds(case: _Case) -> str:
    return "; ".join(
        [f"needs seeds: {len(case.estimate.seeds)} of at least 2 have both sides scored", *_unscored(case)]
    )


def _unscored(case: _Case) -> list[str]:
    sides = ((case.arm.id, case.runs), (f"the reference {case.arm.reference}", case.reference_runs))
    return [f"{name}: {ended}" for name, runs in sides if (ended := _describe_runs(runs, case.capture))]


def _left_out(case: _Case) -> str:
    parts = _unscored(case)
    if case.estimate.dropped_bursts:
        parts.append(f"{wording.counted(case.estimate.dropped_bursts, 'burst')} that not every run was scored on")
    return f"; left out: {'; '.join(parts)}" if parts else ""


def _weigh(case: _Case) -> Conclusion:
    low, high = case.estimate.interval_points or (-float("inf"), float("inf"))
    margin = case.margin_points
    if -margin < low and high < margin:
        return Verdict.NO_CHANGE, f"the whole interval lies within the margin of ±{margin:g} points"
    if low <= 0 <= high:
        return Verdict.INCONCLUSIVE, f"the interval holds 0 and leaves the margin; {_would_tell(case)}"
    adjusted_p = case.adjusted_p_value or 0.0
    among = f"among {wording.counted(case.family, 'comparison')} (Holm-adjusted p {wording.probability(adjusted_p)})"
    if adjusted_p >= ALPHA:
        return Verdict.INCONCLUSIVE, f"off zero alone, but not {among}; {_would_tell(case)}"
    if low > 0:
        return Verdict.IMPROVED, f"the whole interval lies above 0, also {among}"
    return Verdict.REGRESSION, f"the whole interval lies below 0, also {among}"


def _would_tell(case: _Case) -> str:
    """Say roughly how many seeds would give one of the other verdicts, if the difference stays what it is."""
    size = abs(case.estimate.delta_points or 0.0)
    off_zero = seeds_to_resolve(case.estimate, size, ALPHA / max(1, case.family))
    inside = seeds_to_resolve(case.estimate, case.margin_points - size, ALPHA)
    seeds = max(min(off_zero, inside), len(case.estimate.seeds) + 1)
    if seeds == float("inf"):
        bursts = wording.counted(case.estimate.num_bursts, "burst")
        error = wording.plain(case.estimate.lasting_burst_error_points)
        return f"no number of seeds would tell: the {bursts} alone leave a standard error of {error} points"
    return f"it would take {f'roughly {seeds:.0f}' if seeds <= MAX_SEEDS else f'more than {MAX_SEEDS}'} seeds to tell"
