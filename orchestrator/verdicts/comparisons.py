"""What a campaign compares: scored runs, arms that share a configuration, and the spread over seeds. Pure.

`judge` reaches verdicts with these functions, and `steps` works a verdict out again with the same ones. Every function
is of one metric, on the scale that `scale` gives it.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from statistics import variance

import numpy as np

from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.runs.record import RunRecord
from orchestrator.runs.scores import Score, measure_of
from orchestrator.runs.states import RunState
from orchestrator.stats.item_pairs import SMALLEST_SHARE, SMALLEST_STEP, Measure, RunItems, pair_items
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.stats.pairing import PairedDifferences, pair_values
from orchestrator.stats.variance import Spread, difference_spread, pool_spreads, rounding_variance
from orchestrator.task.metric_spec import ItemsSource, MetricSpec
from orchestrator.task.spec import ResampledSpec
from orchestrator.verdicts.scale import LOG_SCALE, Scale

Runs = dict[int, RunRecord | None]
"""Seed -> its run; None if there is no run yet."""
Scores = Mapping[int, Score]
"""Seed -> one metric of its run."""
Test = tuple[str, str]
"""Experiment and metric: one comparison with its reference."""
SHARE_STEP = 100.0
"""What one item more adds to the sum of a share in percent."""


def runs_by_seed(plan: Plan, records: Mapping[str, RunRecord], experiment: str) -> Runs:
    """Return an experiment's runs by the campaign's seeds."""
    return {seed: records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds}


def scores_of(runs: Runs, metric: str) -> dict[int, Score]:
    """Return a metric by seed, of the runs that are done and tell it."""
    return {seed: run.scores[metric] for seed, run in done_runs(runs).items() if metric in run.scores}


def scores_by_seed(runs: Runs, metric: str) -> dict[int, float]:
    """Return the value of a metric by seed, in its unit, of the runs that are done."""
    return {seed: score.value for seed, score in scores_of(runs, metric).items()}


def done_runs(runs: Runs) -> dict[int, RunRecord]:
    """Return the runs that are done, by seed."""
    return {seed: run for seed, run in runs.items() if run and run.result and run.result.state == RunState.DONE}


def resampled_of(campaign: Campaign, metric: MetricSpec) -> ResampledSpec | None:
    """Return how a metric's test split is drawn with each seed; None where all seeds share its items."""
    split = metric.source.items if isinstance(metric.source, ItemsSource) else ""
    return campaign.items[split].resampled if split in campaign.items else None


def pair_runs(campaign: Campaign, metric: MetricSpec, runs: Runs, reference_runs: Runs) -> PairedDifferences:
    """Join two sides on seed and item. What only one side was scored on is dropped and counted.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    return pair_scores(campaign, metric, scores_of(runs, metric.name), scores_of(reference_runs, metric.name))


def pair_scores(campaign: Campaign, metric: MetricSpec, ours: Scores, theirs: Scores) -> PairedDifferences:
    """Join two sides, seed -> score, as `pair_runs`; by seeds alone where the runs have no items in common."""
    resampled = resampled_of(campaign, metric)
    if not isinstance(metric.source, ItemsSource):
        # Equal printed numbers may differ by less than their last digit.
        step = smallest_step(metric, [*ours.values(), *theirs.values()])
        return pair_values(_values(metric, ours), _values(metric, theirs), step)
    # Items of one seed say nothing about those of another where each seed draws its own.
    pairs = _pair_drawn(metric, ours, theirs, resampled) if resampled else _pair_items(metric, ours, theirs)
    return dataclasses.replace(pairs, scale=LOG_SCALE) if Scale(metric).is_ratio else pairs


def _pair_items(metric: MetricSpec, ours: Scores, theirs: Scores) -> PairedDifferences:
    is_share = all(score.is_share for score in (*ours.values(), *theirs.values())) and not Scale(metric).is_ratio
    return pair_items(items_of(ours), items_of(theirs), judged_measure(metric), SHARE_STEP if is_share else None)


def _pair_drawn(metric: MetricSpec, ours: Scores, theirs: Scores, resampled: ResampledSpec) -> PairedDifferences:
    """Compare at each seed, on the items that both sides drew there; other seeds have other items."""
    measure, first, second = judged_measure(metric), items_of(ours), items_of(theirs)
    # Within a seed both sides drew the same items, so what the draw does to both cancels there.
    at_seed = {seed: pair_items({seed: first[seed]}, {seed: second[seed]}, measure) for seed in first.keys() & second}
    delta = {seed: float(pairs.delta_points_by_seed[0]) for seed, pairs in at_seed.items() if pairs.num_seeds}
    test_ratio = resampled.test_share / (1.0 - resampled.test_share)
    step = max((pairs.smallest_step for pairs in at_seed.values()), default=1.0)
    pairs = pair_values(delta, dict.fromkeys(delta, 0.0), step, test_ratio)
    dropped = (first.keys() | second.keys()) - set(pairs.seeds)
    return dataclasses.replace(
        pairs,
        dropped_seeds=tuple(sorted(dropped)),
        dropped_items=sum(pairs.dropped_items for pairs in at_seed.values()),
    )


def items_of(scores: Scores) -> dict[int, RunItems]:
    """Return the items by seed, of the scores that have some."""
    return {seed: score.items for seed, score in scores.items() if score.items is not None}


def judged_measure(metric: MetricSpec) -> Measure:
    """Return the function that computes a metric of items; its logarithm where ratios count.

    Raises:
        ValueError: it is no metric of items.
    """
    if not isinstance(metric.source, ItemsSource):
        raise ValueError(f"`{metric.name}` is no metric of items")
    measure = measure_of(metric.source)
    return measure.logarithm if Scale(metric).is_ratio else measure


def holds_other_items(campaign: Campaign, metric: MetricSpec, ours: Scores, theirs: Scores) -> bool:
    """Whether two sides share items at each seed while the seeds share none, and no seed is said to draw its own."""
    first, second = items_of(ours), items_of(theirs)
    seeds = first.keys() & second
    if len(seeds) < 2 or resampled_of(campaign, metric):
        return False
    at_seed = [np.intersect1d(first[seed].keys_B, second[seed].keys_B) for seed in seeds]
    shared = at_seed[0]
    for keys in at_seed[1:]:
        shared = np.intersect1d(shared, keys)
    return all(len(keys) for keys in at_seed) and not len(shared)


def smallest_step(metric: MetricSpec, scores: Iterable[Score]) -> float:
    """Return the smallest step of a metric's values on the scale of the judgement.

    That is one item of a share, or the last digit that was printed; otherwise only the rounding of the arithmetic.
    """
    found, scale = list(scores), Scale(metric)
    if not found:
        return SHARE_STEP
    values = [scale.value(score.value) for score in found]
    smallest = max(SMALLEST_SHARE * max(map(abs, values)), SMALLEST_STEP)
    if all(score.is_share for score in found) and not scale.is_ratio:
        return SHARE_STEP / max(score.num_items or 1 for score in found)
    # Of a logarithm, a step counts by its share of the value.
    printed = [
        LOG_SCALE * score.resolution / score.value if scale.is_ratio else score.resolution
        for score in found
        if score.resolution is not None
    ]
    return max([*printed, smallest])


def configuration(plan: Plan, experiment: str) -> str:
    """Return the first arm with the same configuration, whose runs an experiment shares."""
    return plan.arms[experiment].same_as or experiment


def comparison(plan: Plan, experiment: str) -> frozenset[str]:
    """Return the two compared configurations. If K1 is E5 again, K1 on H2 is H2 on E5 turned round, and counts once."""
    reference = plan.arms[experiment].reference or BASELINE
    return frozenset(configuration(plan, side) for side in (experiment, reference))


def score_table(
    plan: Plan, records: Mapping[str, RunRecord], metric: MetricSpec
) -> tuple[dict[str, dict[int, float]], float]:
    """Return what `arm_spreads` and `pool_spreads` take: configuration -> seed -> value, and the step of a value.

    Arms with the same configuration share runs and count once. Controls have no row. A model trained on shuffled labels
    guesses, so its spread over seeds says nothing about that of a working model. An A/A arm has other seeds than the
    columns of the table. Values are on the scale of the judgement.
    """
    # Controls are left out here (see above), and get their own spread or none.
    arms = [name for name, arm in plan.arms.items() if not arm.control]
    found = {name: scores_of(runs_by_seed(plan, records, name), metric.name) for name in arms}
    step = smallest_step(metric, [score for of in found.values() for score in of.values()])
    return {configuration(plan, name): _values(metric, of) for name, of in found.items()}, step


def _values(metric: MetricSpec, scores: Scores) -> dict[int, float]:
    scale = Scale(metric)
    return {seed: scale.value(score.value) for seed, score in scores.items()}


def replicate_scores(plan: Plan, records: Mapping[str, RunRecord], metric: MetricSpec) -> dict[int, float]:
    """Return the value of every run of the baseline's configuration, on the scale of the judgement, by its own seed."""
    return {
        seed + arm.seed_shift: value
        for name, arm in plan.arms.items()
        if arm.seed_shift or configuration(plan, name) == BASELINE
        for seed, value in _values(metric, scores_of(runs_by_seed(plan, records, name), metric.name)).items()
    }


def replicate_spread(values: Collection[float], step_points: float) -> Spread | None:
    """Return the sample variance of runs that differ only in their seed; None for fewer than two.

    It includes what a seed does to all arms alike. This does not cancel for an A/A arm, which trains at other seeds
    than the baseline.

    Args:
        values: of n runs, on the scale of the judgement; the degrees of freedom are n - 1.
        step_points: the smallest step of a value; the variance is never below that of rounding to it.
    """
    if len(values) < 2:
        return None
    return Spread(max(variance(values), rounding_variance(step_points)), len(values) - 1)


def pooled_spreads(plan: Plan, records: Mapping[str, RunRecord], metric: MetricSpec) -> dict[str, Spread]:
    """Return the pooled spread of each configuration, and for each A/A arm that of the replicates."""
    scores, step_points = score_table(plan, records, metric)
    replicates = replicate_spread(replicate_scores(plan, records, metric).values(), step_points)
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


def distinct_p_values(plan: Plan, p_of: Mapping[Test, float]) -> dict[tuple[frozenset[str], str], float]:
    """Return the p-value of each comparison by each metric; a comparison and its mirror image count once."""
    return {(comparison(plan, name), metric): p_value for (name, metric), p_value in p_of.items()}


def adjust(plan: Plan, p_of: Mapping[Test, float]) -> dict[tuple[frozenset[str], str], float]:
    """Adjust the p-values of one family as `judging.correction` says; one for each comparison by each metric."""
    distinct = distinct_p_values(plan, p_of)
    return dict(zip(distinct, ADJUST[plan.campaign.judging.correction](list(distinct.values())), strict=True))
