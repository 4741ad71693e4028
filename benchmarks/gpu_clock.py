"""Seconds on any device, and the time that a whole benchmark may take."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil
import torch

WARM_UP = 3
MOST_IMPORT_SECONDS = 30.0


class TimeUpError(BaseException):
    """The time is up. No `Exception`: what is measured might take it for an error of its own, and go on."""


class Deadline:
    """A span of time, counted by a clock that nobody sets."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def is_over(self) -> bool:
        return self.seconds_left() <= 0

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise `TimeUpError` inside the `with` block at the end of the time; only in a process's main thread."""
        before = signal.signal(signal.SIGALRM, _raise_time_up)
        # Repeated, because an exception in a callback of a library is only printed, and then forgotten.
        signal.setitimer(signal.ITIMER_REAL, max(0.001, self.seconds_left()), 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)


def _raise_time_up(number: int, frame: FrameType | None) -> None:
    raise TimeUpError


def seconds_since_start() -> float:
    """Return the age of this process: imports take seconds too, and whoever set a limit counts them."""
    age = time.time() - psutil.Process().create_time()
    # Some containers tell a wrong time of their start. A wrong age must not end the benchmark before it begins.
    return min(max(0.0, age), MOST_IMPORT_SECONDS)


def wall_seconds(device: torch.device, compute: Callable[[], object]) -> float:
    """Return the seconds by the clock from the call until the device has done all of it."""
    synchronize(device)
    started = time.perf_counter()
    compute()
    synchronize(device)
    return time.perf_counter() - started


def kernel_seconds(device: torch.device, compute: Callable[[], object], rounds: int) -> float:
    """Return the mean seconds of a call, after a warm-up: by CUDA's events, elsewhere by the clock."""
    for _ in range(WARM_UP):
        compute()

    def repeat() -> None:
        for _ in range(rounds):
            compute()

    if device.type != "cuda":
        return wall_seconds(device, repeat) / rounds
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    repeat()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000.0 / rounds


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
