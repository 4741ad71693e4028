"""Pairs know their shape; sides that tell one number a seed are paired by seeds alone."""

import numpy as np
import pytest

from orchestrator.stats.pairing import PairedDifferences, pair_values


class TestValues:
    def test_sides_are_joined_on_seeds_and_what_one_side_lacks_is_dropped(self) -> None:
        pairs = pair_values({0: 2.5, 1: 3.0, 2: 1.0}, {1: 2.0, 0: 2.0, 7: 1.0}, 0.01)
        assert (pairs.seeds, pairs.dropped_seeds) == ((0, 1), (2, 7))
        assert pairs.delta_points_by_seed.tolist() == [0.5, 1.0]
        assert (pairs.num_items, pairs.rests_on, pairs.smallest_step) == (0, "seeds", 0.01)

    def test_sides_without_a_common_seed_leave_nothing(self) -> None:
        pairs = pair_values({0: 1.0}, {1: 1.0}, 0.01)
        assert (pairs.num_seeds, pairs.dropped_seeds) == (0, (0, 1))


def test_swapped_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds x items"):
        PairedDifferences(np.zeros((5, 2), dtype=np.int8), seeds=(0, 1), stratum_B=np.zeros(5, dtype=np.int64))
