"""What a search has found, as values. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from orchestrator.campaign.search_spec import SearchSpec, Space
from orchestrator.campaign.spec import Campaign
from orchestrator.search.objective import Score
from orchestrator.search.space import suggest
from orchestrator.task.knobs import Change


def point_key(change: Change) -> frozenset[tuple[str, Any]]:
    """Return what two trials of one point have in common: the knobs and their values, in whatever order."""
    return frozenset(change.items())


def name_point(change: Change) -> str:
    """Name a point by its values: loss.gamma 2.0, loss.label_smoothing 0.05."""
    return ", ".join(f"{knob} {value}" for knob, value in change.items())


def as_trained(values: Mapping[str, Any], space: Mapping[str, Space]) -> Change:
    """Return a point as it is trained: the knobs that it has, in the order of the space, with so many digits."""
    return suggest({knob: space[knob] for knob in space if knob in values}, lambda knob, _: values[knob])


class TrialRecord(Struct, frozen=True, kw_only=True):
    """One point, and what came of it."""

    number: int
    arm: str
    """What its runs are called, unless they were there already under another name."""
    change: Change
    state: str
    """done, pruned, too_slow, failed, running, waiting or interrupted."""
    score: Score | None
    runs: tuple[str, ...]
    sampler: str = ""
    """Who suggested it; nobody a point of the file."""
    reason: str = ""
    again_of: int | None = None
    """The failed trial that it tries again."""


class Searched(Struct, frozen=True, kw_only=True):
    """A search as far as it has come."""

    name: str
    campaign: Campaign
    spec: SearchSpec
    stack: str
    captures: tuple[str, ...]
    seeds: tuple[int, ...]
    default: Change
    """The stack's own values of the knobs."""
    study: str
    """Its name in Optuna's storage."""
    trials: tuple[TrialRecord, ...]
    importance: dict[str, float] = {}
    """Knob -> its share of what the score depends on; empty where that cannot be told yet."""
    exhausted: str = ""
    """Why no new point is to be expected; nothing as long as one may come."""
    is_complete: bool = True
    num_left: int = 0
    """Points that were wanted and not visited when the search was stopped."""
    problems: tuple[str, ...] = ()

    @property
    def scored(self) -> list[TrialRecord]:
        """The points with a score, each once, the best first; of equals the earlier."""
        scored = (trial for trial in self.trials if trial.score is not None)
        return sorted(_each_once(scored), key=lambda trial: (-trial.score.mean if trial.score else 0.0, trial.number))

    @property
    def pruned(self) -> list[TrialRecord]:
        """The points that were given up early and never trained to their end."""
        scored = {point_key(trial.change) for trial in self.scored}
        return [
            trial
            for trial in _each_once(trial for trial in self.trials if trial.state == "pruned")
            if point_key(trial.change) not in scored
        ]

    @property
    def num_visited(self) -> int:
        """How many points were looked at."""
        return len(self.scored) + len(self.pruned)

    @property
    def default_trial(self) -> TrialRecord | None:
        """The stack's own point, where it was visited."""
        return next((trial for trial in self.scored if trial.change == self.default), None)


def _each_once(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the first trial of every point."""
    first: dict[frozenset[tuple[str, Any]], TrialRecord] = {}
    for trial in trials:
        first.setdefault(point_key(trial.change), trial)
    return list(first.values())


class Difference(Struct, frozen=True, kw_only=True):
    """How much better one point scored than another, in points of accuracy, with an interval of 95 %."""

    points: float
    low: float
    high: float
    is_across_seeds: bool
    """Whether the interval covers the luck of seeds; else that of the bursts alone, so that it is too narrow."""
    best_of: int = 2
    """Among how many points the better one was the best; the interval is adjusted for it (Bonferroni)."""

    @property
    def adjusted(self) -> str:
        """Say what the interval is adjusted for; nothing where there were two points."""
        return f"adjusted for the best of {self.best_of} points" if self.best_of > 2 else ""

    @property
    def is_told(self) -> bool:
        """Whether the two can be told apart."""
        return not self.low <= 0.0 <= self.high


SUMMARY_FORMAT = 1


class SearchSummary(Struct, frozen=True, kw_only=True):
    """A search in short, as `search.json` beside its report has it for the report of the campaign."""

    format: int = SUMMARY_FORMAT
    campaign: str
    profile: str
    search: str
    title: str
    stack: str
    captures: tuple[str, ...]
    visited: int
    wanted: int
    best: Change = {}
    score: Score | None = None
    """Of the best point; None where no point was visited yet."""
    default_visited: bool = False
    to_default: Difference | None = None
    """Of the best point to the stack's own; None where that is the best itself, or was not visited."""
