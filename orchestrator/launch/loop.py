"""What drives a worker's loop: the feed of runs, the clock, the signals to leave, and the observer."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from orchestrator.launch.start import Jobs
from orchestrator.launch.watcher import LiveRun
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.states import OPEN


class Interrupts:
    """Counts the signals that ask this process to leave. They raise nothing while this is entered."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        # An exception could come between the start of a job and the note of it. Then nobody would end that job.
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in self.NUMBERS:
            # `nohup` ignores SIGHUP, so that a closed terminal ends nothing. That stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._add)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _add(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class Every:
    """Is due at once, and then every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._next = seconds, 0.0

    def is_due(self) -> bool:
        """Whether the time has come. A yes starts the next wait."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.seconds
        return True

    def now(self) -> None:
        """End the wait: the next question gets a yes."""
        self._next = 0.0


class Observer(Protocol):
    """Shows a person how the runs go."""

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Take the queue's rows and the runs under way."""

    def tell(self, problem: str) -> None:
        """Take a sentence about what keeps runs from being trained."""


class Feed(Protocol):
    """Says which runs are a worker's, and whether more of them are to come."""

    def ids(self) -> tuple[str, ...] | None:
        """Return the ids of the worker's runs; None if every run is."""

    def refill(self, jobs: Jobs) -> None:
        """Queue more runs if any are wanted, and stop jobs that are not.

        The worker calls this once a turn, until a signal asks it to leave.

        Args:
            jobs: the worker's slots and the jobs in them.
        """

    def is_unfinished(self) -> bool:
        """Whether a worker without anything to do stays, since more runs are to come."""


def never() -> bool:
    """Return False: the time is never up."""
    return False


@dataclass(frozen=True)
class GivenRuns:
    """The feed of `run`: these runs and no others. It waits for those that another worker trains."""

    store: Store
    run_ids: tuple[str, ...]
    is_time_up: Callable[[], bool] = never
    """Asked once a turn. After a yes the jobs finish their epochs, and no other job starts."""

    def ids(self) -> tuple[str, ...]:
        """Return the given ids."""
        return self.run_ids

    def refill(self, jobs: Jobs) -> None:
        """Queue nothing. Ask the jobs to stop once the time is up."""
        if self.is_time_up():
            jobs.ask_to_stop()

    def is_unfinished(self) -> bool:
        """Whether one of the runs still waits, or another worker trains it."""
        return bool(self.store.runs(self.run_ids, states=OPEN))


@dataclass(frozen=True)
class EveryRun:
    """The feed of `work`: every run that waits, of all campaigns."""

    stays: bool = False
    """Whether the worker waits for runs that somebody queues later."""

    def ids(self) -> None:
        """Return None: every run is the worker's."""

    def refill(self, jobs: Jobs) -> None:
        """Queue nothing."""

    def is_unfinished(self) -> bool:
        """Whether the worker stays."""
        return self.stays
