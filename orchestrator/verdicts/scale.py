"""The scale that a metric is judged on, and how its numbers are written. Pure.

A metric that is compared by difference is judged in its own unit; a share in percent has percentage points. One that is
compared by ratio is judged as 100 times the natural logarithm, since a difference of logarithms is a ratio. Readers see
such a difference in percent of the reference.

Example: an error falls from 2.00 m to 1.90 m. By difference that is -0.10 m. By ratio the logarithm falls by 5.13,
which reads as -5.0 %.
"""

import math

from msgspec import Struct

from orchestrator import wording
from orchestrator.task.metric_spec import MetricSpec

LOG_SCALE = 100.0
"""What a natural logarithm is multiplied by, so that small differences read about like percent."""
PERCENT = "%"
MAX_PLACES = 9


class Scale(Struct, frozen=True):
    """How one metric is judged and written."""

    metric: MetricSpec

    @property
    def is_ratio(self) -> bool:
        """Whether differences are judged as logarithms."""
        return self.metric.compare == "ratio"

    @property
    def sign(self) -> int:
        """1 where a higher value is better, -1 where a lower one is."""
        return 1 if self.metric.better == "higher" else -1

    @property
    def margin_points(self) -> float:
        """The smallest difference that matters, on the scale of the judgement; 0 for a metric without a margin."""
        margin = self.metric.margin
        if margin is None:
            return 0.0
        # The logarithm of 1.05 is the margin of 5 %, up and down alike.
        return LOG_SCALE * math.log1p(margin.value) if margin.is_share else margin.value

    @property
    def arrow(self) -> str:
        """Says which way is better: ↑ or ↓."""
        return "↑" if self.sign > 0 else "↓"

    @property
    def unit(self) -> str:
        """The unit of a difference, as words: percentage points, % of the reference, m; empty if there is none."""
        if self.is_ratio:
            return "% of the reference"
        return "percentage points" if self.metric.unit == PERCENT else self.metric.unit

    @property
    def _short_unit(self) -> str:
        if self.is_ratio:
            return PERCENT
        return "points" if self.metric.unit == PERCENT else self.metric.unit

    def value(self, score: float) -> float:
        """Return a score on the scale of the judgement."""
        return LOG_SCALE * math.log(score) if self.is_ratio else score

    def shown(self, points: float) -> float:
        """Return a difference as readers see it: in percent where ratios count, otherwise as it is."""
        return 100.0 * math.expm1(points / LOG_SCALE) if self.is_ratio else points

    def number(self, value: float) -> str:
        """Write a score without its unit."""
        return f"{value:.{self._score_places(value)}f}"

    def score(self, value: float | None) -> str:
        """Write a score with its unit: 85.0 %, 0.123 m."""
        if value is None:
            return wording.MISSING
        return f"{self.number(value)} {self.metric.unit}".rstrip()

    def delta(self, points: float | None) -> str:
        """Write a difference without its unit, with its sign: +1.0, −0.004."""
        if points is None:
            return wording.MISSING
        shown = self.shown(points)
        places = self._delta_places(shown)
        # Without rounding first, a tiny negative number would read "−0.0".
        return f"{round(shown, places) + 0.0:+.{places}f}".replace("-", "−")

    def with_unit(self, points: float | None) -> str:
        """Write a difference with its unit: +1.0 points, −5.0 %, +0.004 m."""
        return wording.MISSING if points is None else f"{self.delta(points)} {self._short_unit}".rstrip()

    def size(self, points: float | None) -> str:
        """Write the size of an error on the scale of the judgement, with its unit."""
        if points is None:
            return wording.MISSING
        return f"{self.error(points)} {self._short_unit}".rstrip()

    def error(self, points: float | None) -> str:
        """Write a standard error with one place more than a difference."""
        if points is None:
            return wording.MISSING
        return f"{points:.{min(MAX_PLACES, self._delta_places(points) + 1)}f}"

    def margin(self) -> str:
        """Write the margin with its unit: ±1 points, ±5 %, ±0.02 m."""
        margin = self.metric.margin
        value = 0.0 if margin is None else 100.0 * margin.value if margin.is_share else margin.value
        return f"±{value:g} {self._short_unit}".rstrip()

    def reach(self, shown: float) -> str:
        """Write the length of a difference as readers see it, with its unit: 1.0 points, 0.004 m."""
        return f"{shown:.{self._delta_places(shown)}f} {self._short_unit}".rstrip()

    def interval(self, ends: tuple[float, float] | None) -> str:
        """Write an interval: [−0.4, +2.1]. An end that rounds to zero keeps its sign."""
        if ends is None:
            return wording.MISSING
        shown = [self.shown(end) for end in ends]
        # The larger end says how many places matter, where no margin does.
        places = min(self._delta_places(end) for end in shown)
        low, high = (f"{end:+.{places}f}".replace("-", "−") for end in shown)
        return f"[{low}, {high}]"

    def interval_at(self, ends: tuple[float, float] | None, level: float, usual_level: float) -> str:
        """Write an interval, and its coverage if it is not the usual one: [+0.2, +2.1] (98.34 %)."""
        written = self.interval(ends)
        return written if ends is None or level == usual_level else f"{written} ({wording.coverage(level)})"

    def _score_places(self, value: float) -> int:
        """Return the decimal places of a score: those of the margin and one more, or four digits in all."""
        if self.metric.unit == PERCENT:
            return 1
        margin = self.metric.margin
        return _places(abs(value) / 100.0 if margin is None or margin.is_share else margin.value)

    def _delta_places(self, shown: float) -> int:
        """Return the decimal places of a difference: those of the margin and one more, or three digits in all."""
        if self.metric.unit == PERCENT or self.is_ratio:
            return 1
        margin = self.metric.margin
        return _places(abs(shown) / 10.0 if margin is None else margin.value)


def _places(step: float) -> int:
    """Return how many decimal places show a step with two digits."""
    if step <= 0 or not math.isfinite(step):
        return 1
    return min(MAX_PLACES, max(0, 1 - math.floor(math.log10(step))))
