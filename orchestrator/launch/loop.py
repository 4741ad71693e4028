"""The clock of a worker: what is due, who asks to end, and who is told."""

import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Protocol

from orchestrator.launch.watcher import LiveRun
from orchestrator.queue.store import QueuedRun


class Interrupts:
    """Counts signals to leave instead of raising, so that none falls between starting a job and noting it."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in self.NUMBERS:
            # Under nohup a closed terminal is no reason to leave.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._add)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _add(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class Pacer:
    """Lets something happen at once, and then every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._next = seconds, 0.0

    def is_due(self) -> bool:
        """Whether it is time again; asking starts the next wait."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.seconds
        return True

    def hasten(self) -> None:
        """Make it due at once."""
        self._next = 0.0


def never() -> bool:
    """Say that there is no end to the time."""
    return False


class Observer(Protocol):
    """Someone who wants to see how the runs go."""

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Take the queue's rows and the runs under way."""

    def tell(self, problem: str) -> None:
        """Take a sentence about what keeps runs from being trained."""
