"""How much the differences of one campaign move together. Pure.

Axes: C comparisons, R runs of all of them, B items (or clusters) of one split.

Two experiments with one reference share its runs: an unlucky one makes both look better. They also share its luck with
each item. The covariance of two estimates is the sum of both:

    sum over shared runs of weight_i x weight_j x (the run's variance beyond its items)
    + covariance over items of the two mean differences

What a run does with single items is part of the second term, so the first one leaves it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.variance import Floats

Run = tuple[str, int]
"""Arm and seed."""


@dataclass(frozen=True)
class Contrast:
    """One estimated difference, as a weighted sum of runs."""

    weights: Mapping[Run, float]
    """Run -> its weight, below zero for the reference's."""
    seed_points2: Mapping[str, float]
    """Arm -> the variance of one run beyond what its items explain."""
    pairs: PairedDifferences
    error_points: float
    """Standard error of the estimate."""


def correlations(contrasts: Sequence[Contrast]) -> Floats:
    """Return the correlation of each two estimates [C, C]; their items count where both rest on the same units."""
    place_of = {run: place for place, run in enumerate(sorted({run for each in contrasts for run in each.weights}))}
    weight_CR = np.zeros((len(contrasts), len(place_of)))
    for row, contrast in enumerate(contrasts):
        for run, weight in contrast.weights.items():
            weight_CR[row, place_of[run]] = weight * contrast.seed_points2.get(run[0], 0.0) ** 0.5
    covariance_CC = weight_CR @ weight_CR.T + _item_covariance(contrasts)
    error_C = np.array([contrast.error_points for contrast in contrasts])
    correlation_CC: Floats = np.clip(covariance_CC / np.outer(error_C, error_C), -1.0, 1.0)
    np.fill_diagonal(correlation_CC, 1.0)
    return correlation_CC


def _item_covariance(contrasts: Sequence[Contrast]) -> Floats:
    """Return the covariance over items of the mean differences [C, C], within strata; 0 without common units."""
    covariance_CC = np.zeros((len(contrasts), len(contrasts)))
    groups: dict[bytes, list[int]] = {}
    for place, contrast in enumerate(contrasts):
        if contrast.pairs.rests_on != "seeds":
            groups.setdefault(contrast.pairs.stratum_B.tobytes(), []).append(place)
    for places in groups.values():
        _, stratum_B, count_D = np.unique(contrasts[places[0]].pairs.stratum_B, return_inverse=True, return_counts=True)
        mean_CB = np.array([contrasts[place].pairs.points.mean(axis=0) for place in places])
        member_BD = (stratum_B[:, None] == np.arange(len(count_D))).astype(np.float64)
        centred_CB = mean_CB - (mean_CB @ member_BD / count_D)[:, stratum_B]
        # Cochran (1977), eq. 5.7: the unbiased variance within each stratum, weighted by its share of items.
        scaled_CB = centred_CB * np.sqrt(count_D / np.maximum(1, count_D - 1))[stratum_B] / len(stratum_B)
        covariance_CC[np.ix_(places, places)] = scaled_CB @ scaled_CB.T
    return covariance_CC
