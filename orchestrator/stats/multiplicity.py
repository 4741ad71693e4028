"""P-values adjusted for testing many. Pure.

Axes: C comparisons, N points.

Example: p-values 0.01, 0.02 and 0.04 become 0.03, 0.04 and 0.04 by Holm: times 3, 2 and 1, and never falling.

Comparisons with one reference are alike: an unlucky run of it moves all of them. Dunnett's procedure knows how much
they are alike, and Holm's does not. The same p-values with correlations of a half become 0.027, 0.037 and 0.040.

Holm's procedure is written here, and the tests compare it with statsmodels. `statsmodels.multipletests` runs the
garbage collector at each call, which takes longer than judging a campaign.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import false_discovery_control
from scipy.stats.qmc import Sobol

Floats = NDArray[np.float64]
NUM_POINTS = 2**14
"""Points at which the joint distribution is looked at. An adjusted p-value of 0.05 is known to about 0.002."""


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any false rejection is bounded, under any dependence.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    remaining = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    # A larger p-value must not be adjusted to a smaller one, hence the running maximum.
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(remaining * raw[order]))
    return [float(p_value) for p_value in adjusted]


def dunnett_adjust(p_values: Sequence[float], correlation_CC: Floats) -> list[float]:
    """Return p-values adjusted as Holm's, but for the correlation of the comparisons: step-down Dunnett.

    Each p-value becomes a normal deviate. The adjusted one is the chance that the largest of as many deviates, with the
    correlations, lies farther out. The smallest p-value is held against all comparisons, the next against all but that
    one, and so on. The chance is counted at fixed points. No result is larger than Holm's.

    Args:
        p_values: two-sided, of C comparisons; their estimates need not have the same degrees of freedom.
        correlation_CC: of their estimates. Zero, where it is not known, is on the safe side (Sidak 1967).

    Sources: Dunnett and Tamhane, Step-down multiple tests for comparing treatments with a control in unbalanced one-way
    layouts (1991). Genz and Bretz, Computation of multivariate normal and t probabilities (2009), for the points.
    """
    holm = holm_adjust(p_values)
    if len(holm) < 2:
        return holm
    deviate_C = -ndtri(np.maximum(np.asarray(p_values, dtype=np.float64), 1e-300) / 2.0)
    order = np.argsort(p_values, kind="stable")
    drawn_NC = np.abs(_normal_points(len(holm)) @ _root(correlation_CC).T)[:, order]
    # Column i: the largest of the comparisons from the i-th smallest p-value on.
    largest_NC = np.maximum.accumulate(drawn_NC[:, ::-1], axis=1)[:, ::-1]
    share_C = (1.0 + (largest_NC >= deviate_C[order]).sum(axis=0)) / (1.0 + NUM_POINTS)
    adjusted = np.empty(len(holm))
    adjusted[order] = np.maximum.accumulate(share_C)
    # Points cannot show a chance below one over their number. Holm's can, and bounds every other.
    return [
        max(float(p_value), min(float(own), other))
        for p_value, own, other in zip(p_values, adjusted, holm, strict=True)
    ]


@cache
def _normal_points(num_axes: int) -> Floats:
    """Return points [N, C] of the normal distribution that fill it evenly, always the same ones."""
    uniform_NC = Sobol(num_axes, rng=np.random.default_rng(0)).random(NUM_POINTS)
    points_NC: Floats = ndtri(np.clip(uniform_NC, 1e-12, 1.0 - 1e-12))
    return points_NC


def _root(correlation_CC: Floats) -> Floats:
    """Return a root of a correlation matrix; estimated correlations may contradict each other a little."""
    value_C, vector_CC = np.linalg.eigh(correlation_CC)
    root_CC = vector_CC * np.sqrt(np.maximum(value_C, 0.0))
    scaled_CC: Floats = root_CC / np.maximum(np.linalg.norm(root_CC, axis=1, keepdims=True), 1e-12)
    return scaled_CC


def benjamini_hochberg_adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the expected share of false rejections is bounded, under positive dependence.

    Sources: Benjamini and Hochberg, Controlling the false discovery rate (1995).
    Benjamini and Yekutieli, The control of the false discovery rate under dependency (2001), for comparisons that share
    a reference.
    """
    return [float(p_value) for p_value in false_discovery_control(p_values)] if p_values else []


ADJUST: Mapping[str, Callable[[Sequence[float], Floats], list[float]]] = {
    "dunnett": dunnett_adjust,
    "holm": lambda p_values, _: holm_adjust(p_values),
    "benjamini_hochberg": lambda p_values, _: benjamini_hochberg_adjust(p_values),
}
"""`judging.correction` -> the function that adjusts p-values, whose correlations are given."""
CORRECTION_NAME = {"dunnett": "Dunnett", "holm": "Holm", "benjamini_hochberg": "Benjamini-Hochberg"}
