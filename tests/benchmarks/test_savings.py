"""What the simulation of staged replication counts is what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import FOURFOLD, simulate
from benchmarks.judging import from_right
from benchmarks.savings import (
    AT_MARGIN,
    BEGIN,
    COARSE,
    DEVICES_B,
    END,
    FRESH,
    LATE,
    NUM_SEEDS,
    STAGED,
    Campaign,
    Setting,
    count,
    fixed,
    main,
)
from orchestrator.verdicts.judgement import Verdict


@pytest.fixture(scope="module")
def calm() -> Campaign:
    """Nothing differs, and a margin beyond all noise."""
    delta_points_A = np.zeros(FOURFOLD.num_arms)
    right_ASB = simulate(FOURFOLD, NUM_SEEDS, delta_points_A, np.random.default_rng(3))
    return Campaign(from_right(right_ASB, DEVICES_B), margin_points=30.0)


def test_a_grid_gives_every_arm_its_seeds(calm: Campaign) -> None:
    assert set(calm.judge(fixed(5)).given.values()) == {5}


def test_where_all_is_told_at_once_staged_replication_stops_at_the_screening(calm: Campaign) -> None:
    progress = calm.judge(STAGED)
    assert sum(progress.given.values()) == 2 * FOURFOLD.num_arms
    assert set(calm.verdicts.values()) == {Verdict.NO_CHANGE}
    assert calm.confirm(progress) == ([], 0)


def test_confirming_one_improvement_takes_its_runs_and_those_of_the_reference(calm: Campaign) -> None:
    better = Campaign(replace(calm.outcomes, value_ASU=calm.outcomes.value_ASU.copy()), margin_points=1.0)
    better.outcomes.value_ASU[7] = 100.0
    progress = better.judge(STAGED)
    assert better.verdicts[7] is Verdict.IMPROVED
    improved = sum(verdict is Verdict.IMPROVED for verdict in better.verdicts.values())
    estimates, trainings = better.confirm(progress)
    assert (len(estimates), trainings) == (improved, 2 * (improved + 1))
    assert estimates[0].seeds == tuple(FRESH)


def test_designs_are_given_the_same_campaigns() -> None:
    assert count(STAGED, COARSE, 1) == count(STAGED, COARSE, 1)
    assert count(fixed(2), COARSE, 1).trainings == [90]


def test_spending_late_leaves_less_for_the_first_look() -> None:
    assert LATE.looks[0].share < STAGED.looks[0].share
    assert sum(look.share for look in LATE.looks) == pytest.approx(1.0)


def test_no_change_at_the_margin_is_counted_as_false() -> None:
    far_wider = Setting(30.0, AT_MARGIN.delta_points)
    assert count(fixed(2), far_wider, 1).false_equal == []
    assert len(count(fixed(2), AT_MARGIN, 1).false_equal) == 1


def test_the_tables_go_between_the_marks_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "staging.md"
    page.write_text(f"before\n{BEGIN}\nyesterday\n{END}\nafter\n")
    assert main(["--quick", "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    assert "| staged |" in text
    assert "| staged |" in capsys.readouterr().out


def test_a_file_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "staging.md"
    page.write_text("nothing\n")
    with pytest.raises(SystemExit, match="needs one line"):
        main(["--quick", "--write", str(page)])
