"""Arms that test the protocol, and what single parts of a full stack are worth. Pure.

An A/A arm is the baseline again, so `improved` or `regression` is a false verdict on it. A model trained on shuffled
labels can only guess, so a score above chance shows a leak. An arm without one part of a full stack shows what the part
is worth. With 85 % for the full stack and 82 % without the part, it is worth +3 points.

Axes: B items, K strata.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student

from orchestrator.campaign.fields import ABLATION
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.runs.scores import Score
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
    """Lower end of the 95 % interval by strata (`interval_by_strata`)."""
    high_percent: float
    num_strata: int
    """1 where the items have no strata: then they count as independent."""
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
            right_K, items_K = _count_by_stratum(score, score.num_right, score.num_items)
            low, high = interval_by_strata(right_K, items_K)
            found.append(
                Shuffled(
                    run=run.id,
                    experiment=run.experiment,
                    seed=run.seed,
                    num_items=score.num_items,
                    num_right=score.num_right,
                    score=score.value,
                    low_percent=100.0 * low,
                    high_percent=100.0 * high,
                    num_strata=len(items_K),
                    chance_percent=100.0 * (plan.arms[run.experiment].about.chance or 0.0),
                )
            )
    return found


def _count_by_stratum(score: Score, num_right: int, num_items: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how many items of each stratum are right, and how many there are [K]; all as one without strata."""
    items = score.items
    # The table may have columns of other names; only one of rights and wrongs adds up to the count.
    column_B = next((each_B for each_B in items.columns.values() if each_B.sum() == num_right), None) if items else None
    if items is None or column_B is None or len(items.stratum_B) != num_items:
        return np.array([float(num_right)]), np.array([float(num_items)])
    _, place_B = np.unique(items.stratum_B, return_inverse=True)
    return np.bincount(place_B, weights=column_B).astype(np.float64), np.bincount(place_B).astype(np.float64)


def interval_by_strata(right_K: NDArray[np.float64], items_K: NDArray[np.float64]) -> tuple[float, float]:
    """Return both ends of the interval of a share whose items may be alike within a stratum, as shares.

    A model that knows nothing may name one device for all items of a device, so the strata are what is independent.
    Their shares give the variance v of the whole share p, and p (1 - p) / v items would be as uncertain. Clopper and
    Pearson's interval is taken for so many items. Strata that agree count as independent items.

    If fewer items are right than one stratum has, the strata show little of their spread. Then the interval reaches as
    far as that of one item a stratum; so it does if fewer are wrong.

    Args:
        right_K: items that are right [K].
        items_K: items [K], one or more each.

    Source: Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data (1998).
    """
    num_items, num_strata = float(items_K.sum()), len(items_K)
    share = float(right_K.sum()) / num_items
    low, high = _clopper_pearson(share, _count_alike(right_K, items_K))
    if num_strata == 1:
        return low, high
    # An end that few right or few wrong items cannot show reaches as far as one item a stratum would.
    widest_low, widest_high = _clopper_pearson(share, num_strata)
    few_right, few_wrong = share * num_strata < 1.0, (1.0 - share) * num_strata < 1.0
    return min(low, widest_low) if few_wrong else low, max(high, widest_high) if few_right else high


def _count_alike(right_K: NDArray[np.float64], items_K: NDArray[np.float64]) -> float:
    """Return how many independent items would be as uncertain as those of strata that differ."""
    num_items, num_strata = float(items_K.sum()), len(items_K)
    share = float(right_K.sum()) / num_items
    left_K = (right_K - share * items_K) / num_items
    squares = float((left_K**2).sum())
    if num_strata == 1 or squares == 0.0:
        return num_items
    variance = num_strata / (num_strata - 1) * squares
    # Few strata show their own spread poorly, which Student's t allows for.
    end = 0.5 + COVERAGE / 2
    known = (float(student.ppf(end, num_items - 1)) / float(student.ppf(end, num_strata - 1))) ** 2
    return min(num_items, known * share * (1.0 - share) / variance)


def _clopper_pearson(share: float, counted: float) -> tuple[float, float]:
    tail, right = (1 - COVERAGE) / 2, share * counted
    low = float(beta.ppf(tail, right, counted - right + 1)) if share > 0 else 0.0
    high = float(beta.ppf(1 - tail, right + 1, counted - right)) if share < 1 else 1.0
    return low, high


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
