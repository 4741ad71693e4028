"""The spread of a difference comes from those of its sides."""

import pytest

from orchestrator.stats.spread import Spread, difference_spread, rounding_variance


def test_difference_of_two_arms_has_both_variances_and_satterthwaites_freedom() -> None:
    assert difference_spread(Spread(3.0, 4.0), Spread(1.0, 2.0)) == Spread(4.0, pytest.approx(16 / (9 / 4 + 1 / 2)))


def test_sides_that_are_known_as_well_have_twice_the_freedom_together() -> None:
    assert difference_spread(Spread(3.0, 4.0), Spread(3.0, 4.0)) == Spread(6.0, pytest.approx(8.0))


def test_rounding_has_the_variance_of_an_even_distribution() -> None:
    assert rounding_variance(20) == pytest.approx(20**2 / 12)
