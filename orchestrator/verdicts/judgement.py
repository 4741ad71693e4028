"""What can be said about one comparison: the words of a verdict, an estimate, a judgement. Values only."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from orchestrator.stats.estimate import Estimate


class Verdict(StrEnum):
    """What a campaign concludes about an experiment."""

    IMPROVED = "improved"
    REGRESSION = "regression"
    NO_CHANGE = "no_change"
    INCONCLUSIVE = "inconclusive"
    NEEDS_SEEDS = "needs_seeds"
    """Fewer than two seeds have both sides scored: below the floor of evidence."""
    TOO_SLOW = "too_slow"
    FAILED = "failed"
    PENDING = "pending"
    """No run of it has ended yet."""

    @property
    def is_stop(self) -> bool:
        """Whether the experiment ended without scores."""
        return self in (Verdict.TOO_SLOW, Verdict.FAILED)


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
    """After `judging.correction`, over the comparisons of its family."""
    equivalence_p_value: float | None = None
    """Of the two one-sided tests against a difference as large as the margin; not adjusted."""
    family: str | None = None
    """What it is tested together with: `campaign`, or the name of its group."""
    num_compared: int | None = None
    """How many comparisons that family has."""
    confounds: tuple[str, ...] = ()
    """What differs from the reference's runs beyond the declared change, a sentence each."""

    look_seeds: int | None = None
    """At how many seeds it was looked at for this verdict, where seeds are given out look by look."""
    fresh: Estimate | None = None
    """Of an improvement: the difference on the seeds of the confirmation alone."""
    is_confirmed: bool | None = None
    """Whether the fresh seeds show it too; None where none are asked for."""

    @property
    def is_keeper(self) -> bool:
        """Whether it improved, by its declared change alone, and on fresh seeds too where the campaign wants that."""
        return self.verdict is Verdict.IMPROVED and not self.confounds and self.is_confirmed is not False


Judgements = Mapping[str, Judgement]
"""Experiment -> its judgement."""


class AtLook(Struct, frozen=True):
    """What of the level is spent at one look of several."""

    share: float = 1.0
    equivalence_share: float = 1.0
    decided_p: Mapping[str, float] | None = None
    """Experiment that was decided at an earlier look -> its p-value over the share of that look."""

    def spend(self, experiment: str, p_value: float | None) -> float | None:
        """Return the p-value over the share, 1 where there is none yet; at the only look there is, the p-value."""
        if self.decided_p is None:
            return p_value
        return self.decided_p.get(experiment, 1.0 if p_value is None else min(1.0, p_value / self.share))


ONLY_LOOK = AtLook()
