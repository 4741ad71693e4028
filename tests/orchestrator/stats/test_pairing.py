"""Two sides are joined on seed and burst, and what is missing is dropped and counted."""

import numpy as np
import pytest

from orchestrator.errors import RunError
from orchestrator.runs.record import Bursts
from orchestrator.stats.pairing import PairedDifferences, pair_outcomes


def bursts(correct: dict[str, bool], device: int = 0) -> Bursts:
    keys = np.array(list(correct))
    return Bursts(keys=keys, devices=np.full(len(keys), device), correct=np.array(list(correct.values())))


class TestPairing:
    def test_bursts_are_joined_by_key_not_by_place(self) -> None:
        ours = {0: bursts({"a": True, "b": False, "c": True})}
        theirs = {0: bursts({"c": False, "a": True, "b": True})}
        assert pair_outcomes(ours, theirs).difference_SB.tolist() == [[0, -1, 1]]

    def test_missing_side_drops_the_pair_and_is_counted(self) -> None:
        ours = {0: bursts({"a": True, "b": True}), 1: bursts({"a": True, "b": True}), 2: bursts({"a": True})}
        theirs = {0: bursts({"a": False, "b": False, "c": True}), 1: bursts({"a": False, "b": True}), 7: bursts({})}
        pairs = pair_outcomes(ours, theirs)
        assert (pairs.seeds, pairs.dropped_seeds) == ((0, 1), (2, 7))
        assert (pairs.difference_SB.tolist(), pairs.dropped_items) == ([[1, 1], [1, 0]], 1)

    def test_sides_without_a_common_burst_leave_nothing(self) -> None:
        pairs = pair_outcomes({0: bursts({"a": True})}, {0: bursts({"b": True})})
        assert (pairs.num_seeds, pairs.num_items, pairs.dropped_seeds, pairs.dropped_items) == (0, 0, (0,), 2)

    def test_sides_without_a_common_seed_leave_nothing(self) -> None:
        pairs = pair_outcomes({0: bursts({"a": True})}, {1: bursts({"a": True})})
        assert (pairs.num_seeds, pairs.dropped_seeds) == (0, (0, 1))

    def test_burst_given_twice_is_refused(self) -> None:
        twice = Bursts(keys=np.array(["a", "a"]), devices=np.zeros(2, dtype=np.int64), correct=np.array([True, True]))
        with pytest.raises(RunError, match="burst `a` more than once"):
            pair_outcomes({0: twice}, {0: bursts({"a": True})})

    def test_burst_of_two_devices_is_refused(self) -> None:
        with pytest.raises(RunError, match="device of burst `a`"):
            pair_outcomes({0: bursts({"a": True}, device=1)}, {0: bursts({"a": True}, device=2)})

    def test_swapped_axes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="seeds x bursts"):
            PairedDifferences(np.zeros((5, 2), dtype=np.int8), seeds=(0, 1), stratum_B=np.zeros(5, dtype=np.int64))
