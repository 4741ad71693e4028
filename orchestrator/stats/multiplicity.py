"""P-values adjusted for testing many. Pure.

Example: p-values 0.01, 0.02 and 0.04 become 0.03, 0.04 and 0.04 by Holm: times 3, 2 and 1, and never falling.

Holm's procedure is written here, and the tests compare it with statsmodels. `statsmodels.multipletests` runs the
garbage collector at each call, which takes longer than judging a campaign.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import false_discovery_control


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


def benjamini_hochberg_adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the expected share of false rejections is bounded, under positive dependence.

    Sources: Benjamini and Hochberg, Controlling the false discovery rate (1995).
    Benjamini and Yekutieli, The control of the false discovery rate under dependency (2001), for comparisons that share
    a reference.
    """
    return [float(p_value) for p_value in false_discovery_control(p_values)] if p_values else []


ADJUST: Mapping[str, Callable[[Sequence[float]], list[float]]] = {
    "holm": holm_adjust,
    "benjamini_hochberg": benjamini_hochberg_adjust,
}
"""`judging.correction` -> the function that adjusts."""
CORRECTION_NAME = {"holm": "Holm", "benjamini_hochberg": "Benjamini-Hochberg"}
