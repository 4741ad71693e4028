"""Seeds are given out look by look: few to all, then more to the undecided, at levels that add up. Pure.

A look is complete once every run it asks for has ended. What is asked for at a look follows from what was found at the
looks before it, and each look judges the runs that it asked for and no others. So the state is nothing but the runs
that have ended: the same records give the same decisions, and none is ever taken back, whatever is trained later.

Looking again and again at a level would give a false verdict more often than the level says. Each look is given a
share of the level, by the spending function of Pocock's shape. O'Brien and Fleming's spends next to nothing early, and
a training is saved where an experiment is decided early (docs/staging.md has the figures of both).

- A difference is tested at the share itself: the shares add up to one, so the chance of a false verdict is at most the
  level under any dependence between the looks (Bonferroni). A p-value over its share is a p-value again, and is what is
  adjusted for testing many. At the tiny levels that testing many leaves, the exact joint distribution gives hardly
  more, and it assumes known variances, which two seeds are furthest from.
- No change is tested one experiment by itself, at a level where looks are far from exclusive and Bonferroni wastes. The
  exact boundaries are used there.

Sources: Lan and DeMets, Discrete sequential boundaries for clinical trials (1983); Pocock, Group sequential methods in
the design and analysis of clinical trials (1977); Maurer and Bretz, Multiple testing in group sequential trials using
graphical approaches (2013), for Holm's procedure over looks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import e, log, pi

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
GRID_SIZE, GRID_DEVIATIONS = 301, 8.0
"""Points of the grid on which a density is carried along, and how many standard deviations below zero it begins."""

Cell = tuple[str, int]
"""Experiment and seed."""
Share = Callable[[float], float]
"""Share of the greatest number of seeds -> share of the level that is spent by then."""


class Look(Struct, frozen=True):
    """When verdicts are given: at so many seeds, at these shares of the level."""

    num_seeds: int
    share: float
    """Of the test of a difference."""
    equivalence_share: float
    """Of the test of no change."""


@dataclass
class Progress:
    """How far the looks have come. `replay` asks for runs, and `close` records what a look decided."""

    references: Mapping[str, str | None]
    """Experiment -> what it is compared with; None where it is compared with nothing."""
    undecided: list[str] = field(init=False)
    """The experiments that are compared and have no decision yet."""
    given: dict[str, int] = field(default_factory=dict)
    """Experiment -> how many seeds it has been given so far, at this look and before."""
    decided_at: dict[str, Look] = field(default_factory=dict)
    """Experiment -> the look at which it was decided."""
    decided_p: dict[str, float] = field(default_factory=dict)
    """Decided experiment -> its p-value over the share of its look; 1 where there was none."""
    completed: list[Look] = field(default_factory=list)
    missing: tuple[Cell, ...] = ()
    """The runs that the look under way waits for."""

    def __post_init__(self) -> None:
        self.undecided = list(self.compared)

    @property
    def compared(self) -> dict[str, str]:
        """Return experiment -> reference, of the experiments that have a reference."""
        return {name: reference for name, reference in self.references.items() if reference is not None}

    def ask(self, look: Look) -> list[Cell]:
        """Give seeds to those that the look is of, and return every run asked for so far, seed by seed.

        The first look is of all. A later one is of the undecided and of what they are compared with.
        """
        sides = self.references if not self.completed else self._undecided_sides()
        self.given |= dict.fromkeys(sides, look.num_seeds)
        return [
            (name, seed) for seed in range(look.num_seeds) for name, num_seeds in self.given.items() if seed < num_seeds
        ]

    def _undecided_sides(self) -> list[str]:
        """Return the undecided experiments, each reference before those that are compared with it."""
        compared = self.compared
        return list(dict.fromkeys(side for name in self.undecided for side in (compared[name], name)))

    def close(self, look: Look, decided: Mapping[str, float | None]) -> None:
        """Record what a look decided; its experiments get no more seeds.

        Args:
            look: the one that `replay` has yielded last.
            decided: experiment -> its p-value against no difference at this look alone, None where it has none.
        """
        self.decided_at |= dict.fromkeys(decided, look)
        self.decided_p |= {name: spent_p(p_value, look) for name, p_value in decided.items()}
        self.undecided = [name for name in self.undecided if name not in decided]
        self.completed.append(look)


def pocock(fraction: float) -> float:
    """Return the share spent by then, so that the looks' levels are about equal. Source: Lan and DeMets (1983)."""
    return log(1.0 + (e - 1.0) * fraction)


def share_out(numbers: Sequence[int], level: float, spent: Share = pocock) -> tuple[Look, ...]:
    """Return a look at each number of seeds, with its shares of the level. The shares of a difference add up to one."""
    spent_by = [0.0, *(spent(number / numbers[-1]) for number in numbers)]
    shares = [after - before for before, after in pairwise(spent_by)]
    exact = crossing_levels(numbers, [level * share for share in shares])
    return tuple(Look(number, share, own / level) for number, share, own in zip(numbers, shares, exact, strict=True))


def level_at(look: int, numbers: Sequence[int], level: float) -> float:
    """Return the level at which the look at so many seeds tests a difference, before the adjustment for many."""
    return level * next(found.share for found in share_out(numbers, level) if found.num_seeds == look)


def crossing_levels(numbers: Sequence[int], increments: Sequence[float]) -> list[float]:
    """Return the one-sided level of each look at which the chance to cross there, and not before, is its increment.

    The sum of the first n seeds is a random walk; its density below the boundaries so far is carried from look to look.
    A part of the error that all looks share only makes their statistics more alike, and crossings rarer.

    Source: Armitage, McPherson and Rowe, Repeated significance tests on accumulating data (1969).

    Args:
        numbers: of seeds at the looks, rising.
        increments: of the level.
    """
    levels = [increments[0]]
    deviation = numbers[0] ** 0.5
    sum_G = np.linspace(-GRID_DEVIATIONS * deviation, deviation * float(ndtri(1 - levels[0])), GRID_SIZE)
    density_G = _normal_density(sum_G, deviation)
    for (before, number), increment in zip(pairwise(numbers), increments[1:], strict=True):
        step, deviation = (number - before) ** 0.5, number**0.5
        weight_G = density_G * np.gradient(sum_G)
        weight_G[[0, -1]] /= 2
        bound = _bound(weight_G, sum_G, step, increment)
        levels.append(float(ndtr(-bound / deviation)))
        next_G = np.linspace(-GRID_DEVIATIONS * deviation, bound, GRID_SIZE)
        density_G = _normal_density(next_G[:, None] - sum_G, step) @ weight_G
        sum_G = next_G
    return levels


def _bound(weight_G: Floats, sum_G: Floats, step: float, increment: float) -> float:
    """Find what the sum exceeds with a chance of the increment after a step, where it has not crossed before."""

    def excess(bound: float) -> float:
        return float(weight_G @ ndtr((sum_G - bound) / step)) - increment

    reach = float(sum_G[-1]) + GRID_DEVIATIONS * step
    return float(brentq(excess, float(sum_G[0]), reach))


def _normal_density(value: Floats, deviation: float) -> Floats:
    density: Floats = np.exp(-((value / deviation) ** 2) / 2) / deviation / (2 * pi) ** 0.5
    return density


def replay(progress: Progress, looks: Sequence[Look], has_ended: Callable[[Cell], bool]) -> Iterator[Look]:
    """Go through the looks as far as runs have ended, and yield each look that is complete.

    The caller judges the runs in `progress.given` and calls `progress.close` before it takes the next look:

        for look in replay(progress, looks, has_ended):
            progress.close(look, decide(progress.given))

    Args:
        progress: at the start; it is brought up to date at each look.
        looks: in their order.
        has_ended: whether the run of an experiment at a seed has ended, in whatever state.
    """
    for look in looks:
        progress.missing = tuple(cell for cell in progress.ask(look) if not has_ended(cell))
        if progress.missing:
            return
        yield look
        if not progress.undecided:
            return


def spent_p(p_value: float | None, look: Look) -> float:
    """Return the p-value over the look's share of the level, which is compared with all of the level."""
    return 1.0 if p_value is None else min(1.0, p_value / look.share)
