"""What was shown is remembered, and a file that is spoilt or missing is no error."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from orchestrator.campaign.looked import Showing, find_unseen, look_again, numbers_of_seeds
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.runs.paths import Paths

TWO, THREE = ("E5-s0-a", "E5-s1-a"), ("E5-s0-a", "E5-s1-a", "E5-s2-a")


@pytest.fixture
def campaign(a_plan: Callable[..., Plan]) -> Campaign:
    return a_plan({}).campaign


def a_showing(**runs: tuple[str, ...]) -> Showing:
    return Showing(campaign="tiny", profile="quick", runs=runs)


def test_a_verdict_on_more_seeds_of_the_same_runs_is_another_look() -> None:
    assert numbers_of_seeds([a_showing(E5=TWO)], "E5", THREE) == (2, 3)
    assert numbers_of_seeds([a_showing(E5=TWO), a_showing(E5=THREE)], "E5", TWO) == (2, 3)


def test_the_same_runs_and_runs_of_other_code_are_no_other_look() -> None:
    assert numbers_of_seeds([a_showing(E5=THREE)], "E5", THREE) == (3,)
    assert numbers_of_seeds([a_showing(E5=("E5-s0-b", "E5-s1-b")), a_showing(H2=TWO)], "E5", THREE) == (3,)


def test_only_what_was_not_shown_before_is_noted() -> None:
    assert find_unseen([a_showing(E5=TWO)], {"E5": TWO[::-1], "H2": TWO}) == {"H2": TWO}


def test_each_new_number_of_seeds_is_a_line_and_a_repeat_is_none(campaign: Campaign, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    found = [look_again(paths, campaign, {"E5": runs})["E5"] for runs in (TWO, TWO, THREE, THREE)]
    assert found == [(2,), (2,), (2, 3), (2, 3)]
    assert len(paths.looks.read_bytes().splitlines()) == 2


def test_looks_of_another_profile_do_not_count(campaign: Campaign, tmp_path: Path) -> None:
    look_again(Paths(tmp_path), msgspec.structs.replace(campaign, profile="other"), {"E5": TWO})
    assert look_again(Paths(tmp_path), campaign, {"E5": THREE}) == {"E5": (3,)}


def test_a_cut_line_hides_no_other(campaign: Campaign, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    look_again(paths, campaign, {"E5": TWO})
    with paths.looks.open("ab") as file:
        file.write(b'{"campaign": "ti\n\xff\n')
    assert look_again(paths, campaign, {"E5": THREE}) == {"E5": (2, 3)}


@pytest.mark.parametrize("spoil", [Path.mkdir, os.mkfifo])
def test_a_place_that_cannot_be_read_or_written_is_no_look(
    spoil: Callable[[Path], None], campaign: Campaign, tmp_path: Path
) -> None:
    paths = Paths(tmp_path)
    paths.results.mkdir()
    spoil(paths.looks)
    assert look_again(paths, campaign, {"E5": TWO}) == {"E5": (2,)}
    assert look_again(paths, campaign, {"E5": THREE}) == {"E5": (3,)}


def test_commands_at_once_append_whole_lines(campaign: Campaign, tmp_path: Path) -> None:
    paths, children = Paths(tmp_path), []
    for number in range(4):
        child = os.fork()
        if not child:
            for more in range(25):
                look_again(paths, campaign, {f"E{number}": tuple(f"run-{seed}" for seed in range(200 + more))})
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    lines = paths.looks.read_bytes().splitlines()
    assert len([msgspec.json.decode(line, type=Showing) for line in lines]) == 100
