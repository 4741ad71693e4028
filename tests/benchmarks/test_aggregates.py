"""The simulation judges as a campaign does, and its table is whole."""

import numpy as np

from benchmarks.aggregates import AGGREGATES, SEEDS, judge_all, lines, simulate, true_differences


def test_a_worse_arm_is_worse_by_every_aggregate() -> None:
    truths = true_differences(0.15, num_clusters=1000)
    assert {name for name, truth in truths.items() if truth < 0} == {"r2", "auc"}
    assert all(abs(truth) > 0.01 for truth in truths.values())


def test_equal_arms_are_estimated_near_zero_with_an_interval_around_it() -> None:
    items, predicted_ASB = simulate(3, np.zeros(5), np.random.default_rng(0))
    for name, judge in AGGREGATES.items():
        estimates, adjusted = judge_all(items, predicted_ASB, judge)
        assert len(estimates) == len(adjusted) == 4, name
        assert all(estimate.moderated and estimate.num_items == 40 for estimate in estimates), name
        assert all(abs(estimate.delta_points or 1.0) < 0.3 for estimate in estimates), name


def test_the_table_has_a_row_for_each_aggregate_and_number_of_seeds() -> None:
    table = [line for line in lines(1) if line.startswith("| ")][2:]
    assert len(table) == len(AGGREGATES) * len(SEEDS)
