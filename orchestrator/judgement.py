"""What can be said about one comparison: the words of a verdict, an estimate, a judgement. Values only."""

from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """What a campaign concludes about an experiment."""

    IMPROVED = "improved"
    REGRESSION = "regression"
    NO_CHANGE = "no_change"
    INCONCLUSIVE = "inconclusive"
    TOO_SLOW = "too_slow"
    FAILED = "failed"
    PENDING = "pending"
    """No run of it has ended yet."""

    @property
    def is_stop(self) -> bool:
        """Whether the experiment ended without scores."""
        return self in (Verdict.TOO_SLOW, Verdict.FAILED)


class Estimate(Struct, frozen=True, kw_only=True):
    """The difference between an experiment and its reference; None is "cannot be computed", never zero.

    Differences and standard errors are in percentage points of accuracy, the interval is the central 95 %.
    """

    seeds: tuple[int, ...] = ()
    """Seeds at which both sides were scored."""
    dropped_seeds: tuple[int, ...] = ()
    """Seeds at which only one side was scored."""
    num_bursts: int = 0
    dropped_bursts: int = 0
    """Bursts that not all of the runs were scored on."""
    delta_points: float | None = None
    delta_points_of: dict[int, float] = {}
    """Seed -> difference at that seed."""
    low_points: float | None = None
    high_points: float | None = None
    p_value: float | None = None
    """Two-sided, against no difference."""
    seed_error_points: float | None = None
    burst_error_points: float | None = None
    lasting_burst_error_points: float | None = None
    """The part of the burst error that more seeds would not take away."""
    degrees_of_freedom: float | None = None
    moderated: bool = False
    """Whether the spread over seeds borrows strength from the campaign's other comparisons."""

    @property
    def interval_points(self) -> tuple[float, float] | None:
        """Both ends of the interval, or None where there is none."""
        if self.low_points is None or self.high_points is None:
            return None
        return self.low_points, self.high_points


class Judgement(Estimate, frozen=True, kw_only=True):
    """An experiment's estimate with the verdict on it."""

    experiment: str
    reference: str | None
    """None for the baseline, which is compared with nothing."""
    verdict: Verdict | None
    """None for a baseline that was scored."""
    reason: str
    """The sentence the report prints."""
    failure: str | None = None
    """The class of the failure, where the verdict is `failed`."""
    accuracy_percent: float | None = None
    """Mean over seeds, on the judged capture."""
    accuracy_percent_of: dict[int, float] = {}
    """Seed -> accuracy."""
    baseline_delta_points: float | None = None
    """Mean difference to the baseline over the seeds that both have."""
    adjusted_p_value: float | None = None
    """After Holm, over the campaign's comparisons."""
    confounds: tuple[str, ...] = ()
    """What differs from the reference's runs beyond the declared change, a sentence each."""

    @property
    def is_keeper(self) -> bool:
        """Whether it improved, and by its declared change alone."""
        return self.verdict is Verdict.IMPROVED and not self.confounds
