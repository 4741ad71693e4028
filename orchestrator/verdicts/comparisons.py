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
from orchestrator.stats.item_pairs import SMALLEST_SHARE, SMALLEST_STEP, Measure, RunItems, item_noise, pair_items
from orchestrator.stats.pairing import PairedDifferences, pair_values
from orchestrator.stats.pool import Pool, pool_arms
from orchestrator.stats.spread import ScoreTable, Spread, rounding_variance
from orchestrator.stats.weights import SeedWeights, SideVariances, mean_spread
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
MIN_SEEDS = 2
"""Least number of seeds with a score on both sides for a verdict, but for a first look that allows one."""
GUESSING = 0.05
"""An arm with a smaller part of what lies between chance and no error only guesses."""


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


@dataclasses.dataclass(frozen=True)
class Evidence:
    """All scores by one metric, and what they say together about the spread over seeds."""

    plan: Plan
    metric: MetricSpec
    scores: Mapping[str, Scores]
    """Arm -> seed -> score, without the runs that collapsed."""
    table: ScoreTable
    pool: Pool
    replicates: Spread | None
    """Of runs that differ only in their seed, for A/A arms; None for fewer than two."""

    def collapsed(self, experiment: str) -> tuple[int, ...]:
        """Return the seeds of an arm whose runs collapsed."""
        return self.pool.collapsed.get(configuration(self.plan, experiment), ())


def gather(plan: Plan, records: Mapping[str, RunRecord], metric: MetricSpec, min_seeds: int = MIN_SEEDS) -> Evidence:
    """Gather the scores by a metric of every arm, and pool their spreads.

    Args:
        plan: the arms.
        records: run id -> what the run left.
        metric: what to gather.
        min_seeds: least number of seeds for a verdict; at one, arms with one run borrow the spread of others.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    found = {name: scores_of(runs_by_seed(plan, records, name), metric.name) for name in plan.arms}
    table = score_table(plan, found, metric)
    pool = pool_arms(dataclasses.replace(table, borrows=min_seeds < MIN_SEEDS))
    kept = {
        name: {
            seed: score for seed, score in of.items() if seed not in pool.collapsed.get(configuration(plan, name), ())
        }
        for name, of in found.items()
    }
    replicates = replicate_spread(replicate_scores(plan, records, metric).values(), table.step_points)
    return Evidence(plan, metric, kept, table, pool, replicates)


def pair_arms(evidence: Evidence, experiment: str, reference: str) -> PairedDifferences:
    """Join two arms on seed and item. Seeds that only one of them has count if the spread of both is known.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    ours, theirs = evidence.scores[experiment], evidence.scores[reference]
    variances = side_variances(evidence, experiment, reference)
    pairs = pair_scores(evidence.plan.campaign, evidence.metric, ours, theirs, variances)
    if pairs.num_seeds != 1 or variances is None:
        return pairs
    return dataclasses.replace(pairs, rest_points2=_rest_of_one(evidence, experiment, reference, pairs))


def _rest_of_one(evidence: Evidence, experiment: str, reference: str, pairs: PairedDifferences) -> float | None:
    """Return what single runs do with single items, in a difference with one seed in common; None if nobody knows."""
    known = evidence.table.item_points2
    if not known:
        return None
    # An arm with one run takes the mean of the others.
    usual = sum(known.values()) / len(known)
    own, other = (known.get(configuration(evidence.plan, side), usual) for side in (experiment, reference))
    weights = pairs.weights or SeedWeights(dict.fromkeys(pairs.seeds, 1.0), dict.fromkeys(pairs.seeds, 1.0))
    squares = [sum(weight**2 for weight in side.values()) for side in (weights.experiment, weights.reference)]
    return own * squares[0] + other * squares[1]


def pair_scores(
    campaign: Campaign, metric: MetricSpec, ours: Scores, theirs: Scores, variances: SideVariances | None = None
) -> PairedDifferences:
    """Join two sides, seed -> score, as `pair_arms`; by seeds alone where the runs have no items in common."""
    resampled = resampled_of(campaign, metric)
    if not isinstance(metric.source, ItemsSource):
        # Equal printed numbers may differ by less than their last digit.
        step = smallest_step(metric, [*ours.values(), *theirs.values()])
        return pair_values(_values(metric, ours), _values(metric, theirs), step, variances)
    # Items of one seed say nothing about those of another where each seed draws its own.
    drawn = resampled and _pair_drawn(metric, ours, theirs, resampled)
    pairs = drawn or _pair_items(metric, ours, theirs, variances)
    return _scaled(pairs) if Scale(metric).is_ratio else pairs


def _scaled(pairs: PairedDifferences) -> PairedDifferences:
    at_seed = tuple(LOG_SCALE * points for points in pairs.at_seed_points)
    return dataclasses.replace(pairs, scale=LOG_SCALE, at_seed_points=at_seed)


def _pair_items(metric: MetricSpec, ours: Scores, theirs: Scores, variances: SideVariances | None) -> PairedDifferences:
    is_share = all(score.is_share for score in (*ours.values(), *theirs.values())) and not Scale(metric).is_ratio
    measure, step = judged_measure(metric), SHARE_STEP if is_share else None
    return pair_items(items_of(ours), items_of(theirs), measure, step, variances)


def _pair_drawn(metric: MetricSpec, ours: Scores, theirs: Scores, resampled: ResampledSpec) -> PairedDifferences:
    """Compare at each seed, on the items that both sides drew there; other seeds have other items."""
    measure, first, second = judged_measure(metric), items_of(ours), items_of(theirs)
    # Within a seed both sides drew the same items, so what the draw does to both cancels there.
    at_seed = {seed: pair_items({seed: first[seed]}, {seed: second[seed]}, measure) for seed in first.keys() & second}
    delta = {seed: float(pairs.delta_points_by_seed[0]) for seed, pairs in at_seed.items() if pairs.num_seeds}
    step = max((pairs.smallest_step for pairs in at_seed.values()), default=1.0)
    pairs = pair_values(delta, dict.fromkeys(delta, 0.0), step)
    dropped = (first.keys() | second.keys()) - set(pairs.seeds)
    return dataclasses.replace(
        pairs,
        dropped_seeds=tuple(sorted(dropped)),
        dropped_items=sum(pairs.dropped_items for pairs in at_seed.values()),
        test_ratio=resampled.test_share / (1.0 - resampled.test_share),
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


def score_table(plan: Plan, found: Mapping[str, Scores], metric: MetricSpec) -> ScoreTable:
    """Return the table of configurations by seeds that spreads are pooled over, on the scale of the judgement.

    Arms with the same configuration share runs and count once. Controls have no row. A model trained on shuffled labels
    guesses, so its spread over seeds says nothing about that of a working model. An A/A arm has other seeds than the
    columns of the table.

    Args:
        plan: the arms.
        found: arm -> seed -> score.
        metric: what the scores are of.
    """
    # Controls are left out here (see above), and get their own spread or none.
    rows = {configuration(plan, name): found[name] for name, arm in plan.arms.items() if not arm.control}
    noise = {arm: item_points2(plan.campaign, metric, of) for arm, of in rows.items()}
    return ScoreTable(
        points={arm: _values(metric, of) for arm, of in rows.items()},
        step_points=smallest_step(metric, [score for of in rows.values() for score in of.values()]),
        sign=Scale(metric).sign,
        item_points2={arm: value for arm, value in noise.items() if value is not None},
        at_chance=frozenset(arm for arm, of in rows.items() if _is_at_chance(plan, arm, of)),
    )


def item_points2(campaign: Campaign, metric: MetricSpec, scores: Scores) -> float | None:
    """Return the part of one run's variance that its items explain, squared points; None where nobody knows it."""
    if not isinstance(metric.source, ItemsSource) or resampled_of(campaign, metric):
        return None
    found = item_noise(items_of(scores), judged_measure(metric))
    return found if found is None or not Scale(metric).is_ratio else LOG_SCALE**2 * found


def _is_at_chance(plan: Plan, arm: str, scores: Scores) -> bool:
    """Whether an arm only guesses: it has next to nothing of what lies between chance and no error."""
    chance = plan.arms[arm].about.chance
    if chance is None or not scores or not all(score.is_share for score in scores.values()):
        return False
    return max(score.value for score in scores.values()) < 100.0 * (chance + GUESSING * (1.0 - chance))


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


def side_variances(evidence: Evidence, experiment: str, reference: str) -> SideVariances | None:
    """Return the variance of one run of two arms; None if the configuration of one side has no pooled spread.

    An A/A arm is judged with the spread of replicates, since the pooled one has the common seed effect removed. Its
    difference is between two independent replicates.

    Args:
        evidence: of one metric.
        experiment: one side.
        reference: the other side.
    """
    plan = evidence.plan
    if plan.arms[experiment].seed_shift:
        replicates = evidence.replicates
        return None if replicates is None else SideVariances(replicates, replicates, is_one_estimate=True)
    sides = [evidence.pool.spreads.get(configuration(plan, side)) for side in (experiment, reference)]
    # With only one side pooled, the difference would mix a good and a poor estimate.
    known = [side for side in sides if side is not None]
    return SideVariances(known[0], known[1], evidence.pool.common_points2) if len(known) == len(sides) else None


def spread_between(evidence: Evidence, experiment: str, reference: str, pairs: PairedDifferences) -> Spread | None:
    """Return the spread of a difference, as `estimate_delta` takes it; None without a pooled spread on both sides."""
    variances = side_variances(evidence, experiment, reference)
    if variances is None or not pairs.num_seeds:
        return None
    each = dict.fromkeys(pairs.seeds, 1.0 / pairs.num_seeds)
    of_mean = mean_spread(pairs.weights or SeedWeights(each, each), variances)
    return Spread(pairs.num_seeds * of_mean.variance_points2, of_mean.degrees_of_freedom)
