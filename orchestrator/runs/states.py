"""The states of a run and the moves between them. Pure."""

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    TOO_SLOW = "too_slow"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run has a result that stands."""
        return self in (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED, RunState.CANCELLED)


class Failure(StrEnum):
    """Why a run failed."""

    NONFINITE = "nonfinite"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    HUNG = "hung"
    REJECTED = "rejected"
    LOST = "lost"


MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    RunState.RUNNING: frozenset(
        {
            RunState.DONE,
            RunState.TOO_SLOW,
            RunState.FAILED,
            RunState.INTERRUPTED,
            RunState.QUEUED,
        }
    ),
    RunState.INTERRUPTED: frozenset({RunState.QUEUED, RunState.CANCELLED}),
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),
    RunState.DONE: frozenset(),
    RunState.TOO_SLOW: frozenset({RunState.QUEUED}),
}
"""Allowed moves. A run that is done is never trained again; one that was too slow, where another seed was not."""
OPEN = (RunState.QUEUED, RunState.RUNNING)
"""States of runs that come to an end without anything being asked again."""
