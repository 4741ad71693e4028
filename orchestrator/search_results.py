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
    """done, too_slow, failed, running or waiting."""
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
    def visited(self) -> list[TrialRecord]:
        """The points with a score, the best first; of equals the earlier."""
        return sorted(
            (trial for trial in self.trials if trial.score is not None),
            key=lambda trial: (-trial.score.mean if trial.score else 0.0, trial.number),
        )

    @property
    def default_trial(self) -> TrialRecord | None:
        """The stack's own point, where it was visited."""
        return next((trial for trial in self.visited if trial.change == self.default), None)
