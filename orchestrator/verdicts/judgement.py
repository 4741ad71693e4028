"""The values of a verdict: the verdicts, the confirmation, and the judgement of one experiment. Values only."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct

from orchestrator import wording
from orchestrator.design.looks import crossing_chance
from orchestrator.stats.estimate import Estimate, simultaneous_interval
from orchestrator.task.metric_spec import Role


class Verdict(StrEnum):
    """What a campaign concludes about an experiment."""

    IMPROVED = "improved"
    REGRESSION = "regression"
    NO_CHANGE = "no_change"
    INCONCLUSIVE = "inconclusive"
    NEEDS_SEEDS = "needs_seeds"
    """Fewer than two seeds have a score on both sides."""
    TOO_SLOW = "too_slow"
    FAILED = "failed"
    PENDING = "pending"
    """No run of the experiment has ended yet."""

    @property
    def is_stop(self) -> bool:
        """Whether the experiment ended without scores."""
        return self in (Verdict.TOO_SLOW, Verdict.FAILED)


class Confirmation(StrEnum):
    """What fresh seeds say of an improvement; it stands beside the verdict."""

    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not confirmed"
    WAITS = "to be confirmed"

    @property
    def is_open(self) -> bool:
        """Whether the improvement is only a candidate."""
        return self is not Confirmation.CONFIRMED


class MetricJudgement(Estimate, frozen=True, kw_only=True):
    """What one metric beside the main one says of an experiment."""

    metric: str
    role: Role
    score: float | None = None
    """Mean over seeds, in the metric's unit."""
    verdict: Verdict | None = None
    """None unless the metric is judged."""
    reason: str = ""
    """Of the verdict."""
    adjusted_p_value: float | None = None
    equivalence_p_value: float | None = None
    not_worse_p_value: float | None = None
    """One-sided, against being worse by the margin; of a metric that must be no worse."""
    passes: bool | None = None
    """Whether it is shown to be no worse; None unless the metric must be."""


class Judgement(Estimate, frozen=True, kw_only=True):
    """An experiment's estimate by the main metric, with the verdict on it."""

    experiment: str
    reference: str | None
    """None for the baseline, which is compared with nothing."""
    verdict: Verdict | None
    """None for a baseline with a score, and for shuffled labels."""
    reason: str
    """The sentence that the report prints."""
    failure: str | None = None
    """The class of the failure, if the verdict is `failed`."""
    score: float | None = None
    """Mean over seeds of the main metric, in its unit."""
    score_of: dict[int, float] = {}
    """Seed -> score."""
    baseline_delta_points: float | None = None
    """Mean difference to the baseline over the seeds that both have."""
    adjusted_p_value: float | None = None
    """After `judging.correction`, over the comparisons of its family."""
    equivalence_p_value: float | None = None
    """P-value of the two one-sided tests against a difference as large as the margin; not adjusted."""
    family: str | None = None
    """The tests that are corrected together: `campaign`, `controls`, or the name of a group."""
    num_compared: int | None = None
    """The number of comparisons in that family."""
    confounds: tuple[str, ...] = ()
    """What differs from the reference's runs beyond the declared change, a sentence each."""
    warnings: tuple[str, ...] = ()
    """What a reader of the verdict must know of its evidence, a sentence each."""
    fragile: tuple[str, ...] = ()
    """Which seeds failed on either side, so that the verdict rests on those that are left; a sentence each."""
    collapsed_seeds: tuple[int, ...] = ()
    """Seeds set aside: their runs lie far below the arm's other runs, which agree."""
    others: tuple[MetricJudgement, ...] = ()
    """What the other metrics say, in the order of the campaign file."""

    looks: tuple[int, ...] = ()
    """Numbers of seeds at which its verdict was shown so far, this one included; empty in a campaign with looks."""
    look_seeds: int | None = None
    """The number of seeds at the look that gave this verdict, in a campaign with looks."""
    fresh: Estimate | None = None
    """The difference of an improvement on the seeds of the confirmation alone."""
    is_confirmed: bool | None = None
    """Whether the fresh seeds show the improvement too; None if it needs no confirmation."""

    @property
    def is_keeper(self) -> bool:
        """Whether it improved by its declared change alone, on fresh seeds too if the campaign asks for them.

        Every metric that must be no worse is shown to be so, and no run of it collapsed.
        """
        is_clean = not self.confounds and not self.failed_metrics and not self.collapsed_seeds
        return self.verdict is Verdict.IMPROVED and is_clean and self.is_confirmed is not False

    @property
    def family_interval_points(self) -> tuple[float, float] | None:
        """Both ends of the interval that holds beside all others of its family at once, by Bonferroni.

        None without an interval, and for what no family corrects.
        """
        return simultaneous_interval(self, self.num_compared) if self.num_compared else None

    @property
    def is_fragile(self) -> bool:
        """Whether the verdict rests on some of the runs, since others failed or collapsed."""
        return bool(self.fragile or self.collapsed_seeds)

    @property
    def looks_sentence(self) -> str:
        """Say how likely a false verdict is after several looks at the full level; empty after one."""
        if len(self.looks) < 2:
            return ""
        number = self.num_compared or 1
        # The correction for many comparisons leaves each one a smaller level, and each one is looked at as often.
        alone = crossing_chance(self.looks, self.level / number)
        chance = 100.0 * (1.0 - (1.0 - alone) ** number)
        among = f" among {wording.counted(number, 'comparison')}" if number > 1 else ""
        return (
            f"looked at {len(self.looks)} times (at {wording.listed(self.looks)} seeds) without `staging`: a false "
            f"verdict{among} is about {chance:.0f} % likely, not {100 * self.level:.3g} %"
        )

    @property
    def fragile_sentences(self) -> tuple[str, ...]:
        """Say which runs failed or collapsed, a sentence each."""
        if not self.collapsed_seeds:
            return self.fragile
        lie = "lies" if len(self.collapsed_seeds) == 1 else "lie"
        apart = f"{self.experiment}: {wording.seeds(self.collapsed_seeds)} {lie} far below the other seeds, which agree"
        return *self.fragile, f"{apart}; what collapsed is set aside, and such an arm is no keeper"

    @property
    def failed_metrics(self) -> tuple[str, ...]:
        """The metrics that must be no worse and are not shown to be so."""
        return tuple(other.metric for other in self.others if other.passes is False)

    @property
    def confirmation(self) -> Confirmation | None:
        """What fresh seeds say of the improvement; None if it needs no confirmation."""
        if self.fresh is None:
            return None
        if self.fresh.interval_points is None:
            return Confirmation.WAITS
        return Confirmation.CONFIRMED if self.is_confirmed else Confirmation.NOT_CONFIRMED

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the improvement needs a confirmation that the fresh seeds do not give, or not yet."""
        return self.confirmation is not None and self.confirmation.is_open


Judgements = Mapping[str, Judgement]
"""Experiment -> its judgement."""


Run = TypeVar("Run")


class AtLook(Struct, frozen=True):
    """The part of the level that one look of several spends."""

    share: float = 1.0
    equivalence_share: float = 1.0
    decided_p: Mapping[str, float] | None = None
    """Experiment that an earlier look decided -> its p-value over the share of that look; None without looks."""
    min_seeds: int = 2
    """Least number of seeds for an interval: a campaign may allow a first look at one."""
    given: Mapping[str, int] = {}
    """Experiment -> how many seeds it was given, in a campaign with looks."""

    def given_runs(self, experiment: str, runs: Mapping[int, Run]) -> dict[int, Run]:
        """Return an experiment's runs by seed, without the seeds that no look gave it."""
        return {seed: run for seed, run in runs.items() if seed < self.given.get(experiment, seed + 1)}

    def spend(self, experiment: str, p_value: float | None) -> float | None:
        """Return the p-value over the share of the look, 1 if there is none yet; without looks, the p-value itself."""
        if self.decided_p is None:
            return p_value
        # A decided experiment keeps its p-value. An undecided one is tested at its share of the level.
        return self.decided_p.get(experiment, 1.0 if p_value is None else min(1.0, p_value / self.share))


ONLY_LOOK = AtLook()
