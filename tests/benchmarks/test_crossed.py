"""The unkind worlds have the truth they claim, and their campaigns are counted as they should be."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.crossed import BEGIN, END, WORLDS, World, main, sessions_of, simulate, tally, truths


def test_arms_have_the_accuracy_they_are_meant_to_have() -> None:
    rng, world = np.random.default_rng(1), World("many bursts", num_arms=3, bursts_per_device=4000)
    accuracy_A = np.mean([simulate(world, 2, np.array([0.0, 4.0, -4.0]), rng).mean(axis=(1, 2)) for _ in range(3)], 0)
    assert 100 * accuracy_A == pytest.approx([85.0, 89.0, 81.0], abs=1.0)


def test_sessions_cut_each_device_into_equal_parts() -> None:
    world = next(world for world in WORLDS if world.declared)
    names, counts = np.unique(sessions_of(world), return_counts=True)
    assert (len(names), set(counts)) == (40, {12})


def test_runs_collapse_to_chance_as_often_as_they_are_meant_to() -> None:
    world = World("half", num_arms=40, collapse=0.5)
    accuracy_AS = simulate(world, 5, np.zeros(40), np.random.default_rng(2)).mean(axis=2)
    assert np.mean(accuracy_AS < 0.2) == pytest.approx(0.5, abs=0.12)


def test_near_a_hundred_percent_effects_go_down_only() -> None:
    world = next(world for world in WORLDS if world.accuracy > 0.99)
    assert all((truth <= 0).all() for truth in truths(world).values())


def test_few_campaigns_show_that_one_collapsed_run_takes_no_verdict_away() -> None:
    base, collapse = (tally(WORLDS[place], 3, 12) for place in (1, 3))
    assert np.mean(collapse.found) > 0.5 * np.mean(base.found) > 0.1
    assert np.median(collapse.half_width) < 1.2 * np.median(base.half_width)


def test_declared_sessions_make_intervals_wider() -> None:
    declared, hidden = (tally(WORLDS[place], 3, 8) for place in (4, 5))
    assert np.median(declared.half_width) > 1.2 * np.median(hidden.half_width)
    assert np.mean(declared.covered) > np.mean(hidden.covered)


def test_page_gets_a_row_for_each_world_and_number_of_seeds(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"{BEGIN}\n{END}\n")
    assert main(["--campaigns", "2", "--write", str(file)]) == 0
    assert file.read_text().count("| ") > sum(len(world.seeds) for world in WORLDS)
