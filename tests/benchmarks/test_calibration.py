"""The simulated campaigns have the truth they claim, and are counted as they should be."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_rel
from statsmodels.stats.contingency_tables import mcnemar

from benchmarks.calibration import (
    BEGIN,
    END,
    FOURFOLD,
    NEAREST,
    WORLDS,
    World,
    judge_outcomes,
    main,
    mcnemar_p_values,
    paired_t_p_values,
    simulate,
    tally,
)


@pytest.fixture(scope="module")
def outcomes() -> NDArray[np.bool_]:
    return simulate(FOURFOLD, 3, np.zeros(FOURFOLD.num_arms), np.random.default_rng(5))


@pytest.mark.parametrize("heavy", [False, True])
def test_arms_have_the_accuracy_they_are_meant_to_have(heavy: bool) -> None:
    # Wide spreads, so that a shift that left the seeds out would be seen; many seeds and few arms, so that it would.
    world = World("wide", (1.0, 20.0), heavy=heavy, num_arms=9)
    rng = np.random.default_rng(6)
    delta_points_A = np.array([0.0] * 5 + [5.0] * 4)
    accuracy_A = np.mean([simulate(world, 200, delta_points_A, rng).mean(axis=(1, 2)) for _ in range(12)], axis=0)
    assert 100 * accuracy_A[:5].mean() == pytest.approx(80.0, abs=1.0)
    assert 100 * (accuracy_A[5:].mean() - accuracy_A[:5].mean()) == pytest.approx(5.0, abs=1.0)


def test_paired_t_is_scipys(outcomes: NDArray[np.bool_]) -> None:
    accuracy_AS = outcomes.mean(axis=2)
    expected = [ttest_rel(accuracy_S, accuracy_AS[0]).pvalue for accuracy_S in accuracy_AS[1:]]
    assert paired_t_p_values(outcomes) == pytest.approx(expected)


def test_mcnemar_is_statsmodels_exact_test(outcomes: NDArray[np.bool_]) -> None:
    reference_B = outcomes[0, 0]
    tables = [[[0, (arm_SB[0] & ~reference_B).sum()], [(~arm_SB[0] & reference_B).sum(), 0]] for arm_SB in outcomes[1:]]
    assert mcnemar_p_values(outcomes) == pytest.approx([mcnemar(table, exact=True).pvalue for table in tables])


def test_estimates_are_of_the_differences_to_the_first_arm(outcomes: NDArray[np.bool_]) -> None:
    accuracy_A = 100 * outcomes.mean(axis=(1, 2))
    estimates, adjusted = judge_outcomes(outcomes)
    assert [estimate.delta_points for estimate in estimates] == pytest.approx(list(accuracy_A[1:] - accuracy_A[0]))
    assert all(estimate.moderated for estimate in estimates)
    assert all(after >= (estimate.p_value or 1.0) for estimate, after in zip(estimates, adjusted, strict=True))


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_intervals_hold_the_truth_and_nothing_is_seldom_called_something(num_seeds: int) -> None:
    found = tally(FOURFOLD, num_seeds, 0.0, 30)
    assert 0.91 <= np.mean(found.covered) <= 0.99
    assert np.mean(found.any_rejected("ours")) <= 0.14
    # One seed's McNemar does not know of other seeds, so with 44 of them something is nearly always found.
    assert np.mean(found.any_rejected("McNemar, not adjusted")) > 0.6


def test_effects_are_found_more_often_than_by_the_plain_paired_t() -> None:
    found = tally(FOURFOLD, 5, 4.0, 8)
    assert np.mean(found.rejected["ours"]) > 2 * np.mean(found.rejected["paired t"]) > 0


def test_same_arguments_give_the_same_figures() -> None:
    world = WORLDS[-1]
    assert tally.__wrapped__(world, 2, 3.0, 3) == tally.__wrapped__(world, 2, 3.0, 3)


def test_tables_are_written_between_the_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "calibration.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--quick", "--write", str(file)]) == 0
    text, shown = file.read_text(), capsys.readouterr().out
    assert text == f"before\n{BEGIN}\n{shown}{END}\nafter\n"
    assert sum(line.startswith(f"| {world.name} |") for world in WORLDS for line in shown.splitlines()) == 21 + len(
        NEAREST
    )


def test_file_without_marks_is_refused_before_anything_is_simulated(tmp_path: Path) -> None:
    file = tmp_path / "calibration.md"
    file.write_text("nothing\n")
    with pytest.raises(SystemExit, match="needs one line"):
        main(["--quick", "--write", str(file)])
