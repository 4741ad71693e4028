"""What a search has found, as values. Pure."""

from msgspec import Struct

from orchestrator.objective import Score
from orchestrator.spec import Change, ProfiledCampaign, SearchSpec


class TrialRecord(Struct, frozen=True, kw_only=True):
    """One point, and what came of it."""

    number: int
    arm: str
    """What its runs are called, unless they were there already under another name."""
    change: Change
    state: str
    """done, pruned, too_slow, failed, running or waiting."""
    score: Score | None
    runs: tuple[str, ...]
    point: int | None = None
    """Which of the points that the file wants tried first, if it is one."""
    reason: str = ""
    again_of: int | None = None
    """The failed trial that it tries again."""


class Searched(Struct, frozen=True, kw_only=True):
    """A search as far as it has come."""

    name: str
    campaign: ProfiledCampaign
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
    is_complete: bool = True
    problems: tuple[str, ...] = ()

    @property
    def scored(self) -> list[TrialRecord]:
        """The points with a score, the best first; of equals the earlier."""
        return sorted(
            (trial for trial in self.trials if trial.score is not None),
            key=lambda trial: (-trial.score.mean if trial.score else 0.0, trial.number),
        )

    @property
    def pruned(self) -> list[TrialRecord]:
        """The points that were given up early."""
        return [trial for trial in self.trials if trial.state == "pruned"]

    @property
    def num_visited(self) -> int:
        """How many points were looked at."""
        return len(self.scored) + len(self.pruned)

    @property
    def default_trial(self) -> TrialRecord | None:
        """The stack's own point, where it was visited."""
        return next((trial for trial in self.scored if trial.change == self.default), None)


class Difference(Struct, frozen=True, kw_only=True):
    """How much better one point scored than another, in points of accuracy, with an interval of 95 %."""

    points: float
    low: float
    high: float
    is_across_seeds: bool
    """Whether the interval covers the luck of seeds; else that of the bursts alone, so that it is too narrow."""

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
