"""Designs of a campaign: all of the grid are compared, and the cheapest that sees enough is found."""

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.design.designs import (
    MORE_ITEMS,
    REFERENCE_MULTIPLES,
    SEEDS,
    Arms,
    Design,
    Sight,
    cheapest,
    grid,
    see_all,
    sharpest,
)

ARMS = Arms(compared=12, references=1)


def known_error(design: Design) -> tuple[float, float]:
    """See as if the error were known, and that of one run were 1."""
    return 4.0 * math.sqrt((1 / design.seeds + 1 / design.reference_seeds) / design.items), 0.5


def sight(trainings: int, smallest: float) -> Sight:
    design = Design(seeds=2, reference_seeds=2)
    return Sight(design=design, trainings=trainings, smallest_points=smallest, no_change_chance=0.5)


SIGHTS = st.lists(st.builds(sight, st.integers(1, 50), st.floats(0.1, 9.0)), min_size=1, max_size=20)


def test_trainings_count_the_seeds_of_arms_and_of_the_reference() -> None:
    assert ARMS.trainings(Design(seeds=5, reference_seeds=10)) == 70
    assert Arms(compared=3, references=2).trainings(Design(seeds=2, reference_seeds=4)) == 14


def test_the_grid_holds_every_design() -> None:
    whole = grid(has_items=True, more_of_reference=True)
    assert len(set(whole)) == len(whole) == len(SEEDS) * len(REFERENCE_MULTIPLES) * 2
    assert {design.items for design in whole} == {1, MORE_ITEMS}
    assert {design.items for design in grid(has_items=False, more_of_reference=True)} == {1}
    assert all(each.reference_seeds == each.seeds for each in grid(has_items=True, more_of_reference=False))


def test_further_seeds_of_the_reference_save_trainings() -> None:
    few, many = (see_all(grid(has_items=False, more_of_reference=more), ARMS, known_error) for more in (False, True))
    with_pairs, with_more = cheapest(few, 2.0), cheapest(many, 2.0)
    assert with_pairs is not None
    assert with_more is not None
    # 16 (1/S + 1/R) is at most 4: 8 seeds of each, or 5 of an arm and 20 of the reference.
    assert (with_pairs.design, with_pairs.trainings) == (Design(seeds=8, reference_seeds=8), 104)
    assert (with_more.design, with_more.trainings) == (Design(seeds=5, reference_seeds=20), 80)


def test_nothing_is_found_that_no_design_reaches() -> None:
    sights = see_all(grid(has_items=False, more_of_reference=False), ARMS, known_error)
    assert cheapest(sights, 0.1) is None
    assert sharpest(sights, 25) is None


@given(sights=SIGHTS, reach=st.floats(0.1, 9.0))
def test_no_design_that_reaches_is_cheaper(sights: list[Sight], reach: float) -> None:
    found = cheapest(sights, reach)
    enough = [each.trainings for each in sights if each.smallest_points <= reach]
    assert (found.trainings if found else None) == (min(enough) if enough else None)
    assert found is None or found.smallest_points <= reach


@given(sights=SIGHTS, most=st.integers(1, 50))
def test_no_design_within_the_budget_sees_more(sights: list[Sight], most: int) -> None:
    found = sharpest(sights, most)
    within = [each.smallest_points for each in sights if each.trainings <= most]
    assert (found.smallest_points if found else None) == (min(within) if within else None)
    assert found is None or found.trainings <= most


@given(sights=SIGHTS, reach=st.floats(0.1, 9.0))
def test_a_design_that_sees_more_than_the_margin_is_no_better(sights: list[Sight], reach: float) -> None:
    enough = cheapest(sights, reach)
    found = sharpest(sights, reach_points=reach)
    assert found is not None
    assert enough is None or found.trainings == enough.trainings
