"""Strata of items are split apart, and sorted as a person counts."""

import numpy as np

from orchestrator.stats.pairing import PairedDifferences, pair_values
from orchestrator.stats.strata import by_number, split_strata


def test_parts_of_the_strata_add_up_to_the_variance_of_the_mean() -> None:
    difference_SB = np.array([[1.0, 2.0, 4.0, 8.0]])
    pairs = PairedDifferences(difference_SB, (0,), np.array(["10", "10", "9", "9"]), scale=1.0)
    found = split_strata(pairs)
    assert [(each.stratum, each.num_items, each.delta_points) for each in found] == [("9", 2, 6.0), ("10", 2, 1.5)]
    assert [each.variance_points2 for each in found] == [8.0 * 2 / 16, 0.5 * 2 / 16]


def test_numbers_by_seed_have_no_strata() -> None:
    assert split_strata(pair_values({0: 1.0, 1: 2.0}, {0: 1.0, 1: 1.0}, 0.1)) == ()


def test_numbers_are_sorted_by_value_and_before_words() -> None:
    assert by_number(["b", "10", "9", "a"]) == ["9", "10", "a", "b"]
