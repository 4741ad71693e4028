"""P-values adjusted for testing many. Pure.

Holm is our own, and held against statsmodels by the tests: its `multipletests` collects garbage at every call, which
takes longer than to judge a campaign.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import false_discovery_control


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false rejection is bounded, under any dependence.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    remaining = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(remaining * raw[order]))
    return [float(p_value) for p_value in adjusted]


def benjamini_hochberg_adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the expected share of false rejections is bounded, under positive dependence.

    Sources: Benjamini and Hochberg, Controlling the false discovery rate (1995); for comparisons that share a
    reference, Benjamini and Yekutieli, The control of the false discovery rate under dependency (2001).
    """
    return [float(p_value) for p_value in false_discovery_control(p_values)] if p_values else []


ADJUST: Mapping[str, Callable[[Sequence[float]], list[float]]] = {
    "holm": holm_adjust,
    "benjamini_hochberg": benjamini_hochberg_adjust,
}
"""`judging.correction` -> how it adjusts."""
CORRECTION_NAME = {"holm": "Holm", "benjamini_hochberg": "Benjamini-Hochberg"}
