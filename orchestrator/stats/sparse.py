"""The error of a share where few items differ between two sides. Pure.

Example: none of 300 items differs. The estimate is 0, and its plain standard error is 0 as well. But a change that
spoils one item in a hundred leaves all of 300 alike in one campaign of twenty. The score interval says -1.3 to +1.3
points.
"""

from math import sqrt

from scipy.optimize import brentq

SPARSE = 10
"""From so many differing items on, the plain variance is good enough."""
NORMAL_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

LARGEST = 1.0 - 1e-12
"""A difference of 1 itself has no variance."""


def score_interval(gained: float, lost: float, num_items: int, quantile: float = NORMAL_95) -> tuple[float, float]:
    """Return the score interval of the difference of two paired shares, from -1 to 1.

    Args:
        gained: items that only the first side has right. A mean over seeds need not be whole.
        lost: items that only the second side has right.
        num_items: all items.
        quantile: of the normal distribution; the default gives 95 %.

    Source: Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design (1998), eq. 6 and 8.
    """

    middle = (gained - lost) / num_items
    ends = []
    for sign in (1.0, -1.0):

        def beyond(difference: float, sign: float = sign) -> float:
            return _score(gained, lost, num_items, difference) - sign * quantile

        farthest = -sign * LARGEST
        # The score falls as the supposed difference rises. Without a crossing, every difference is possible.
        is_possible = sign * beyond(farthest) < 0 or sign * middle <= sign * farthest
        ends.append(-sign if is_possible else float(brentq(beyond, farthest, middle)))
    return ends[0], ends[1]


def _score(gained: float, lost: float, num_items: int, difference: float) -> float:
    """Return how far the observed difference lies from a supposed one, in standard errors under that one."""
    # The share of items that only the second side has right, where the likelihood is greatest under the difference.
    linear = -gained - lost + (2 * num_items - gained + lost) * difference
    constant = -lost * difference * (1.0 - difference)
    share = (sqrt(max(0.0, linear**2 - 8 * num_items * constant)) - linear) / (4 * num_items)
    distance = gained - lost - num_items * difference
    variance = num_items * (2.0 * share + difference * (1.0 - difference))
    # Only a difference that was observed exactly has no variance.
    return distance / sqrt(variance) if variance > 0 else 0.0
