"""Two sides of a comparison by any metric, joined on seed and item. Pure.

Axes: S seeds at which both sides were scored, B items of one split, G clusters of them, U units (items or clusters).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RunError
from orchestrator.stats.aggregates import Aggregate, AggregateError, by_cluster
from orchestrator.stats.columns import ColumnError
from orchestrator.stats.pairing import Floats, PairedDifferences, agreed, common_keys, in_order, join_seeds
from orchestrator.stats.variance import stratified_variance
from orchestrator.stats.weights import SideVariances

Texts = NDArray[np.str_]
Measure = Callable[[Mapping[str, Floats]], Aggregate]
"""Computes a metric from the columns of one run's items, each [B]."""
SMALLEST_SHARE = 1e-12
"""Smallest step of a metric, as a share of its largest value, if none is known: the rounding of the arithmetic."""
SMALLEST_STEP = 1e-60
"""No step is smaller: the fourth power of a smaller one would be zero in floating-point numbers."""


@dataclass(frozen=True)
class RunItems:
    """What one run tells of each item of a split; the arrays go together."""

    keys_B: Texts
    """The name of each item."""
    stratum_B: Texts
    """The fixed group of each item, such as a transmitter."""
    cluster_B: Texts | None
    """The sampled group of each item, such as a trial; None if items are sampled one by one."""
    columns: Mapping[str, Floats]


@dataclass(frozen=True)
class JoinedItems:
    """Both sides of a comparison, on the items that all their runs have: U units, which are items or clusters."""

    experiment: Mapping[int, Floats]
    """Seed -> one number a unit [U], whose mean is the metric of the run."""
    reference: Mapping[int, Floats]
    stratum_U: Texts
    num_items: int
    dropped_items: int
    has_clusters: bool


def join_items(experiment: Mapping[int, RunItems], reference: Mapping[int, RunItems], measure: Measure) -> JoinedItems:
    """Join two sides, seed -> items, and compute the metric of each run from the items that all runs have.

    Raises:
        RunError: a run has an item twice, two runs disagree on a group, or the items have no such metric.
    """
    sides = [*experiment.values(), *reference.values()]
    keys_B, dropped = common_keys([side.keys_B for side in sides])
    first, second = (
        {seed: _unit_values(items, keys_B, measure) for seed, items in side.items()} if len(keys_B) else {}
        for side in (experiment, reference)
    )
    return JoinedItems(
        experiment=first,
        reference=second,
        stratum_U=_units(sides if len(keys_B) else [], keys_B),
        num_items=len(keys_B),
        dropped_items=dropped,
        has_clusters=any(side.cluster_B is not None for side in sides),
    )


def pair_items(
    experiment: Mapping[int, RunItems],
    reference: Mapping[int, RunItems],
    measure: Measure,
    item_step: float | None = None,
    variances: SideVariances | None = None,
) -> PairedDifferences:
    """Join two sides, seed -> items, and compare them by a metric, in its own unit.

    An item counts if every run on both sides has it. The metric of each run is computed from these items alone. With
    clusters, the units are the clusters, because the items of one are not independent.

    Args:
        experiment: seed -> items.
        reference: seed -> items.
        measure: the metric, with the influence of each item.
        item_step: what one item more or less changes in the sum of all items, such as 100 for a share in percent.
            None if nothing but the rounding of the arithmetic is known.
        variances: of one run of each side; None leaves out the seeds that only one side has.

    Raises:
        RunError: a run has an item twice, two runs disagree on a group, or the items have no such metric.
    """
    seeds = experiment.keys() & reference.keys()
    single = experiment.keys() ^ reference.keys()
    if variances is None or not seeds:
        # Items that a run lacks must not count, if nothing else of that run does.
        experiment, reference = (
            {seed: items for seed, items in side.items() if seed in seeds} for side in (experiment, reference)
        )
    joined = join_items(experiment, reference, measure)
    rows = join_seeds(joined.experiment, joined.reference, len(joined.stratum_U), variances)
    numbers = [values_U for side in (joined.experiment, joined.reference) for values_U in side.values()]
    largest = max((float(np.abs(values_U).max(initial=0.0)) for values_U in numbers), default=0.0)
    rounding = max(SMALLEST_SHARE * largest, SMALLEST_STEP)
    return PairedDifferences(
        difference_SB=rows.difference_SB,
        seeds=rows.seeds,
        stratum_B=joined.stratum_U,
        dropped_seeds=() if rows.weights else tuple(sorted(single | (seeds - set(rows.seeds)))),
        dropped_items=joined.dropped_items,
        scale=1.0,
        resolution=item_step / joined.num_items if item_step is not None and joined.num_items else rounding,
        rests_on="clusters" if joined.has_clusters else "items",
        weights=rows.weights,
        at_seed_points=rows.at_seed,
        right_points=None if joined.has_clusters else item_step,
    )


def item_noise(runs: Mapping[int, RunItems], measure: Measure) -> float | None:
    """Return the part of one run's variance that its items explain, squared; None for fewer than two runs.

    What a run does with an item, beside what all runs of its arm do with it, is independent of its other items. So the
    spread of these parts over thousands of items tells the variance of their mean, at few seeds already.

    Args:
        runs: seed -> items, of runs that differ in their seed alone.
        measure: the metric; the result is in the square of its unit.

    Raises:
        RunError: a run has an item twice, two runs disagree on a group, or the items have no such metric.
    """
    joined = join_items(runs, {}, measure)
    if len(joined.experiment) < 2 or len(joined.stratum_U) < 2:
        return None
    value_SU = np.array(list(joined.experiment.values()))
    own_SU = value_SU - value_SU.mean(axis=0)
    return float(stratified_variance(own_SU, joined.stratum_U).sum() / (len(own_SU) - 1))


def _unit_values(side: RunItems, keys_B: Texts, measure: Measure) -> Floats:
    """Return one number a unit, whose mean is the metric of a run: of each item [B], or of each cluster [G]."""
    columns = {name: in_order(side.keys_B, values, keys_B) for name, values in side.columns.items()}
    try:
        aggregate = measure(columns)
    except (AggregateError, ColumnError) as error:
        raise RunError(str(error)) from None
    if side.cluster_B is None:
        return aggregate.item_values
    return by_cluster(aggregate, in_order(side.keys_B, side.cluster_B, keys_B))[1]


def _units(sides: Sequence[RunItems], keys_B: Texts) -> Texts:
    """Return the stratum of each unit: of each item [B], or of each cluster [G] in the order of their names.

    Raises:
        RunError: runs disagree on a group, or a cluster lies in two strata.
    """
    if not sides:
        return np.array([], dtype=np.str_)
    stratum_B = agreed([in_order(side.keys_B, side.stratum_B, keys_B) for side in sides], keys_B, "stratum of item")
    clusters = [in_order(side.keys_B, side.cluster_B, keys_B) for side in sides if side.cluster_B is not None]
    if len(clusters) not in (0, len(sides)):
        raise RunError("some runs name clusters and some do not; name `cluster` for all of them, or for none")
    if not clusters:
        return stratum_B
    cluster_B = agreed(clusters, keys_B, "cluster of item")
    names_G, first_G, cluster_of_B = np.unique(cluster_B, return_index=True, return_inverse=True)
    stratum_G = stratum_B[first_G]
    # A cluster is drawn inside one stratum. If it lay in two, its number would belong to neither.
    if (differs_B := stratum_G[cluster_of_B] != stratum_B).any():
        name = names_G[cluster_of_B[differs_B][0]]
        raise RunError(f"cluster `{name}` has items of several strata; a cluster must lie in one")
    return stratum_G
