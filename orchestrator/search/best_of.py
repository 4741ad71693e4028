"""Compares the best of some points with another of them: by the items of both, and by the spread over seeds. Pure.

All seeds score the same items, so the items' part of an error does not fade with seeds. Both points are scored on the
same items too. What an item does to both cancels in the differences, item by item.

Example: 12 points at 3 seeds. The best leads the default by 2.0 points on 500 bursts. The spread over seeds comes from
all 36 runs. The interval covers all 11 comparisons with the best at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm

from orchestrator.campaign.scored import Objective
from orchestrator.runs.scores import Score as RunScore
from orchestrator.runs.scores import measure_of
from orchestrator.search.objective import Score
from orchestrator.search.results import Difference, TrialRecord
from orchestrator.stats.estimate import t_quantile
from orchestrator.stats.item_pairs import RunItems, pair_items
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.pool import pool_arms
from orchestrator.stats.spread import ScoreTable, Spread, difference_spread
from orchestrator.stats.variance import item_freedom, sparse_variance, split_error, stratified_variance
from orchestrator.task.metric_spec import ItemsSource, MetricSpec

COVERAGE = 0.95
"""Of the intervals of a difference between two points."""
SHARE_STEP = 100.0
"""What one right item adds to the sum of a share in percent."""
ROUNDING = 1e-9
"""Differences of seeds that agree to this share agree by chance, or because no seed has an effect."""


@dataclass(frozen=True)
class Points:
    """What all points of a search say of a comparison of two."""

    number: int
    """How many points have a score."""
    objective: Objective = field(default_factory=Objective)
    spreads: Mapping[int, Spread] = field(default_factory=dict)
    """Trial -> the variance of one of its runs, pooled over the points; empty where too few have several seeds."""

    @property
    def tail(self) -> float:
        """The chance beyond each end of an interval: two-sided, and shared by all comparisons with the best."""
        return (1.0 - COVERAGE) / 2 / max(1, self.number - 1)


def pool_points(scored: Sequence[TrialRecord], objective: Objective) -> Points:
    """Estimate the spread over seeds of each point from all of them."""
    scores = {trial.number: trial.score for trial in scored if trial.score is not None}
    values = {number: dict(enumerate(score.per_seed)) for number, score in scores.items()}
    bursts = max((score.bursts for score in scores.values()), default=0)
    largest = max((abs(value) for of in values.values() for value in of.values()), default=0.0)
    step = SHARE_STEP / bursts if bursts else max(ROUNDING * largest, ROUNDING)
    table = ScoreTable({str(number): of for number, of in values.items()}, step, objective.sign)
    pool = pool_arms(table)
    # The mean of such a point holds its collapsed run, so the spread without that run is too small for it.
    kept = {int(arm): spread for arm, spread in pool.spreads.items() if arm not in pool.collapsed}
    return Points(len(scores), objective, kept)


def join_splits(scores: Sequence[RunScore]) -> RunItems | None:
    """Return the items of one run over several splits as one table; None if a split tells no items.

    Args:
        scores: of each split.
    """
    items = [score.items for score in scores if score.items is not None]
    if len(items) < len(scores) or not items:
        return None
    clusters = [each.cluster_B for each in items if each.cluster_B is not None]
    if len(clusters) not in (0, len(items)):
        return None
    # Two splits may use one name, for an item, a stratum or a cluster.
    keys, strata, groups = (
        np.concatenate([np.char.add(f"{place}/", values) for place, values in enumerate(arrays)]) if arrays else None
        for arrays in ([each.keys_B for each in items], [each.stratum_B for each in items], clusters)
    )
    assert keys is not None
    assert strata is not None
    columns = {name: np.concatenate([each.columns[name] for each in items]) for name in items[0].columns}
    return RunItems(keys, strata, groups, columns)


def pair_points(
    metric: MetricSpec, ours: Sequence[RunItems], theirs: Sequence[RunItems], *, is_share: bool
) -> PairedDifferences | None:
    """Join the items of two points; None where not all runs of both have the same ones.

    Args:
        metric: made from the items.
        ours: of each seed.
        theirs: of each seed, in the same order.
        is_share: whether each item is right or wrong.

    Raises:
        RunError: a run has an item twice, or two runs disagree on a group.
    """
    assert isinstance(metric.source, ItemsSource)
    sides = (dict(enumerate(ours)), dict(enumerate(theirs)))
    pairs = pair_items(*sides, measure_of(metric.source), SHARE_STEP if is_share else None)
    # The score of each run is of all of its items. Without some of them, the difference would be another one.
    return pairs if pairs.num_items > 1 and not pairs.dropped_items and pairs.num_seeds == len(ours) else None


def compare(
    best: TrialRecord, other: TrialRecord, points: Points, pairs: PairedDifferences | None = None
) -> Difference:
    """Compare the best of some points with another of them, with an interval that covers all such comparisons at once.

    The best point was chosen for its score, so each interval is Bonferroni's for the N - 1 others, by Student's t.
    With one seed, the interval is the error of the items alone.

    Args:
        best: the best point.
        other: the one that it is compared with.
        points: what all points say.
        pairs: the items of both points. None adds the two points' own sampling errors, which is too wide.
    """
    ours, theirs = best.score, other.score
    assert ours is not None
    assert theirs is not None
    middle = math.fsum(one - two for one, two in zip(ours.per_seed, theirs.per_seed, strict=True)) / len(ours.per_seed)
    spread = _find_spread(best, other, points)
    error2, freedom = _paired_error(pairs, spread, points) if pairs else _unpaired_error(ours, theirs, spread)
    reach = math.sqrt(error2) * t_quantile(1.0 - points.tail, freedom)
    low, high = _ends(middle, reach, None if points.objective.metric else 100.0)
    return Difference(
        points=middle, low=low, high=high, is_across_seeds=ours.is_across_seeds, best_of=max(2, points.number)
    )


def _find_spread(best: TrialRecord, other: TrialRecord, points: Points) -> Spread | None:
    """Return the variance of the difference at one seed; None for one seed, or seeds that differ by nothing."""
    assert best.score is not None
    assert other.score is not None
    if not best.score.is_across_seeds:
        return None
    if best.number in points.spreads and other.number in points.spreads:
        return difference_spread(points.spreads[best.number], points.spreads[other.number])
    differences = np.subtract(best.score.per_seed, other.score.per_seed)
    deviation = float(differences.std(ddof=1))
    is_told = deviation > ROUNDING * abs(float(differences.mean()))
    return Spread(deviation**2, len(differences) - 1) if is_told else None


def _paired_error(pairs: PairedDifferences, spread: Spread | None, points: Points) -> tuple[float, float]:
    """Return the squared standard error of the mean difference, and its degrees of freedom."""
    # Far out, few differing items are less sure than at 95 %. So the score interval is taken at the level in use.
    sparse = sparse_variance(pairs, float(norm.isf(points.tail)))
    if spread is None:
        items = float(stratified_variance(pairs.points.mean(axis=0, keepdims=True), pairs.stratum_B)[0])
        return max(items, sparse), max(1, item_freedom(pairs))
    parts = split_error(pairs, spread)
    return parts.seed + parts.rest + max(parts.item, sparse), parts.degrees_of_freedom


def _unpaired_error(ours: Score, theirs: Score, spread: Spread | None) -> tuple[float, float]:
    """Return the same from each point's own sampling error; freedom by Satterthwaite (1946)."""
    of_items = ours.sampling_error**2 + theirs.sampling_error**2
    if spread is None:
        return of_items, math.inf
    of_seeds = spread.variance_points2 / len(ours.per_seed)
    total = of_items + of_seeds
    return total, spread.degrees_of_freedom * (total / of_seeds) ** 2


def _ends(middle: float, reach: float, most: float | None) -> tuple[float | None, float | None]:
    """Return the ends of an interval; `most` is the largest difference that is possible, None for no limit."""
    if most is None:
        return (middle - reach, middle + reach) if reach else (None, None)
    # Without any error the interval is all that is possible: nothing is known of the difference.
    return (max(-most, middle - reach), min(most, middle + reach)) if reach else (-most, most)
