"""The simulated searches vary by what their world says, and few of them call an equal point better."""

import numpy as np
import pytest

from benchmarks.best_of import WORLDS, World, best_to_default, draw_right, is_hopeless, share_called, tables
from orchestrator.search.best_of import Points


@pytest.mark.parametrize("world", WORLDS[:3])
def test_points_vary_over_seeds_and_bursts_as_their_world_says(world: World) -> None:
    random = np.random.default_rng(1)
    score_RNS = 100 * np.array([draw_right(world, (6, 8), 0.0, random).mean(axis=2) for _ in range(150)])
    own = score_RNS.var(axis=2, ddof=1).mean()
    lasting = score_RNS.mean(axis=2).var(axis=1, ddof=1).mean() - own / 8
    assert own**0.5 == pytest.approx(world.own, rel=0.1)
    assert lasting**0.5 == pytest.approx(world.lasting, rel=0.2)


def test_the_last_point_is_better_by_the_gain() -> None:
    random = np.random.default_rng(2)
    share_N = np.mean([draw_right(WORLDS[2], (2, 3), 6.0, random).mean(axis=(1, 2)) for _ in range(100)], axis=0)
    assert 100 * (share_N[1] - share_N[0]) == pytest.approx(6.0, abs=0.6)


def test_equal_points_are_seldom_called_better_and_more_often_without_the_adjustment() -> None:
    adjusted, plain = (
        share_called(WORLDS[1], (12, 3), searches=60, is_adjusted=is_adjusted) for is_adjusted in (True, False)
    )
    assert adjusted <= 0.05
    assert plain > 0.07


def test_a_point_that_is_six_points_better_is_mostly_found() -> None:
    assert share_called(WORLDS[3], (12, 3), 6.0, searches=20) > 0.6


def test_what_is_skipped_could_not_have_been_called_better() -> None:
    random = np.random.default_rng(3)
    for _ in range(10):
        right_NSB = draw_right(WORLDS[2], (2, 3), 6.0, random)
        found = best_to_default(right_NSB)
        assert is_hopeless(right_NSB[1], right_NSB[0], Points(2)) == (found is None)
        assert found is None or found.points > 0


def test_the_page_has_a_row_for_each_world() -> None:
    lines = list(tables(2))
    assert sum(line.startswith("| 2.0 / 0.6 |") for line in lines) == 3
    assert "2 searches a cell, 500 bursts" in lines[1]
