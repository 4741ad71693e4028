"""Interim looks: all arms get a few seeds, the undecided get more, and the looks share one level. Pure.

A look is complete once every run that it asks for has ended. It judges these runs and no others. What a look asks for
follows from the looks before it. So the ended runs are the whole state: the same records give the same decisions, and
a run that ends later takes no decision back.

Testing again at the full level at each look would give too many false verdicts. So each look spends a share of the
level, given by the spending function of Pocock's shape. O'Brien and Fleming's spends almost nothing early, but an early
decision is what saves trainings (docs/staging.md has the figures of both).

Example: looks at 2, 3, 5, 8 and 10 seeds with a level of 0.05. The shares of the level are 0.30, 0.12, 0.20, 0.24 and
0.14. At 2 seeds an experiment has p = 0.012. Over the share this is 0.012 / 0.30 = 0.04, below 0.05: it is decided, if
it is the only comparison. With p = 0.03 it would be 0.10. The experiment and its reference would get a third seed.

- A difference is tested at the share itself. The shares add up to one, so a false verdict is at most as likely as the
  level, whatever the dependence between the looks (Bonferroni). A p-value over its share is again a p-value, and is
  what the correction for many tests takes. The exact joint distribution of the looks would gain little at the small
  levels that are left after that correction. It also assumes known variances, which two seeds do not give.
- The test of no change is not corrected for many experiments. At its larger level Bonferroni would waste much, so it
  uses the exact boundaries.

Sources: Lan and DeMets, Discrete sequential boundaries for clinical trials (1983). Pocock, Group sequential methods in
the design and analysis of clinical trials (1977). Maurer and Bretz, Multiple testing in group sequential trials using
graphical approaches (2013), for Holm's procedure over looks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, e, log, pi, sqrt

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
GRID_SIZE, GRID_DEVIATIONS = 301, 8.0
"""Points of the grid of a density, and how many standard deviations below zero the grid begins."""

Cell = tuple[str, int]
"""Experiment and seed."""
Share = Callable[[float], float]
"""Share of the greatest number of seeds -> share of the level that is spent by then."""


class Look(Struct, frozen=True):
    """A time to give verdicts: a number of seeds, and the shares of the level that are spent there."""

    num_seeds: int
    share: float
    """Share of the level for the test of a difference."""
    equivalence_share: float
    """Share of the level for the test of no change."""


@dataclass
class Progress:
    """How far the looks have come. `replay` asks for runs, and `close` records what a look decided."""

    references: Mapping[str, str | None]
    """Experiment -> what it is compared with; None where it is compared with nothing."""
    reference_seeds: int = 0
    """Most seeds of an arm that others are compared with, if that is more than they have."""
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
        """Give seeds to the arms of a look, and return every run asked for so far, seed by seed.

        The first look has all arms. A later one has the undecided and what they are compared with.
        """
        sides = self.references if not self.completed else self._undecided_sides()
        self.given |= {name: max(self.given.get(name, 0), self._wanted(name, look)) for name in sides}
        most = max(self.given.values(), default=0)
        return [(name, seed) for seed in range(most) for name, num_seeds in self.given.items() if seed < num_seeds]

    def _wanted(self, name: str, look: Look) -> int:
        """Return the number of seeds of an arm at a look; a reference of many experiments gets more than they.

        The variances of k differences are smallest if the control has the root of k times as many runs.

        Source: Dunnett, A multiple comparison procedure for comparing several treatments with a control (1955).
        """
        compared = self.compared
        shared_by = sum(compared[other] == name for other in self.undecided)
        return max(look.num_seeds, min(self.reference_seeds, ceil(look.num_seeds * sqrt(shared_by))))

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
        # A decided p-value is kept: it stays among those that later looks correct for.
        self.decided_at |= dict.fromkeys(decided, look)
        self.decided_p |= {name: spent_p(p_value, look) for name, p_value in decided.items()}
        self.undecided = [name for name in self.undecided if name not in decided]
        self.completed.append(look)


def pocock(fraction: float) -> float:
    """Return the share of the level that a fraction of the seeds spends. The looks' levels come out about equal.

    Source: Lan and DeMets (1983).
    """
    return log(1.0 + (e - 1.0) * fraction)


def share_out(numbers: Sequence[int], level: float, spent: Share = pocock) -> tuple[Look, ...]:
    """Return a look at each number of seeds, with its shares of the level. Those of a difference add up to one."""
    spent_by = [0.0, *(spent(number / numbers[-1]) for number in numbers)]
    shares = [after - before for before, after in pairwise(spent_by)]
    # The exact levels are never below the Bonferroni shares, because the looks overlap in their seeds.
    exact = crossing_levels(numbers, [level * share for share in shares])
    return tuple(Look(number, share, own / level) for number, share, own in zip(numbers, shares, exact, strict=True))


def level_at(look: int, numbers: Sequence[int], level: float) -> float:
    """Return the level at which the look at so many seeds tests a difference, before the adjustment for many."""
    return level * next(found.share for found in share_out(numbers, level) if found.num_seeds == look)


def crossing_levels(numbers: Sequence[int], increments: Sequence[float]) -> list[float]:
    """Return the one-sided level of each look at which the chance to cross there, and not before, is its increment.

    The sum over the first n seeds is a random walk. Its density below the boundaries so far is computed from look to
    look. Errors that all looks share make their statistics more alike, which makes crossings rarer.

    Source: Armitage, McPherson and Rowe, Repeated significance tests on accumulating data (1969).

    Args:
        numbers: numbers of seeds at the looks, rising.
        increments: the part of the level that each look spends.
    """
    levels = [increments[0]]
    deviation = numbers[0] ** 0.5
    sum_G = np.linspace(-GRID_DEVIATIONS * deviation, deviation * float(ndtri(1 - levels[0])), GRID_SIZE)
    density_G = _normal_density(sum_G, deviation)
    for (before, number), increment in zip(pairwise(numbers), increments[1:], strict=True):
        step, deviation = (number - before) ** 0.5, number**0.5
        # Trapezoidal rule: the end points of the grid count half.
        weight_G = density_G * np.gradient(sum_G)
        weight_G[[0, -1]] /= 2
        bound = _bound(weight_G, sum_G, step, increment)
        levels.append(float(ndtr(-bound / deviation)))
        next_G = np.linspace(-GRID_DEVIATIONS * deviation, bound, GRID_SIZE)
        density_G = _normal_density(next_G[:, None] - sum_G, step) @ weight_G
        sum_G = next_G
    return levels


def crossing_chance(numbers: Sequence[int], level: float) -> float:
    """Return the chance that a two-sided test at the full level is significant at one look or more, if nothing is true.

    It is what `crossing_levels` computes, with bounds on both sides that nobody has adjusted. Known variances are
    assumed, and looks that share nothing but their seeds: errors that all looks share make the chance smaller.

    Example: at 2, 3 and 5 seeds and a level of 0.05 the chance is 0.10.

    Source: Armitage, McPherson and Rowe, Repeated significance tests on accumulating data (1969).

    Args:
        numbers: numbers of seeds at the looks, rising.
        level: of each test, two-sided.
    """
    quantile, deviation = float(ndtri(1 - level / 2)), numbers[0] ** 0.5
    sum_G = np.linspace(-quantile * deviation, quantile * deviation, GRID_SIZE)
    density_G, inside = _normal_density(sum_G, deviation), 1.0 - level
    for before, number in pairwise(numbers):
        step, bound = (number - before) ** 0.5, quantile * number**0.5
        # Trapezoidal rule: the end points of the grid count half.
        weight_G = density_G * np.gradient(sum_G)
        weight_G[[0, -1]] /= 2
        inside = float(weight_G @ (ndtr((bound - sum_G) / step) - ndtr((-bound - sum_G) / step)))
        next_G = np.linspace(-bound, bound, GRID_SIZE)
        density_G = _normal_density(next_G[:, None] - sum_G, step) @ weight_G
        sum_G = next_G
    return 1.0 - inside


def _bound(weight_G: Floats, sum_G: Floats, step: float, increment: float) -> float:
    """Return the bound that the sum crosses at this look, and not before, with a chance of `increment`."""

    def excess(bound: float) -> float:
        return float(weight_G @ ndtr((sum_G - bound) / step)) - increment

    # Beyond this reach the chance of a crossing is below what a float can hold.
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
        # One missing run stops the replay: a later look would depend on which runs ended first.
        progress.missing = tuple(cell for cell in progress.ask(look) if not has_ended(cell))
        if progress.missing:
            return
        yield look
        if not progress.undecided:
            return


def spent_p(p_value: float | None, look: Look) -> float:
    """Return the p-value over the look's share of the level, to be compared with the full level."""
    return 1.0 if p_value is None else min(1.0, p_value / look.share)
