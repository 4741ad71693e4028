"""Arms that test the protocol, and what single parts of a full stack are worth. Pure.

An A/A arm is the baseline again, so `improved` or `regression` is a false verdict on it. A model trained on shuffled
labels can only guess, so a score above chance shows a leak. An arm without one part of a full stack shows what the part
is worth. With 85 % for the full stack and 82 % without the part, it is worth +3 points.
"""

from collections.abc import Mapping

from msgspec import Struct
from scipy.stats import binomtest

from orchestrator.campaign.fields import ABLATION
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.judgement import Judgement, Verdict

COVERAGE = 0.95
"""Of the interval of a run on shuffled labels."""


class FalseVerdicts(Struct, frozen=True, kw_only=True):
    """The verdicts on A/A arms."""

    num_arms: int
    num_judged: int
    """How many of them have a verdict from two seeds or more."""
    wrong: tuple[str, ...]
    """The arms whose verdict is improved or regression."""


class Shuffled(Struct, frozen=True, kw_only=True):
    """A run that was trained on shuffled labels, beside chance."""

    run: str
    experiment: str
    seed: int
    num_items: int
    num_right: int
    score: float
    """In percent."""
    low_percent: float
    """Lower end of the exact 95 % interval of Clopper and Pearson (1934), as if items were independent."""
    high_percent: float
    chance_percent: float

    @property
    def includes_chance(self) -> bool:
        """Whether the interval includes the accuracy of guessing."""
        return self.low_percent <= self.chance_percent <= self.high_percent


class Contribution(Struct, frozen=True, kw_only=True):
    """What a part is worth beside all the others: the full stack minus the stack without the part."""

    part: str
    experiment: str
    """The arm without it."""
    full: str
    worth_points: float | None
    low_points: float | None
    high_points: float | None
    verdict: Verdict | None
    """The verdict on the arm without it."""


def false_verdicts(plan: Plan, judgements: Mapping[str, Judgement]) -> FalseVerdicts:
    """Count the verdicts on A/A arms that must be false."""
    arms = [judgements[arm.id] for arm in plan.arms.values() if arm.control == "aa"]
    return FalseVerdicts(
        num_arms=len(arms),
        num_judged=sum(judgement.interval_points is not None for judgement in arms),
        wrong=tuple(each.experiment for each in arms if each.verdict in (Verdict.IMPROVED, Verdict.REGRESSION)),
    )


def shuffled_labels(plan: Plan, records: Mapping[str, RunRecord]) -> list[Shuffled]:
    """List the scored runs that were trained on shuffled labels, by the judged metric, in the order of the plan.

    Only a share of items that are right or wrong can be held against chance.
    """
    found = []
    for run in plan.runs:
        scores = records[run.id].scores if run.id in records else {}
        score = scores.get(plan.campaign.judged.name)
        # The knob counts and not the arm's name: any experiment may train on shuffled labels.
        if plan.arms[run.experiment].about.shuffled and score and score.num_right is not None and score.num_items:
            # An exact interval: near chance the normal approximation is poor.
            interval = binomtest(score.num_right, score.num_items).proportion_ci(COVERAGE)
            found.append(
                Shuffled(
                    run=run.id,
                    experiment=run.experiment,
                    seed=run.seed,
                    num_items=score.num_items,
                    num_right=score.num_right,
                    score=score.value,
                    low_percent=100.0 * float(interval.low),
                    high_percent=100.0 * float(interval.high),
                    chance_percent=100.0 * (plan.arms[run.experiment].about.chance or 0.0),
                )
            )
    return found


def contributions(plan: Plan, judgements: Mapping[str, Judgement]) -> list[Contribution]:
    """List what each part of a full stack is worth, by the arms that lack it, in the order of the plan."""
    arms = [arm for arm in plan.arms.values() if arm.group == ABLATION]
    return [
        _contribution(arm.id, arm.reference, judgements[arm.id])
        for arm in arms
        if arm.reference and arm.reference in {full.id for full in arms}
    ]


def _contribution(experiment: str, full: str, judgement: Judgement) -> Contribution:
    low, high = judgement.interval_points or (None, None)
    return Contribution(
        part=experiment.removeprefix(f"{full}-without-"),
        experiment=experiment,
        full=full,
        # Leaving the part out loses what the part gives, so the sign turns.
        worth_points=None if judgement.delta_points is None else -judgement.delta_points,
        low_points=None if high is None else -high,
        high_points=None if low is None else -low,
        verdict=judgement.verdict,
    )
