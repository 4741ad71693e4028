"""What a campaign compares: scored runs, arms that share a configuration, and the spread over seeds. Pure.

`judge` reaches verdicts with these functions, and `steps` works a verdict out again with the same ones.
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
"""Seed -> its run; None if there is no run yet."""


def runs_by_seed(plan: Plan, records: Mapping[str, RunRecord], experiment: str) -> Runs:
    """Return an experiment's runs by the campaign's seeds."""
    return {seed: records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds}


def outcomes_by_seed(runs: Runs, capture: str) -> dict[int, Bursts]:
    """Return the outcomes on a capture by seed, of the runs that are done."""
    return {seed: run.bursts[capture] for seed, run in _done(runs).items() if capture in run.bursts}


def scores_by_seed(runs: Runs, capture: str) -> dict[int, float]:
    """Return the accuracy on a capture by seed, in percent, of the runs that are done."""
    results = {seed: run.result for seed, run in _done(runs).items()}
    return {
        seed: 100.0 * result.scores[capture].accuracy
        for seed, result in results.items()
        if result is not None and capture in result.scores
    }


def _done(runs: Runs) -> dict[int, RunRecord]:
    return {seed: run for seed, run in runs.items() if run and run.result and run.result.state == RunState.DONE}


def pair_runs(runs: Runs, reference_runs: Runs, capture: str) -> PairedDifferences:
    """Join two sides on seed and burst. What only one side was scored on is dropped and counted.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    return pair_outcomes(outcomes_by_seed(runs, capture), outcomes_by_seed(reference_runs, capture))


def configuration(plan: Plan, experiment: str) -> str:
    """Return the first arm with the same configuration, whose runs an experiment shares."""
    return plan.arms[experiment].same_as or experiment


def comparison(plan: Plan, experiment: str) -> frozenset[str]:
    """Return the two compared configurations. If K1 is E5 again, K1 on H2 is H2 on E5 turned round, and counts once."""
    reference = plan.arms[experiment].reference or BASELINE
    return frozenset(configuration(plan, side) for side in (experiment, reference))


def score_table(plan: Plan, records: Mapping[str, RunRecord]) -> tuple[dict[str, dict[int, float]], float]:
    """Return what `arm_spreads` and `pool_spreads` take: configuration -> seed -> accuracy, and its step.

    Arms with the same configuration share runs and count once. Controls have no row. A model trained on shuffled labels
    guesses, so its spread over seeds says nothing about that of a working model. An A/A arm has other seeds than the
    columns of the table.
    """
    # Controls are left out here (see above), and get their own spread or none.
    capture = plan.campaign.judged.name
    runs = {name: runs_by_seed(plan, records, name) for name, arm in plan.arms.items() if not arm.control}
    num_items = [len(bursts.keys) for of in runs.values() for bursts in outcomes_by_seed(of, capture).values()]
    scores = {configuration(plan, name): scores_by_seed(of, capture) for name, of in runs.items()}
    # One burst more or less moves an accuracy by this much.
    return scores, 100.0 / max(num_items, default=1)


def replicate_scores(plan: Plan, records: Mapping[str, RunRecord]) -> dict[int, float]:
    """Return the accuracy of every run of the baseline's configuration, in percent, by the seed of its training."""
    capture = plan.campaign.judged.name
    return {
        seed + arm.seed_shift: accuracy
        for name, arm in plan.arms.items()
        if arm.seed_shift or configuration(plan, name) == BASELINE
        for seed, accuracy in scores_by_seed(runs_by_seed(plan, records, name), capture).items()
    }


def replicate_spread(percents: Collection[float], step_points: float) -> Spread | None:
    """Return the sample variance of runs that differ only in their seed; None for fewer than two.

    It includes what a seed does to all arms alike. This does not cancel for an A/A arm, which trains at other seeds
    than the baseline.

    Args:
        percents: accuracies of n runs; the degrees of freedom are n - 1.
        step_points: the smallest step of an accuracy; the variance is never below that of rounding to it.
    """
    if len(percents) < 2:
        return None
    return Spread(max(variance(percents), rounding_variance(step_points)), len(percents) - 1)


def pooled_spreads(plan: Plan, records: Mapping[str, RunRecord]) -> dict[str, Spread]:
    """Return the pooled spread of each configuration, and for each A/A arm that of the replicates."""
    scores, step_points = score_table(plan, records)
    replicates = replicate_spread(replicate_scores(plan, records).values(), step_points)
    # A/A arms are judged with the spread of replicates, since the pooled one has the common seed effect removed.
    of_replicates = {name: replicates for name, arm in plan.arms.items() if arm.seed_shift and replicates}
    return pool_spreads(scores, step_points) | of_replicates


def spread_between(plan: Plan, spreads: Mapping[str, Spread], experiment: str, reference: str) -> Spread | None:
    """Return the spread of a difference at one seed; None if the configuration of one side has no pooled spread.

    The difference of an A/A arm is between two independent replicates. It has twice their variance, and the same
    degrees of freedom.

    Args:
        plan: the arms.
        spreads: of `pooled_spreads`.
        experiment: one side.
        reference: the other side.
    """
    if plan.arms[experiment].seed_shift:
        replicates = spreads.get(experiment)
        return replicates and Spread(2.0 * replicates.variance_points2, replicates.degrees_of_freedom)
    sides = [spreads.get(configuration(plan, side)) for side in (experiment, reference)]
    # With only one side pooled, the difference would mix a good and a poor estimate.
    known = [side for side in sides if side is not None]
    return difference_spread(*known) if len(known) == len(sides) else None


def distinct_p_values(plan: Plan, p_of: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Return the p-value of each comparison; a comparison and its mirror image count once."""
    return {comparison(plan, name): p_value for name, p_value in p_of.items()}


def adjust(plan: Plan, p_of: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Adjust the p-values of one family as `judging.correction` says; one for each comparison."""
    distinct = distinct_p_values(plan, p_of)
    return dict(zip(distinct, ADJUST[plan.campaign.judging.correction](list(distinct.values())), strict=True))
