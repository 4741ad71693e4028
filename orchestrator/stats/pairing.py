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
        """The difference at each seed [S], in points."""
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
    experiment: Mapping[int, float], reference: Mapping[int, float], resolution: float, test_ratio: float = 0.0
) -> PairedDifferences:
    """Join two sides, seed -> value of the metric, where there are no items that both sides have.

    Args:
        experiment: seed -> value.
        reference: seed -> value.
        resolution: smallest step of a value, such as the last digit that was printed.
        test_ratio: as in `PairedDifferences`.
    """
    seeds = tuple(sorted(experiment.keys() & reference.keys()))
    return PairedDifferences(
        # One column: the seed is the only unit.
        difference_SB=np.array([[experiment[seed] - reference[seed]] for seed in seeds]).reshape(len(seeds), 1),
        seeds=seeds,
        stratum_B=np.array([""], dtype=np.str_),
        dropped_seeds=tuple(sorted((experiment.keys() | reference.keys()) - set(seeds))),
        scale=1.0,
        resolution=resolution,
        rests_on="seeds",
        test_ratio=test_ratio,
    )


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
