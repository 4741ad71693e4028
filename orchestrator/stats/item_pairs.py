"""Two sides of a comparison by any metric, joined on seed and item. Pure.

Axes: S seeds at which both sides were scored, B items of one split, G clusters of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RunError
from orchestrator.stats.aggregates import Aggregate, AggregateError, by_cluster
from orchestrator.stats.columns import ColumnError
from orchestrator.stats.pairing import Floats, PairedDifferences, agreed, common_keys, in_order

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
    """Both sides of a comparison, on the seeds and items that both have: U units, which are items or clusters."""

    value_2SU: Floats
    """One number a unit, whose mean is the metric of a run; the experiment comes first."""
    seeds: tuple[int, ...]
    stratum_U: Texts
    num_items: int
    dropped_items: int
    has_clusters: bool


def join_items(experiment: Mapping[int, RunItems], reference: Mapping[int, RunItems], measure: Measure) -> JoinedItems:
    """Join two sides, seed -> items, and compute the metric of each run from the items that all runs have.

    Raises:
        RunError: a run has an item twice, two runs disagree on a group, or the items have no such metric.
    """
    seeds = tuple(sorted(experiment.keys() & reference.keys()))
    sides = [side[seed] for side in (experiment, reference) for seed in seeds]
    keys_B, dropped = common_keys([side.keys_B for side in sides])
    if len(keys_B) == 0:
        seeds, sides = (), []
    values = [_unit_values(side, keys_B, measure) for side in sides]
    units = _units(sides, keys_B)
    return JoinedItems(
        value_2SU=np.array(values, dtype=np.float64).reshape(2, len(seeds), len(units)),
        seeds=seeds,
        stratum_U=units,
        num_items=len(keys_B),
        dropped_items=dropped,
        has_clusters=any(side.cluster_B is not None for side in sides),
    )


def pair_items(
    experiment: Mapping[int, RunItems],
    reference: Mapping[int, RunItems],
    measure: Measure,
    item_step: float | None = None,
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

    Raises:
        RunError: a run has an item twice, two runs disagree on a group, or the items have no such metric.
    """
    joined = join_items(experiment, reference, measure)
    largest = float(np.abs(joined.value_2SU).max(initial=0.0))
    rounding = max(SMALLEST_SHARE * largest, SMALLEST_STEP)
    return PairedDifferences(
        difference_SB=joined.value_2SU[0] - joined.value_2SU[1],
        seeds=joined.seeds,
        stratum_B=joined.stratum_U,
        dropped_seeds=tuple(sorted((experiment.keys() | reference.keys()) - set(joined.seeds))),
        dropped_items=joined.dropped_items,
        scale=1.0,
        resolution=item_step / joined.num_items if item_step is not None and joined.num_items else rounding,
        rests_on="clusters" if joined.has_clusters else "items",
    )


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
