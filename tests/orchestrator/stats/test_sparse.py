"""The score interval is that of the literature."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.sparse import NORMAL_95, score_interval


def test_it_is_the_published_one_of_airway_data() -> None:
    """Fagerland, Lydersen and Laake, Tests and intervals for paired proportions (2014): 1 and 7 of 21 differ."""
    assert [round(end, 3) for end in score_interval(1, 7, 21)] == [-0.517, -0.026]


@pytest.mark.parametrize("num_items", [20, 300, 5000])
def test_no_differing_item_leaves_what_the_quantile_allows(num_items: int) -> None:
    """By hand: without a differing item the equation is n d = z^2 (1 - d)."""
    end = NORMAL_95**2 / (num_items + NORMAL_95**2)
    assert score_interval(0, 0, num_items) == pytest.approx((-end, end))


def test_the_worked_example_of_the_module_holds() -> None:
    assert [round(100 * end, 1) for end in score_interval(0, 0, 300)] == [-1.3, 1.3]


def test_many_items_give_the_plain_interval() -> None:
    gained, lost, num_items = 400, 300, 100_000
    error = (gained + lost - (gained - lost) ** 2 / num_items) ** 0.5 / num_items
    middle = (gained - lost) / num_items
    wanted = (middle - NORMAL_95 * error, middle + NORMAL_95 * error)
    assert score_interval(gained, lost, num_items) == pytest.approx(wanted, rel=0.03)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(18, 400))
def test_sides_can_be_turned_round(gained: int, lost: int, num_items: int) -> None:
    low, high = score_interval(gained, lost, num_items)
    assert score_interval(lost, gained, num_items) == pytest.approx((-high, -low), abs=1e-9)


@given(st.floats(0, 9), st.floats(0, 9), st.integers(18, 400))
def test_it_holds_the_estimate_and_shrinks_with_a_smaller_quantile(gained: float, lost: float, num_items: int) -> None:
    low, high = score_interval(gained, lost, num_items)
    inner_low, inner_high = score_interval(gained, lost, num_items, 1.0)
    assert -1 <= low <= inner_low <= (gained - lost) / num_items <= inner_high <= high <= 1


@pytest.mark.parametrize("num_items", [1, 5, 30])
def test_where_all_items_differ_one_way_the_end_is_all_of_them(num_items: int) -> None:
    low, high = score_interval(num_items, 0, num_items)
    assert high == 1.0
    assert low == pytest.approx((num_items - NORMAL_95**2) / (num_items + NORMAL_95**2), abs=1e-6)
