"""The findings of a search, as values. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from orchestrator import wording
from orchestrator.campaign.scored import Objective
from orchestrator.campaign.search_spec import SearchSpec, Space
from orchestrator.campaign.spec import Campaign
from orchestrator.search.objective import Score
from orchestrator.search.space import suggest
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.task.knobs import Change


def point_key(change: Change) -> frozenset[tuple[str, Any]]:
    """Return a key that is equal for two trials of one point. The order of the knobs does not matter."""
    return frozenset(change.items())


def name_point(change: Change) -> str:
    """Name a point by its values: loss.gamma 2.0, loss.label_smoothing 0.05."""
    return ", ".join(f"{knob} {value}" for knob, value in change.items())


def describe_score(objective: Objective, value: float, beside: str = "") -> str:
    """Write a score with what it is: `62.0 % on LocC`, `loss 0.612`; `beside` follows the number."""
    number = f"{objective.score(value)}{beside}"
    if not objective.metric:
        return f"{number} on {wording.listed(objective.splits)}"
    return f"{objective.name} {number}"


def as_trained(values: Mapping[str, Any], space: Mapping[str, Space]) -> Change:
    """Return a point as it is trained: its knobs in the order of the space, numbers rounded to `DIGITS` digits."""
    return suggest({knob: space[knob] for knob in space if knob in values}, lambda knob, _: values[knob])


class TrialRecord(Struct, frozen=True, kw_only=True):
    """One trial: a point and its outcome."""

    number: int
    arm: str
    """Name of its runs, such as `focal-t007`. Runs that were there before keep their own name."""
    change: Change
    state: str
    """done, pruned, too_slow, failed, running, waiting or interrupted."""
    score: Score | None
    runs: tuple[str, ...]
    sampler: str = ""
    """Sampler that suggested the point; empty for a point of the file or a second try."""
    reason: str = ""
    """Why it has no score, as a sentence."""
    again_of: int | None = None
    """Number of the failed trial that it tries again."""


class Searched(Struct, frozen=True, kw_only=True):
    """The findings of a search so far."""

    name: str
    campaign: Campaign
    spec: SearchSpec
    stack: str
    objective: Objective
    seeds: tuple[int, ...]
    default: Change
    """The stack's values of the knobs."""
    study: str
    """Name of the study in Optuna's storage."""
    trials: tuple[TrialRecord, ...]
    pairs: dict[int, PairedDifferences] = {}
    """Trial -> the best point minus it, item by item; those that are compared with the best, where items are known."""
    importance: dict[str, float] = {}
    """Knob -> its share of the score's variation; empty while too few points have a score."""
    exhausted: str = ""
    """Why no new point is to be expected; empty as long as one may come."""
    is_complete: bool = True
    num_left: int = 0
    """Points that were still to visit when somebody stopped the search."""
    problems: tuple[str, ...] = ()
    """What kept points from being trained, in sentences."""

    @property
    def scored(self) -> list[TrialRecord]:
        """The points with a score, each once, the best first. Of equal scores the earlier point comes first."""
        scored = (trial for trial in self.trials if trial.score is not None)
        sign = -self.objective.sign
        return sorted(
            _each_once(scored), key=lambda trial: (sign * trial.score.mean if trial.score else 0.0, trial.number)
        )

    @property
    def pruned(self) -> list[TrialRecord]:
        """The pruned points, each once. A point with a score is not among them."""
        scored = {point_key(trial.change) for trial in self.scored}
        return [
            trial
            for trial in _each_once(trial for trial in self.trials if trial.state == "pruned")
            if point_key(trial.change) not in scored
        ]

    @property
    def num_visited(self) -> int:
        """Number of points with a score, and of pruned ones."""
        return len(self.scored) + len(self.pruned)

    @property
    def compared(self) -> list[TrialRecord]:
        """The points that the report compares with the best: the default and the runner-up."""
        others = self.scored[1:]
        default = [trial for trial in others if trial.change == self.default]
        return list({trial.number: trial for trial in (*default, *others[:1])}.values())

    @property
    def default_trial(self) -> TrialRecord | None:
        """The trial of the stack's own point; None if it has no score."""
        return next((trial for trial in self.scored if trial.change == self.default), None)


def _each_once(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the first trial of every point."""
    # A second try of a failed trial visits the same point again, and a sampler may suggest a point twice.
    first: dict[frozenset[tuple[str, Any]], TrialRecord] = {}
    for trial in trials:
        first.setdefault(point_key(trial.change), trial)
    return list(first.values())


class Difference(Struct, frozen=True, kw_only=True):
    """The score of one point minus that of another, in the unit of the score, with a 95 % interval."""

    points: float
    low: float | None
    """None, as `high`, if nothing tells how sure the difference is."""
    high: float | None
    is_across_seeds: bool
    """Whether the interval includes seed noise. Without, it covers the sampling error alone and is too narrow."""
    best_of: int = 2
    """Number of points of which the better one is the best. The interval is adjusted for it (Bonferroni)."""

    @property
    def adjusted(self) -> str:
        """Say what the interval is adjusted for; empty for two points."""
        return f"adjusted for the best of {self.best_of} points" if self.best_of > 2 else ""

    @property
    def is_decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high


SUMMARY_FORMAT = 1


class SearchSummary(Struct, frozen=True, kw_only=True):
    """The content of `search.json` beside a search's report. The campaign's report reads it."""

    format: int = SUMMARY_FORMAT
    campaign: str
    profile: str
    search: str
    title: str
    stack: str
    captures: tuple[str, ...]
    """The splits whose items are scored; empty for a metric without items."""
    metric: Objective | UnsetType = UNSET
    """What the score is; unset for the accuracy on `captures`."""
    visited: int
    wanted: int
    best: Change = {}
    score: Score | None = None
    """Score of the best point; None while no point has one."""
    default_visited: bool = False
    to_default: Difference | None = None
    """The best point minus the stack's own; None if that is the best itself, or has no score."""

    @property
    def objective(self) -> Objective:
        """What the score is."""
        return Objective(splits=self.captures) if self.metric is UNSET else self.metric
