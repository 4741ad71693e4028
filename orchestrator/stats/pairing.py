"""Two sides of a comparison, joined on seed and burst. Pure.

Axes: S seeds at which both sides were scored, B bursts of one capture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RunError

Floats = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)


class BurstOutcomes(Protocol):
    """How one run did on each burst; the arrays go together."""

    @property
    def keys(self) -> NDArray[np.str_]:
        """The name of each burst [B]."""

    @property
    def devices(self) -> NDArray[np.int64]:
        """The transmitter that sent each burst [B]."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the run recognised each burst [B]."""


@dataclass(frozen=True)
class PairedDifferences:
    """One comparison, joined on seed and burst. Pairs with only one side are dropped and counted."""

    difference_SB: NDArray[np.int8] | Floats
    """Experiment minus reference: -1, 0 or 1 for items that are right or wrong, else in the metric's unit."""
    seeds: tuple[int, ...]
    stratum_B: NDArray[np.int64] | NDArray[np.str_]
    """The stratum of each item, such as the transmitter of a burst."""
    dropped_seeds: tuple[int, ...] = ()
    dropped_items: int = 0
    scale: float = 100.0
    """What a difference of 1 is worth in points: 100 percentage points of accuracy, or 1 of a metric's own unit."""
    resolution: float | None = None
    """Smallest step of a run's score, in points; None if it is that of one item of B."""

    def __post_init__(self) -> None:
        wanted = (len(self.seeds), len(self.stratum_B))
        if self.difference_SB.shape != wanted:
            raise ValueError(f"differences are {self.difference_SB.shape}, seeds x bursts are {wanted}")

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.seeds)

    @property
    def num_items(self) -> int:
        """B."""
        return len(self.stratum_B)

    @property
    def delta_points_by_seed(self) -> Floats:
        """The difference in accuracy at each seed [S], in percentage points."""
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


def pair_outcomes(experiment: Mapping[int, BurstOutcomes], reference: Mapping[int, BurstOutcomes]) -> PairedDifferences:
    """Join two sides, seed -> outcomes, on seed and burst key.

    A burst counts if every run on both sides was scored on it. Nothing is filled in for a missing score.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    seeds = tuple(sorted(experiment.keys() & reference.keys()))
    sides = [side[seed] for side in (experiment, reference) for seed in seeds]
    keys_B, dropped_items = common_keys([side.keys for side in sides])
    # Runs without a common burst are no pair, so their seeds count as dropped.
    if len(keys_B) == 0:
        seeds, sides = (), []
    # Signed integers, because differences of booleans or unsigned integers would wrap round.
    correct = np.array([in_order(side.keys, side.correct, keys_B) for side in sides], dtype=np.int8)
    correct_2SB = correct.reshape(2, len(seeds), len(keys_B))
    devices = [in_order(side.keys, side.devices, keys_B) for side in sides]
    return PairedDifferences(
        difference_SB=correct_2SB[0] - correct_2SB[1],
        seeds=seeds,
        stratum_B=agreed(devices, keys_B, "device of burst") if devices else np.array([], dtype=np.int64),
        dropped_seeds=tuple(sorted((experiment.keys() | reference.keys()) - set(seeds))),
        dropped_items=dropped_items,
    )


def common_keys(all_keys: Sequence[NDArray[np.str_]]) -> tuple[NDArray[np.str_], int]:
    """Return the keys that all runs have, sorted [B], and how many keys only some have.

    Raises:
        RunError: a run has one key twice.
    """
    if not all_keys:
        return np.array([], dtype=np.str_), 0
    for keys in all_keys:
        names, counts = np.unique(keys, return_counts=True)
        if (counts > 1).any():
            raise RunError(f"the predictions hold burst `{names[counts > 1][0]}` more than once; train the run again")
    common_B = reduce(np.intersect1d, all_keys)
    return common_B, len(reduce(np.union1d, all_keys)) - len(common_B)


def in_order(keys: NDArray[np.str_], values: NDArray[Scalar], keys_B: NDArray[np.str_]) -> NDArray[Scalar]:
    """Return the values of a run at `keys_B` [B], which are among its own keys."""
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
            raise RunError(f"runs disagree on the {what} `{keys_B[differs_B][0]}`; they saw different captures")
    return first_B
