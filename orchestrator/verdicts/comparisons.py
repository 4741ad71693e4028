"""What a campaign compares: scored runs, which arms are one configuration or a 2 x 2, the spread that all share. Pure.

`verdicts` judges by these functions, and `arithmetic` works a verdict out again by the same ones.
"""

from collections.abc import Collection, Mapping
from statistics import variance

from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import Bursts, RunRecord
from orchestrator.runs.states import RunState
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.stats.pairing import PairedDifferences, pair_outcomes
from orchestrator.stats.variance import Spread, difference_spread, pool_spreads, rounding_variance

Runs = dict[int, RunRecord | None]
"""Seed -> its run, None where there is none yet."""


def runs_by_seed(plan: Plan, records: Mapping[str, RunRecord], experiment: str) -> Runs:
    """Return an experiment's runs by the campaign's seeds."""
    return {seed: records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds}


def outcomes_by_seed(runs: Runs, capture: str) -> dict[int, Bursts]:
    """Return seed -> outcomes on a capture, of the runs that are done."""
    return {seed: run.bursts[capture] for seed, run in _done(runs).items() if capture in run.bursts}


def accuracies_by_seed(runs: Runs, capture: str) -> dict[int, float]:
    """Return seed -> accuracy on a capture in percent, of the runs that are done."""
    results = {seed: run.result for seed, run in _done(runs).items()}
    return {
        seed: 100.0 * result.scores[capture].accuracy
        for seed, result in results.items()
        if result is not None and capture in result.scores
    }


def _done(runs: Runs) -> dict[int, RunRecord]:
    return {seed: run for seed, run in runs.items() if run and run.result and run.result.state == RunState.DONE}


def pair_runs(runs: Runs, reference_runs: Runs, capture: str) -> PairedDifferences:
    """Join two sides on seed and burst; what is scored on one side only is dropped and counted.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    return pair_outcomes(outcomes_by_seed(runs, capture), outcomes_by_seed(reference_runs, capture))


def configuration(plan: Plan, experiment: str) -> str:
    """Name the first arm with the same configuration, whose runs an experiment shares."""
    return plan.arms[experiment].same_as or experiment


def comparison(plan: Plan, experiment: str) -> frozenset[str]:
    """Name the two configurations compared: K1 on H2 is the mirror image of H2 on E5 and counts once."""
    reference = plan.arms[experiment].reference or BASELINE
    return frozenset(configuration(plan, side) for side in (experiment, reference))


def score_table(plan: Plan, records: Mapping[str, RunRecord]) -> tuple[dict[str, dict[int, float]], int]:
    """Return what `arm_spreads` and `pool_spreads` take: configuration -> seed -> accuracy, and how many bursts.

    Arms that are the same configuration share runs and count once. A model of labels without meaning guesses, and tells
    nothing about how far the seeds of one that works lie apart. An A/A arm trains at seeds of its own, so it has no
    place in the columns of others.
    """
    capture = plan.campaign.data.report[0]
    runs = {name: runs_by_seed(plan, records, name) for name, arm in plan.arms.items() if not arm.control}
    num_bursts = [len(bursts.keys) for of in runs.values() for bursts in outcomes_by_seed(of, capture).values()]
    scores = {configuration(plan, name): accuracies_by_seed(of, capture) for name, of in runs.items()}
    return scores, max(num_bursts, default=1)


def replicate_accuracies(plan: Plan, records: Mapping[str, RunRecord]) -> dict[int, float]:
    """Return the accuracy in percent of every run of the baseline's configuration, by the seed that it trained at."""
    capture = plan.campaign.data.report[0]
    return {
        seed + arm.seed_shift: accuracy
        for name, arm in plan.arms.items()
        if arm.seed_shift or configuration(plan, name) == BASELINE
        for seed, accuracy in accuracies_by_seed(runs_by_seed(plan, records, name), capture).items()
    }


def replicate_spread(percents: Collection[float], num_bursts: int) -> Spread | None:
    """Return the sample variance of runs that differ in nothing but their seed; None for fewer than two of them.

    What a seed does to all arms is in it: an A/A arm trains at other seeds than the baseline, so it does not cancel.

    Args:
        percents: accuracies of n runs; the degrees of freedom are n - 1.
        num_bursts: of the capture; runs that agree tell no more than rounding to whole bursts lets them.
    """
    if len(percents) < 2:
        return None
    return Spread(max(variance(percents), rounding_variance(num_bursts)), len(percents) - 1)


def pooled_spreads(plan: Plan, records: Mapping[str, RunRecord]) -> dict[str, Spread]:
    """Return what `spread_between` takes: of a configuration its pooled spread, of an A/A arm that of replicates."""
    scores, num_bursts = score_table(plan, records)
    replicates = replicate_spread(replicate_accuracies(plan, records).values(), num_bursts)
    of_replicates = {name: replicates for name, arm in plan.arms.items() if arm.seed_shift and replicates}
    return pool_spreads(scores, num_bursts) | of_replicates


def spread_between(plan: Plan, spreads: Mapping[str, Spread], experiment: str, reference: str) -> Spread | None:
    """Return the spread of a difference at one seed; None where a side's configuration has no pooled one.

    The difference of an A/A arm is that of two independent replicates: twice their variance, known just as well.
    """
    if plan.arms[experiment].seed_shift:
        replicates = spreads.get(experiment)
        return replicates and Spread(2.0 * replicates.variance_points2, replicates.degrees_of_freedom)
    sides = [spreads.get(configuration(plan, side)) for side in (experiment, reference)]
    known = [side for side in sides if side is not None]
    return difference_spread(*known) if len(known) == len(sides) else None


def distinct_p_values(plan: Plan, p_of: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Return the p-value of each comparison from experiment -> p-value; one and its mirror image count once."""
    return {comparison(plan, name): p_value for name, p_value in p_of.items()}


def adjust(plan: Plan, p_of: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Adjust the p-values of one family, experiment -> p-value, as `judging.correction` says; one a comparison."""
    distinct = distinct_p_values(plan, p_of)
    return dict(zip(distinct, ADJUST[plan.campaign.judging.correction](list(distinct.values())), strict=True))
