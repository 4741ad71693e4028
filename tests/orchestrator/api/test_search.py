"""A search and the promotion of its best point, as a script calls them."""

from typing import Any

import pytest

from orchestrator.api.search import SearchOptions, promote, search
from orchestrator.campaign.selection import Request
from orchestrator.errors import DataError, UsageError
from orchestrator.search import loop

Lab = Any
"""That of conftest.py."""


@pytest.fixture
def visited(lab: Lab) -> Lab:
    """A search of two visited points."""
    trials = lab.open()
    trials.enqueue_points()
    for accuracy in (0.5, 0.7):
        trials.ask()
        lab.end(trials.own()[-1].user_attrs["runs"][0], accuracy)
    trials.settle()
    return lab


def test_a_search_has_sentences_and_a_report(visited: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "search", lambda asked, options, observer: loop.look(asked, options))
    outcome = search(Request(file=visited.study.file), "focal")
    assert [point.change["loss.gamma"] for point in outcome.found.scored] == [3.0, 2.0]
    assert any("best: loss.gamma 3.0" in sentence for sentence in outcome.sentences)
    assert outcome.report.is_file()
    assert outcome.report.parent.parent == visited.study.paths.reports


def test_a_report_that_cannot_be_written_is_refused_before_a_point_is_visited(lab: Lab) -> None:
    lab.study.paths.reports.write_text("mine")
    with pytest.raises(UsageError, match="reports must be a folder, and is none"):
        search(Request(file=lab.study.file), "focal")
    assert not lab.study.paths.runs.exists()


def test_more_slots_than_gpus_are_refused_before_a_point_is_visited(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.launch.contention.count_gpus", lambda: 1)
    lab.study.edit("experiments:\n", "guards: {epoch_seconds: 10.0}\nexperiments:\n")
    with pytest.raises(UsageError, match="--slots 2 is more than the 1 GPU of this machine"):
        search(Request(file=lab.study.file), "focal", SearchOptions(slots=2))
    assert not lab.study.paths.runs.exists()


def test_without_a_gpu_a_stack_in_fp16_is_refused_before_captures_are_made(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "find_gpu_problem", lambda profile, others: f"{profile} needs a GPU")
    lab.study.edit("  captures:\n", "  emulate: {seed: 1, packets: 6, samples: 8192}\n  captures:\n")
    (lab.study.paths.root / "data" / "LocA.h5").unlink()
    with pytest.raises(DataError, match="quick needs a GPU"):
        search(Request(file=lab.study.file), "focal")
    assert not (lab.study.paths.root / "data" / "LocA.h5").exists()


def test_the_best_point_becomes_an_experiment_of_the_file(visited: Lab) -> None:
    outcome = promote(Request(file=visited.study.file), "focal")
    assert (outcome.promoted.experiment, outcome.profile) == ("focal-best", "quick")
    assert outcome.promoted.trial.change["loss.gamma"] == 3.0
    assert "  focal-best:\n    on: E5\n" in visited.study.file.read_text()


def test_a_search_that_has_not_begun_has_no_best_point(lab: Lab) -> None:
    before = lab.study.file.read_text()
    with pytest.raises(UsageError, match="search `focal` has no finished trial yet"):
        promote(Request(file=lab.study.file), "focal", experiment="focus")
    assert lab.study.file.read_text() == before
