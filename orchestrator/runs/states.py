"""The states of a run and the moves between them. Pure."""

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    TOO_SLOW = "too_slow"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended; it trains again only if a command asks for it."""
        return self in (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED, RunState.CANCELLED)


class Failure(StrEnum):
    """The class of a failure."""

    NONFINITE = "nonfinite"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    HUNG = "hung"
    REJECTED = "rejected"
    LOST = "lost"

    @property
    def is_of_the_arm(self) -> bool:
        """Whether the training's own numbers or its own size made it fail, and no machine or person."""
        return self in (Failure.NONFINITE, Failure.DIVERGED, Failure.OUT_OF_MEMORY)

    @property
    def is_of_the_machine(self) -> bool:
        """Whether a machine or a person made it fail; a crash or a hang may be anybody's."""
        return self in (Failure.REJECTED, Failure.LOST)


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
"""State -> states that may follow. A run that is done is never trained again.

A run that was too slow may wait again: the ruling is in doubt if another seed was fast enough.
"""
OPEN = (RunState.QUEUED, RunState.RUNNING)
"""States of runs that will end without another command."""
