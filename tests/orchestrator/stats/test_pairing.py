"""Pairs know their shape; sides that tell one number a seed are paired by seeds alone."""

import numpy as np
import pytest

from orchestrator.stats.pairing import PairedDifferences, pair_values
from orchestrator.stats.spread import Spread
from orchestrator.stats.weights import SideVariances, best_weights


class TestValues:
    def test_sides_are_joined_on_seeds_and_what_one_side_lacks_is_dropped(self) -> None:
        pairs = pair_values({0: 2.5, 1: 3.0, 2: 1.0}, {1: 2.0, 0: 2.0, 7: 1.0}, 0.01)
        assert (pairs.seeds, pairs.dropped_seeds) == ((0, 1), (2, 7))
        assert pairs.delta_points_by_seed.tolist() == [0.5, 1.0]
        assert (pairs.num_items, pairs.rests_on, pairs.smallest_step) == (0, "seeds", 0.01)

    def test_sides_without_a_common_seed_leave_nothing(self) -> None:
        pairs = pair_values({0: 1.0}, {1: 1.0}, 0.01)
        assert (pairs.num_seeds, pairs.dropped_seeds) == (0, (0, 1))


class TestExtraSeeds:
    """Where the spread of both sides is known, the seeds of one side count too."""

    def test_rows_average_to_the_weighted_difference(self) -> None:
        ours, theirs = {0: 2.0, 1: 2.6}, {0: 1.0, 1: 1.2, 5: 1.4, 6: 1.8, 7: 0.2}
        variances = SideVariances(Spread(0.3, 5.0), Spread(0.2, 5.0), 0.4)
        pairs = pair_values(ours, theirs, 1e-9, variances)
        assert pairs.weights == best_weights(ours, theirs, variances)
        weighted = [
            sum(weight * side[seed] for seed, weight in weights.items())
            for side, weights in ((ours, pairs.weights.experiment), (theirs, pairs.weights.reference))
        ]
        assert pairs.delta_points_by_seed.mean() == pytest.approx(weighted[0] - weighted[1])
        assert pairs.at_seed_points == pytest.approx((1.0, 1.4))
        assert pairs.dropped_seeds == ()

    def test_equal_seeds_need_no_weights(self) -> None:
        even = SideVariances(Spread(1.0, 5.0), Spread(1.0, 5.0), 0.4)
        pairs = pair_values({0: 2.0, 1: 2.6}, {0: 1.0, 1: 1.2}, 1e-9, even)
        assert (pairs.weights, pairs.at_seed_points) == (None, ())


def test_swapped_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds x items"):
        PairedDifferences(np.zeros((5, 2), dtype=np.int8), seeds=(0, 1), stratum_B=np.zeros(5, dtype=np.int64))
