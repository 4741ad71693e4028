"""Neighbouring items that are alike are found, independent ones are not, and the order is that of the keys' numbers."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.stats.aggregates import Aggregate, mean
from orchestrator.stats.dependence import (
    ItemDifferences,
    find_dependence,
    item_differences,
    order_of_key,
)
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.pairing import Floats

NUM_DEVICES, NUM_PACKETS = 10, 50
LEVEL = 0.05


def campaign(rng: np.random.Generator, shared: float, num_sessions: int = 4, num: int = 1) -> list[ItemDifferences]:
    """Comparisons of ten devices; `shared` is the intraclass correlation of the differences within a session."""
    device_B, packet_B = np.divmod(np.arange(NUM_DEVICES * NUM_PACKETS), NUM_PACKETS)
    keys_B = np.array([f"{device}/{packet}" for device, packet in zip(device_B, packet_B, strict=True)])
    session_B = packet_B * num_sessions // NUM_PACKETS
    return [
        ItemDifferences(
            keys_B,
            device_B.astype(np.str_),
            rng.normal(0, (1 - shared) ** 0.5, len(keys_B))
            + rng.normal(0, shared**0.5, (NUM_DEVICES, num_sessions))[device_B, session_B],
        )
        for _ in range(num)
    ]


def share_flagged(first_seed: int, num_campaigns: int, shared: float, num: int = 1) -> float:
    generators = (np.random.default_rng(first_seed + at) for at in range(num_campaigns))
    tests = [find_dependence(campaign(rng, shared, num=num)) for rng in generators]
    return float(np.mean([test is not None and test.p_value < LEVEL for test in tests]))


def test_independent_items_are_flagged_no_more_often_than_the_level() -> None:
    # The bound is three standard errors of 300 campaigns above 4.5 %, which 9 of 199 shuffles make.
    assert share_flagged(1000, 300, 0.0) <= 0.045 + 3 * (0.045 * 0.955 / 300) ** 0.5


def test_four_sessions_a_device_are_flagged_in_about_four_of_five_single_comparisons() -> None:
    assert share_flagged(5000, 200, 0.18) >= 0.8 - 3 * (0.8 * 0.2 / 200) ** 0.5


def test_six_comparisons_together_show_sessions_in_nearly_every_campaign() -> None:
    assert share_flagged(9000, 40, 0.18, num=6) >= 0.95


def test_a_pattern_along_packets_has_the_correlation_that_is_worked_out_by_hand() -> None:
    # Runs of five equal values in a stratum of 50: 40 of 49 neighbours agree (+1), 9 differ (-1).
    value_B = np.where(np.arange(50) // 5 % 2 == 0, 1.0, -1.0)
    keys_B = np.array([f"0/{packet}" for packet in range(50)])
    found = find_dependence([ItemDifferences(keys_B, np.full(50, "0"), value_B)])
    assert found is not None
    # Shuffles have a mean of -1/49.
    assert found.correlation == pytest.approx(31 / 49 + 1 / 49, abs=0.05)
    assert (found.p_value, found.num_items) == (0.005, 50)


def test_items_that_alternate_are_not_called_alike() -> None:
    keys_B = np.array([f"0/{packet}" for packet in range(50)])
    found = find_dependence([ItemDifferences(keys_B, np.full(50, "0"), np.arange(50) % 2.0)])
    assert found is not None
    assert found.p_value == 1.0


def test_what_strata_differ_by_is_no_dependence() -> None:
    one = campaign(np.random.default_rng(3), 0.0)[0]
    apart = ItemDifferences(one.keys_B, one.stratum_B, one.difference_B + 100.0 * one.stratum_B.astype(float))
    ours, theirs = find_dependence([one]), find_dependence([apart])
    assert ours is not None
    assert theirs is not None
    assert theirs.p_value == ours.p_value


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_table_changes_nothing(seed: int) -> None:
    (one,) = campaign(np.random.default_rng(4), 0.1)
    order_B = np.random.default_rng(seed).permutation(len(one.keys_B))
    mixed = ItemDifferences(one.keys_B[order_B], one.stratum_B[order_B], one.difference_B[order_B])
    assert find_dependence([mixed]) == find_dependence([one])


def test_numbers_in_keys_are_sorted_as_numbers() -> None:
    keys = ["LocD/10/2", "LocD/9/11", "LocD/9/2", "x", "07"]
    assert sorted(keys, key=order_of_key) == ["07", "LocD/9/2", "LocD/9/11", "LocD/10/2", "x"]


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_a_comparison_in_which_all_items_differ_alike_is_not_tested(value: float) -> None:
    one = campaign(np.random.default_rng(5), 0.0)[0]
    assert find_dependence([ItemDifferences(one.keys_B, one.stratum_B, np.full(len(one.keys_B), value))]) is None


def test_without_comparisons_or_with_few_neighbours_there_is_no_test() -> None:
    keys_B = np.array([f"{packet}" for packet in range(20)])
    assert find_dependence([]) is None
    assert find_dependence([ItemDifferences(keys_B, np.full(20, "0"), np.arange(20.0))]) is None


def mean_of(columns: Mapping[str, Floats]) -> Aggregate:
    return mean(columns["x"])


def items(value: float, cluster: bool = False) -> RunItems:
    keys_B = np.array(["b", "a"])
    return RunItems(keys_B, np.array(["0", "0"]), keys_B if cluster else None, {"x": np.array([value, 2 * value])})


def test_differences_are_averaged_over_the_seeds_that_both_sides_have() -> None:
    found = item_differences({0: items(4.0), 1: items(6.0), 2: items(9.0)}, {0: items(1.0), 1: items(1.0)}, mean_of)
    assert found is not None
    assert (found.keys_B.tolist(), found.difference_B.tolist()) == (["a", "b"], [8.0, 4.0])


def test_sides_with_clusters_or_without_a_common_seed_have_nothing_to_test() -> None:
    assert item_differences({0: items(4.0, cluster=True)}, {0: items(1.0, cluster=True)}, mean_of) is None
    assert item_differences({0: items(4.0)}, {1: items(1.0)}, mean_of) is None
