"""`search` and `promote` as a person sees them."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from orchestrator.cli.main import main
from orchestrator.search import loop
from orchestrator.search.open import SearchOptions
from orchestrator.search.results import Searched

Lab = Any
"""That of conftest.py."""
Show = Callable[..., tuple[int, str]]


@pytest.fixture
def show(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Run a command on a search of two visited points."""
    trials = lab.open()
    trials.enqueue_points()
    for accuracy in (0.5, 0.7):
        trials.ask()
        lab.end(trials.own()[-1].user_attrs["runs"][0], accuracy)
    trials.settle()

    def showing(*words: str, **ended: Any) -> tuple[int, str]:
        def pretend(asked: Any, options: SearchOptions, observer: Any) -> Searched:
            return structs.replace(loop.look(asked, options), **ended)

        monkeypatch.setattr(loop, "search", pretend)
        status = main([*words, "-f", str(lab.study.file)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return showing


def test_a_search_says_what_is_best_and_where_its_report_is(lab: Lab, show: Show) -> None:
    status, said = show("search", "focal")
    assert status == 0
    assert "best: loss.gamma 3.0, loss.label_smoothing 0.0 with 70.0 %" in said
    report = said.partition("report: ")[2].strip()
    assert report.startswith(str(lab.study.paths.root / "reports" / "tiny-search-focal-quick-"))


def test_a_search_that_was_stopped_says_how_to_go_on(show: Show) -> None:
    status, said = show("search", "focal", is_complete=False)
    assert status == 130
    assert "the same command goes on" in said


def test_a_search_for_more_points_that_was_stopped_says_how_many_are_left(show: Show) -> None:
    status, said = show("search", "focal", "--trials", "5", is_complete=False, num_left=2)
    assert status == 130
    assert "the same command with `--trials 2` goes on" in said


def test_what_kept_a_search_from_its_points_is_told(show: Show) -> None:
    status, said = show("search", "focal", problems=("the disk is full",))
    assert (status, said.splitlines()[0]) == (1, "the disk is full")


def test_a_search_that_is_not_there_is_a_mistake(show: Show) -> None:
    status, said = show("search", "focl")
    assert status == 2
    assert said == "knockout: there is no search `focl`; did you mean `focal`?\n"


def test_the_winner_is_promoted_and_the_command_to_confirm_it_is_told(lab: Lab, show: Show) -> None:
    status, said = show("promote", "focal", "--as", "focus")
    assert status == 0
    assert said.splitlines() == [
        f"{lab.study.file}: focus is the point of focal-t001",
        "on fresh seeds: `knockout run focus --profile quick --seeds 1-2`",
    ]
    assert "  focus:\n    on: E5\n" in lab.study.file.read_text()
