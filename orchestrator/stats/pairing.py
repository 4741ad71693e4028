"""Two sides of a comparison, joined on seed and item. Pure.

Axes: S seeds at which both sides were scored, B items of one split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RunError
from orchestrator.stats.weights import SeedWeights, SideVariances, best_weights

Floats = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)


RestsOn = Literal["items", "clusters", "seeds"]
"""What a comparison is made of beside its seeds: items, sampled groups of items, or nothing."""


@dataclass(frozen=True)
class PairedDifferences:
    """One comparison, joined on seed and item. Pairs with only one side are dropped and counted."""

    difference_SB: NDArray[np.int8] | Floats
    """Experiment minus reference: -1, 0 or 1 for items that are right or wrong, else in the metric's unit."""
    seeds: tuple[int, ...]
    stratum_B: NDArray[np.int64] | NDArray[np.str_]
    """The stratum of each item, such as the transmitter of a burst; of one number a seed, if there are no items."""
    dropped_seeds: tuple[int, ...] = ()
    dropped_items: int = 0
    scale: float = 100.0
    """What a difference of 1 is worth in points: 100 percentage points of accuracy, or 1 of a metric's own unit."""
    resolution: float | None = None
    """Smallest step of a run's score, in points; None if it is that of one item of B."""
    rests_on: RestsOn = "items"
    test_ratio: float = 0.0
    """Items tested on over items trained on, where each seed draws its own; 0 where all seeds share the items."""
    weights: SeedWeights | None = None
    """How much each run counts, if one side has more seeds; None counts the pairs alone, each the same.

    With weights, row s of `difference_SB` takes a part of each side from its runs at other seeds. So the mean of the
    rows is the weighted difference, and a row alone is not the difference at its seed.
    """
    at_seed_points: tuple[float, ...] = ()
    """The difference at each seed; empty if it is the mean of its row."""
    right_points: float | None = None
    """What a right item counts for, in points, where items are right or wrong: 100."""
    rest_points2: float | None = None
    """At one seed, the rest in the variance over items, from other runs of both arms; None if nobody knows it."""

    def __post_init__(self) -> None:
        wanted = (len(self.seeds), len(self.stratum_B))
        if self.difference_SB.shape != wanted:
            raise ValueError(f"differences are {self.difference_SB.shape}, seeds x items are {wanted}")

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.seeds)

    @property
    def num_items(self) -> int:
        """B; 0 where there is only one number a seed."""
        return 0 if self.rests_on == "seeds" else len(self.stratum_B)

    @property
    def delta_points_by_seed(self) -> Floats:
        """The mean of each row [S], in points; their mean is the estimate."""
        per_seed_S: Floats = self.scale * self.difference_SB.mean(axis=1, dtype=np.float64)
        return per_seed_S

    @property
    def points(self) -> Floats:
        """The differences in points."""
        return self.scale * self.difference_SB.astype(np.float64)

    @property
    def smallest_step(self) -> float:
        """Smallest difference of two scores, in points."""
        return self.scale / self.num_items if self.resolution is None else self.resolution


def pair_values(
    experiment: Mapping[int, float],
    reference: Mapping[int, float],
    resolution: float,
    variances: SideVariances | None = None,
) -> PairedDifferences:
    """Join two sides, seed -> value of the metric, where there are no items that both sides have.

    Args:
        experiment: seed -> value.
        reference: seed -> value.
        resolution: smallest step of a value, such as the last digit that was printed.
        variances: of one run of each side; None leaves out the seeds that only one side has.
    """
    sides = [{seed: np.array([value]) for seed, value in side.items()} for side in (experiment, reference)]
    # One column: the seed is the only unit.
    rows = join_seeds(sides[0], sides[1], 1, variances)
    return PairedDifferences(
        difference_SB=rows.difference_SB,
        seeds=rows.seeds,
        stratum_B=np.array([""], dtype=np.str_),
        dropped_seeds=rows.dropped_seeds,
        scale=1.0,
        resolution=resolution,
        rests_on="seeds",
        weights=rows.weights,
        at_seed_points=rows.at_seed,
    )


@dataclass(frozen=True)
class SeedRows:
    """Two sides, joined on their seeds: rows S, each a seed that both have."""

    difference_SB: Floats
    seeds: tuple[int, ...]
    dropped_seeds: tuple[int, ...]
    weights: SeedWeights | None
    at_seed: tuple[float, ...]
    """The mean difference at each seed; empty if it is the mean of its row."""


def join_seeds(
    experiment: Mapping[int, Floats], reference: Mapping[int, Floats], num_units: int, variances: SideVariances | None
) -> SeedRows:
    """Subtract two sides, seed -> one number a unit [B], at the seeds that both have.

    Args:
        experiment: its runs.
        reference: its runs.
        num_units: B.
        variances: of one run of each side, to use the seeds of one side alone; None leaves them out.
    """
    seeds = tuple(sorted(experiment.keys() & reference.keys()))
    single = tuple(sorted(experiment.keys() ^ reference.keys()))
    plain_SB = np.array([experiment[seed] - reference[seed] for seed in seeds]).reshape(len(seeds), num_units)
    if variances is None or not single or not seeds:
        return SeedRows(plain_SB, seeds, single, None, ())
    weights = best_weights(experiment, reference, variances)
    ours_SB, theirs_SB = (
        _blend(side, weight, seeds)
        for side, weight in ((experiment, weights.experiment), (reference, weights.reference))
    )
    return SeedRows(ours_SB - theirs_SB, seeds, (), weights, tuple(plain_SB.mean(axis=1).tolist()))


def _blend(side: Mapping[int, Floats], weights: Mapping[int, float], seeds: Sequence[int]) -> Floats:
    """Return the rows of one side [S, B]: its runs at these seeds, each with a part of the mean of its other runs."""
    share = sum(weights[seed] for seed in seeds)
    own_SB = share * np.array([side[seed] for seed in seeds])
    others = [values_B for seed, values_B in side.items() if seed not in seeds]
    blended_SB: Floats = own_SB + (1.0 - share) * np.mean(others, axis=0) if others else own_SB
    return blended_SB


def common_keys(all_keys: Sequence[NDArray[np.str_]]) -> tuple[NDArray[np.str_], int]:
    """Return the keys that all runs have, sorted [B], and how many keys only some have.

    Raises:
        RunError: a run has one key twice.
    """
    if not all_keys:
        return np.array([], dtype=np.str_), 0
    # Mostly all runs have the same keys in one order. Sorting them once is what a campaign's time goes to.
    if all(np.array_equal(keys, all_keys[0]) for keys in all_keys[1:]):
        all_keys = all_keys[:1]
    for keys in all_keys:
        names, counts = np.unique(keys, return_counts=True)
        if (counts > 1).any():
            raise RunError(f"a run holds item `{names[counts > 1][0]}` more than once; train it again")
    if len(all_keys) == 1:
        return np.unique(all_keys[0]), 0
    common_B = reduce(np.intersect1d, all_keys)
    return common_B, len(reduce(np.union1d, all_keys)) - len(common_B)


def in_order(keys: NDArray[np.str_], values: NDArray[Scalar], keys_B: NDArray[np.str_]) -> NDArray[Scalar]:
    """Return the values of a run at `keys_B` [B], which are among its own keys."""
    if np.array_equal(keys, keys_B):
        return values
    order = np.argsort(keys, kind="stable")
    return values[order[np.searchsorted(keys, keys_B, sorter=order)]]


def agreed(labels: Sequence[NDArray[Scalar]], keys_B: NDArray[np.str_], what: str) -> NDArray[Scalar]:
    """Return the labels [B] that all runs give.

    Raises:
        RunError: two runs differ; names what they differ in, and the first key.
    """
    first_B, *others = labels
    for other_B in others:
        if (differs_B := other_B != first_B).any():
            raise RunError(f"runs disagree on the {what} `{keys_B[differs_B][0]}`; they were scored on different data")
    return first_B
