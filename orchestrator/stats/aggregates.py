"""Aggregates of a run's items, each with the influence of every item on it. Pure.

Each aggregate comes with influence values: the change of the aggregate for a little more weight on an item, times the
number of items. Their mean is zero. So `value + influence` is one number an item whose plain mean is the aggregate, and
the layout that judges a mean judges every aggregate.

Source: Hampel, The influence curve and its role in robust estimation (1974); van der Vaart, Asymptotic Statistics
(1998), chapter 20.

Letters: B items of one split, G clusters of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


class AggregateError(ValueError):
    """Items that have no such aggregate; the text is a sentence for the user, without the metric's name."""


@dataclass(frozen=True)
class Aggregate:
    """The aggregate of one run's items and the influence of each item."""

    value: float
    influence_B: Floats
    """In the unit of the value, with mean zero."""

    @property
    def item_values(self) -> Floats:
        """One number an item [B], whose mean is the aggregate."""
        return self.value + self.influence_B


def mean(x_B: Floats) -> Aggregate:
    """Return the mean of a column."""
    _require_items(x_B)
    value = float(x_B.mean())
    return Aggregate(value, x_B - value)


def ratio(x_B: Floats, n_B: Floats) -> Aggregate:
    """Return the sum of one column over the sum of another, such as errors over words.

    Raises:
        AggregateError: the second column does not sum to a number above zero.
    """
    _require_items(x_B, n_B)
    total = float(n_B.sum())
    if total <= 0:
        raise AggregateError(f"the column to divide by sums to {total:g}; it must sum to a number above 0")
    value = float(x_B.sum()) / total
    return Aggregate(value, (x_B - value * n_B) / n_B.mean())


def rmse(error_B: Floats) -> Aggregate:
    """Return the root of the mean square of a column of errors."""
    _require_items(error_B)
    square_B = error_B**2
    value = math.sqrt(float(square_B.mean()))
    # Without any error the root has no slope. Then no item has an influence.
    influence_B = (square_B - square_B.mean()) / (2 * value) if value > 0 else np.zeros_like(square_B)
    return Aggregate(value, influence_B)


def r2(true_B: Floats, predicted_B: Floats) -> Aggregate:
    """Return the coefficient of determination: 1 - mean squared error over the variance of the true values.

    Raises:
        AggregateError: all true values are equal.
    """
    _require_items(true_B, predicted_B)
    variance = float(true_B.var())
    if variance <= 0:
        raise AggregateError("all true values are equal, so R2 has nothing to explain; choose another aggregate")
    square_B = (true_B - predicted_B) ** 2
    error, centred_B = float(square_B.mean()), (true_B - true_B.mean()) ** 2
    # The quotient rule: the first term is the change of the error, the second that of the variance.
    influence_B = -(square_B - error) / variance + error * (centred_B - variance) / variance**2
    return Aggregate(1.0 - error / variance, influence_B)


def quantile(x_B: Floats, share: float) -> Aggregate:
    """Return a quantile of a column, `share` of it from 0 to 1; the median has the share 0.5.

    The influence needs the density at the quantile. A window of Scott's width around it (1992, eq. 6.42) counts items.

    Raises:
        AggregateError: the share is not between 0 and 1.
    """
    _require_items(x_B)
    if not 0 < share < 1:
        raise AggregateError(f"the quantile is {share:g}; it must lie between 0 and 1, such as 0.9")
    value = float(np.quantile(x_B, share))
    half_width = 1.06 * float(x_B.std()) * len(x_B) ** -0.2
    if half_width == 0:
        return Aggregate(value, np.zeros_like(x_B))
    # At least one item counts as inside, because the quantile may lie in a gap between two.
    num_inside = max(1, int((np.abs(x_B - value) <= half_width).sum()))
    density = num_inside / len(x_B) / (2 * half_width)
    influence_B = (share - (x_B <= value)) / density
    return Aggregate(value, influence_B - influence_B.mean())


def median(x_B: Floats) -> Aggregate:
    """Return the median of a column."""
    return quantile(x_B, 0.5)


def auc(score_B: Floats, label_B: Floats) -> Aggregate:
    """Return the area under the ROC curve: the chance that an item with label 1 scores above one with label 0.

    The influence values are DeLong's placements (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44). Equal scores
    count half.

    Raises:
        AggregateError: a label is neither 0 nor 1, or one of them is missing.
    """
    _require_items(score_B, label_B)
    is_positive_B = label_B == 1
    if other := sorted(set(label_B.tolist()) - {0.0, 1.0}):
        raise AggregateError(f"the label column holds {other[0]:g}; labels must be 0 or 1")
    num_positive = int(is_positive_B.sum())
    num_negative = len(label_B) - num_positive
    if not num_positive or not num_negative:
        raise AggregateError(f"every label is {int(label_B[0])}; the AUC needs items of both labels")
    rank_B = rankdata(score_B)
    # The rank among all, less the rank within the own label, counts the items of the other label below.
    below_B = np.empty(len(score_B))
    for chosen_B in (is_positive_B, ~is_positive_B):
        below_B[chosen_B] = rank_B[chosen_B] - rankdata(score_B[chosen_B])
    placement_B = np.where(is_positive_B, below_B / num_negative, 1.0 - below_B / num_positive)
    value = float(placement_B[is_positive_B].mean())
    # Each label is a sample of its own size, so its items weigh more the fewer they are.
    weight_B = len(score_B) / np.where(is_positive_B, num_positive, num_negative)
    return Aggregate(value, (placement_B - value) * weight_B)


AGGREGATES: dict[str, tuple[int, Callable[..., Aggregate]]] = {
    "mean": (1, mean),
    "ratio": (2, ratio),
    "rmse": (1, rmse),
    "r2": (2, r2),
    "median": (1, median),
    "quantile": (1, quantile),
    "auc": (2, auc),
}
"""Name of an aggregate -> its number of columns, and its function; `quantile` also takes the share."""


def logarithm(aggregate: Aggregate) -> Aggregate:
    """Return the natural logarithm of an aggregate, so that a difference compares by ratio.

    Raises:
        AggregateError: the aggregate is not above zero.
    """
    if aggregate.value <= 0:
        raise AggregateError(f"the value is {aggregate.value:g}; a comparison in per cent needs values above 0")
    return Aggregate(math.log(aggregate.value), aggregate.influence_B / aggregate.value)


def by_cluster(aggregate: Aggregate, cluster_B: NDArray[np.str_]) -> tuple[NDArray[np.str_], Floats]:
    """Return the names of the clusters [G], sorted, and one number each [G], whose mean is the aggregate.

    A cluster is drawn as a whole: a trial, a patient, a capture session. Its items are not independent, so the cluster
    is the unit. Its number is the aggregate, plus the sum of its items' influence times clusters over items.
    """
    names_G, cluster_of_B = np.unique(cluster_B, return_inverse=True)
    total_G = np.bincount(cluster_of_B, aggregate.influence_B, minlength=len(names_G))
    scale = len(names_G) / len(cluster_B)
    return names_G, (aggregate.value + total_G * scale).astype(np.float64)


def _require_items(*columns: Floats) -> None:
    if not len(columns[0]):
        raise AggregateError("there are no items; at least one is needed")
    if any(len(column) != len(columns[0]) for column in columns):
        raise AggregateError(f"columns have {' and '.join(str(len(c)) for c in columns)} items; they must be as long")
