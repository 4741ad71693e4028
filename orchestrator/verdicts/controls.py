"""Arms that test the protocol and not an idea, and what single parts of a full stack are worth. Pure.

A/A arms are the baseline again, so that a verdict on them is a false one. Labels without meaning leave a model with
chance, so that a score above it is a leak. Arms that lack one part of a full stack say what the part is worth in it.
"""

from collections.abc import Mapping

from msgspec import Struct
from scipy.stats import binomtest

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.fields import ABLATION
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.judgement import Judgement, Verdict

COVERAGE = 0.95


class FalseVerdicts(Struct, frozen=True, kw_only=True):
    """What was concluded about A/A arms."""

    num_arms: int
    num_judged: int
    """Of them, those with a verdict that rests on scores of two seeds or more."""
    wrong: tuple[str, ...]
    """The arms that were called improved or regression."""


class Shuffled(Struct, frozen=True, kw_only=True):
    """A run that was trained on labels without meaning, beside chance."""

    run: str
    experiment: str
    seed: int
    bursts: int
    correct: int
    accuracy_percent: float
    low_percent: float
    """Of the exact 95 % interval of Clopper and Pearson (1934), as if bursts were independent."""
    high_percent: float
    chance_percent: float

    @property
    def holds_chance(self) -> bool:
        """Whether the interval holds what guessing gives."""
        return self.low_percent <= self.chance_percent <= self.high_percent


class Contribution(Struct, frozen=True, kw_only=True):
    """What a part is worth where all the others are there: the full stack minus the stack without it."""

    part: str
    experiment: str
    """The arm without it."""
    full: str
    worth_points: float | None
    low_points: float | None
    high_points: float | None
    verdict: Verdict | None
    """On the arm without it."""


def false_verdicts(plan: Plan, judgements: Mapping[str, Judgement]) -> FalseVerdicts:
    """Count the verdicts on A/A arms that cannot be true."""
    arms = [judgements[arm.id] for arm in plan.arms.values() if arm.control == "aa"]
    return FalseVerdicts(
        num_arms=len(arms),
        num_judged=sum(judgement.interval_points is not None for judgement in arms),
        wrong=tuple(each.experiment for each in arms if each.verdict in (Verdict.IMPROVED, Verdict.REGRESSION)),
    )


def shuffled_labels(plan: Plan, records: Mapping[str, RunRecord]) -> list[Shuffled]:
    """List the scored runs that were trained on shuffled labels, on the judged capture, in the order of the plan."""
    capture = plan.campaign.data.report[0]
    found = []
    for run in plan.runs:
        result = records[run.id].result if run.id in records else None
        if run.config.data.shuffled_labels and result and capture in result.scores:
            score = result.scores[capture]
            interval = binomtest(score.correct, score.bursts).proportion_ci(COVERAGE)
            found.append(
                Shuffled(
                    run=run.id,
                    experiment=run.experiment,
                    seed=run.seed,
                    bursts=score.bursts,
                    correct=score.correct,
                    accuracy_percent=100.0 * score.accuracy,
                    low_percent=100.0 * float(interval.low),
                    high_percent=100.0 * float(interval.high),
                    chance_percent=100.0 / _num_classes(plan.arms[run.experiment]),
                )
            )
    return found


def _num_classes(arm: Arm) -> int:
    """Count the transmitters that a model is trained to tell apart."""
    data = arm.config.data
    return len({device for name in data.train for device in range(*data.captures[name].devices)})


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
        # What is lost without it is what it gives.
        worth_points=None if judgement.delta_points is None else -judgement.delta_points,
        low_points=None if high is None else -high,
        high_points=None if low is None else -low,
        verdict=judgement.verdict,
    )
