"""What the benchmark of the speed guard counts is what it says; its runs go through the real watcher and probe."""

from pathlib import Path

import pytest

from benchmarks import guards
from benchmarks.guards import BEGIN, END, NEIGHBOURS, Guarded, Neighbour, equal_line, guard_runs, main, slow_line


@pytest.mark.parametrize("neighbour", NEIGHBOURS[1:], ids=lambda neighbour: neighbour.name)
def test_a_run_that_costs_what_its_reference_costs_is_not_ruled_too_slow_beside_a_neighbour(
    tmp_path: Path, neighbour: Neighbour
) -> None:
    (found,) = guard_runs(tmp_path / "runs", 1.0, neighbour, 1)
    assert found.ruled_at is None


def test_a_run_that_costs_far_more_is_ruled_too_slow_by_a_probe(tmp_path: Path) -> None:
    (found,) = guard_runs(tmp_path / "runs", 6.0, NEIGHBOURS[0], 1)
    assert found.ruled_at is not None
    assert found.num_probes >= 1
    assert (tmp_path / "runs" / "run0" / "result.json").exists()


CALM = Guarded(ruled_at=None, suspected_at=None, num_probes=0)
SUSPECT = Guarded(ruled_at=None, suspected_at=3, num_probes=2)
RULED = Guarded(ruled_at=5, suspected_at=3, num_probes=2)


def test_lines_count_runs_and_not_probes() -> None:
    assert equal_line([CALM, SUSPECT, RULED], NEIGHBOURS[0]) == "| none | 3 | 2 | 4 | 1 |"
    assert slow_line([RULED, SUSPECT], NEIGHBOURS[0]) == "| none | 2 | 1 | 5 | 5 | 2.0 |"
    assert slow_line([CALM], NEIGHBOURS[0]) == "| none | 1 | 0 | - | - | 0.0 |"


def test_the_tables_go_between_the_marks_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "guard_runs", lambda root, cost, neighbour, num_runs: [RULED] * num_runs)
    page = tmp_path / "guards.md"
    page.write_text(f"before\n{BEGIN}\nyesterday\n{END}\nafter\n")
    assert main(["--quick", "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    assert text.count("| none | 2 | 2 |") == 2
