"""The timing of all benchmarks: sides take turns, so a slow moment affects both, and medians count."""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

ROUNDS = 9
WARM_UP = 2


class Row(NamedTuple):
    """One line of the table."""

    what: str
    against: str
    figure: str
    wanted: str = ""


def time_in_turn(*functions: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of each function."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + WARM_UP):
        for function, taken in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if number >= WARM_UP:
                taken.append(time.perf_counter() - started)
    return [median(taken) for taken in seconds]


def ratio(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = ROUNDS) -> str:
    """Return our time over theirs."""
    ours_seconds, theirs_seconds = time_in_turn(ours, theirs, rounds=rounds)
    return f"{ours_seconds / theirs_seconds:.2f}"
