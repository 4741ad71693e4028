"""Designs of a campaign: seeds an arm, seeds of a reference, and items. Finds the cheapest that sees enough. Pure.

Every design of a small grid is worked out, so the answer is the best of the grid. Nothing is searched step by step.

Example: 12 experiments share one baseline. Five seeds of each experiment and ten of the baseline are
12 x 5 + 10 = 70 trainings.
"""

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

SEEDS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50)
"""Seeds an arm of the designs that are compared."""
REFERENCE_MULTIPLES = (1, 2, 3, 4)
"""Seeds of a reference, as a multiple of those of an arm."""
MORE_ITEMS = 4
"""How many times as many items the other designs score."""


class Design(Struct, frozen=True, kw_only=True):
    """How much of everything a campaign trains and scores."""

    seeds: int
    """Seeds of each arm, two or more."""
    reference_seeds: int
    """Seeds of what arms are compared with; no fewer than those of an arm."""
    items: int = 1
    """How many times the items of now are scored."""


class Arms(Struct, frozen=True, kw_only=True):
    """What a campaign trains: configurations that are compared, and those that they are compared with."""

    compared: int
    references: int

    @property
    def pooled(self) -> int:
        """The number of all configurations."""
        return self.compared + self.references

    def trainings(self, design: Design) -> int:
        """Return the number of trainings of a design."""
        return self.compared * design.seeds + self.references * design.reference_seeds


class Sight(Struct, frozen=True, kw_only=True):
    """What a campaign of one design sees; both numbers are of one comparison."""

    design: Design
    trainings: int
    smallest_points: float
    """Smallest true difference that is found with the wanted power, on the scale of the judgement."""
    no_change_chance: float
    """Chance that an arm which makes no difference is told no_change."""


def grid(*, has_items: bool, more_of_reference: bool) -> tuple[Design, ...]:
    """Return every design that is compared.

    Args:
        has_items: whether more items can be scored.
        more_of_reference: whether further seeds of a reference count.
    """
    multiples = REFERENCE_MULTIPLES if more_of_reference else REFERENCE_MULTIPLES[:1]
    return tuple(
        Design(seeds=seeds, reference_seeds=seeds * multiple, items=items)
        for items in ((1, MORE_ITEMS) if has_items else (1,))
        for seeds in SEEDS
        for multiple in multiples
    )


def cheapest(sights: Sequence[Sight], reach_points: float) -> Sight | None:
    """Return the sight with fewest trainings that finds a difference of this size; None if none does."""
    enough = [sight for sight in sights if sight.smallest_points <= reach_points]
    return min(enough, key=lambda sight: (sight.trainings, sight.smallest_points), default=None)


def sharpest(sights: Sequence[Sight], most_trainings: float = math.inf, reach_points: float = 0.0) -> Sight | None:
    """Return the sight that finds the smallest difference; None if none fits. Of equals, the one with fewest trainings.

    Args:
        sights: to choose from.
        most_trainings: a sight with more does not fit.
        reach_points: smaller differences do not matter, so to find them counts no more than to find this one.
    """
    fits = [sight for sight in sights if sight.trainings <= most_trainings]
    return min(fits, key=lambda sight: (max(sight.smallest_points, reach_points), sight.trainings), default=None)


def see_all(designs: Sequence[Design], arms: Arms, see: Callable[[Design], tuple[float, float]]) -> tuple[Sight, ...]:
    """Return what each design sees.

    Args:
        designs: those to compare.
        arms: what is trained.
        see: design -> smallest difference, and chance of no_change.
    """
    seen = ((design, *see(design)) for design in designs)
    return tuple(
        Sight(design=design, trainings=arms.trainings(design), smallest_points=smallest, no_change_chance=chance)
        for design, smallest, chance in seen
    )
