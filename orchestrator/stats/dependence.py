"""A test of whether neighbouring items are more alike than items drawn one by one. Pure.

Intervals over items hold for independent items. Items of one recording session, patient or page are alike, and they
mostly lie side by side in the order of their keys. The statistic is the correlation of lag 1 of the per-item
differences. Shuffles of the items within strata show what it is by chance (Wald and Wolfowitz 1943).

Axes: B items of one split, K comparisons, N orders of the items, P pairs of neighbours.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.item_pairs import Measure, RunItems, Texts, join_items
from orchestrator.stats.pairing import Floats, common_keys, in_order

NUM_SHUFFLES = 199
"""Shuffles of the items. Few are enough for a level of 5 %, and every report makes them; the smallest p is 0.005."""
BLOCK_CELLS = 500_000
"""Most numbers, shuffles times items times comparisons, that are held at once."""
MIN_PAIRS = 20
"""Fewest pairs of neighbours that are tested; fewer show no correlation that a shuffle could not."""

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class ItemDifferences:
    """One comparison, item by item; the arrays go together."""

    keys_B: Texts
    stratum_B: Texts
    difference_B: Floats
    """Experiment minus reference, averaged over seeds."""


@dataclass(frozen=True)
class Dependence:
    """How alike neighbouring items are."""

    correlation: float
    """Of lag 1 within strata, averaged over comparisons, above that of shuffles; about 0 for independent items."""
    p_value: float
    """One-sided: the share of shuffles with a correlation as large."""
    num_items: int


def item_differences(
    experiment: Mapping[int, RunItems], reference: Mapping[int, RunItems], measure: Measure
) -> ItemDifferences | None:
    """Join two sides, seed -> items, and average the difference of each item over seeds.

    Returns:
        The differences, or None if the sides share no seed or item, or name clusters, whose items need no test.

    Raises:
        RunError: as `join_items`.
    """
    seeds = sorted(experiment.keys() & reference.keys())
    sides = [{seed: side[seed] for seed in seeds} for side in (experiment, reference)]
    joined = join_items(sides[0], sides[1], measure)
    if not joined.experiment or joined.has_clusters:
        return None
    keys_B, _ = common_keys([side[seed].keys_B for side in sides for seed in seeds])
    difference_B: Floats = np.mean([joined.experiment[seed] - joined.reference[seed] for seed in seeds], axis=0)
    return ItemDifferences(keys_B, joined.stratum_U, difference_B)


def order_of_key(key: str) -> tuple[tuple[bool, int, str], ...]:
    """Return what keys are sorted by: their numbers count as numbers, so `LocD/3/9` comes before `LocD/3/10`."""
    parts = _NUMBER.split(key)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def find_dependence(comparisons: Sequence[ItemDifferences]) -> Dependence | None:
    """Test all comparisons of a campaign at once, on the items that all of them have.

    The order of items is that of their keys, since joins and parallel evaluations keep no other. A comparison without
    any difference says nothing and is left out. One shuffle reorders all comparisons alike, because arms that share a
    reference have items in common. So the whole campaign makes one test, and its false alarms stay at its level.

    Returns:
        The test, or None if the items have too few neighbours, or no comparison has a difference.
    """
    if not comparisons:
        return None
    stratum_B, difference_BK = _line_up(comparisons)
    centred_BK = _centre(stratum_B, difference_BK)
    total_K = (centred_BK**2).sum(axis=0)
    # Rounding leaves traces of differences that are the same for every item.
    seen_K = total_K > 1e-12 * (1.0 + (difference_BK**2).sum(axis=0))
    is_pair_P = stratum_B[1:] == stratum_B[:-1]
    if not seen_K.any() or is_pair_P.sum() < MIN_PAIRS:
        return None
    scaled_BK = centred_BK[:, seen_K] / np.sqrt(total_K[seen_K])
    found = float(_statistics(scaled_BK, is_pair_P, np.arange(len(stratum_B))[None])[0])
    shuffled_N = _shuffled_statistics(stratum_B, scaled_BK, is_pair_P)
    p_value = (1 + int((shuffled_N >= found - 1e-12).sum())) / (1 + len(shuffled_N))
    # Every shuffle has the same mean square, so the statistic over the share of pairs is a correlation.
    scale = len(stratum_B) / int(is_pair_P.sum())
    return Dependence(correlation=scale * (found - float(shuffled_N.mean())), p_value=p_value, num_items=len(stratum_B))


def _line_up(comparisons: Sequence[ItemDifferences]) -> tuple[Texts, Floats]:
    """Return the stratum of each common item [B], strata together and keys in order, and the differences [B, K]."""
    keys_B, _ = common_keys([one.keys_B for one in comparisons])
    stratum_B = in_order(comparisons[0].keys_B, comparisons[0].stratum_B, keys_B)
    columns = [in_order(one.keys_B, one.difference_B, keys_B) for one in comparisons]
    difference_BK = np.array(columns, dtype=np.float64).reshape(len(columns), len(keys_B)).T
    names, stratum = keys_B.tolist(), stratum_B.tolist()
    order_B = np.array(sorted(range(len(names)), key=lambda at: (stratum[at], order_of_key(names[at]))), dtype=np.int64)
    return stratum_B[order_B], difference_BK[order_B]


def _centre(stratum_B: Texts, difference_BK: Floats) -> Floats:
    """Subtract each stratum's mean: strata are fixed, so what they differ by is no dependence."""
    _, group_B, size_G = np.unique(stratum_B, return_inverse=True, return_counts=True)
    sum_GK = np.zeros((len(size_G), difference_BK.shape[1]))
    np.add.at(sum_GK, group_B, difference_BK)
    centred_BK: Floats = difference_BK - (sum_GK / size_G[:, None])[group_B]
    return centred_BK


def _statistics(scaled_BK: Floats, is_pair_P: NDArray[np.bool_], order_NB: NDArray[np.int64]) -> Floats:
    """Return the mean over comparisons of the sum over neighbours' products, for each of N orders of the items."""
    x_NBK = scaled_BK[order_NB]
    sum_NP: Floats = np.einsum("nbk,nbk->nb", x_NBK[:, 1:], x_NBK[:, :-1])
    found_N: Floats = sum_NP[:, is_pair_P].sum(axis=1) / scaled_BK.shape[1]
    return found_N


def _shuffled_statistics(stratum_B: Texts, scaled_BK: Floats, is_pair_P: NDArray[np.bool_]) -> Floats:
    """Return the statistic of each shuffle; items stay in their stratum."""
    # The numbers themselves seed the shuffles. With one seed for all campaigns, a few unlucky shuffles would move the
    # level of every campaign. Rounding leaves out digits in which machines differ.
    rng = np.random.default_rng(zlib.crc32(np.rint(1e6 * scaled_BK).astype(np.int64).tobytes()))
    _, group_B = np.unique(stratum_B, return_inverse=True)
    at_once = max(1, BLOCK_CELLS // scaled_BK.size)
    blocks = [min(at_once, NUM_SHUFFLES - done) for done in range(0, NUM_SHUFFLES, at_once)]
    # Strata lie together, so sorting random numbers behind the stratum shuffles within it.
    orders = (np.argsort(group_B + rng.random((size, len(group_B))), axis=1) for size in blocks)
    return np.concatenate([_statistics(scaled_BK, is_pair_P, order_NB) for order_NB in orders])
