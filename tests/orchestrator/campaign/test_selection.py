"""A campaign at a profile: which experiments a command is about."""

from pathlib import Path

import pytest

from orchestrator.campaign.selection import Request, open_campaign, select_again
from orchestrator.errors import UsageError


def test_a_profiles_default_experiments_bring_their_references(file: Path) -> None:
    assert list(open_campaign(Request(file=file)).arms) == ["baseline", "wide", "wide-mlp"]


def test_a_profile_that_names_none_means_all(file: Path) -> None:
    assert list(open_campaign(Request(file=file, profile="paper")).arms) == ["baseline", "wide", "wide-mlp", "deep"]


def test_all_and_names_go_before_the_default(file: Path) -> None:
    assert "deep" in open_campaign(Request(file=file, everything=True)).arms
    assert list(open_campaign(Request(file=file, experiments=("deep",))).arms) == ["baseline", "deep"]


def test_names_and_all_at_once_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="name experiments, or say --all, not both"):
        open_campaign(Request(file=file, experiments=("deep",), everything=True))


def test_another_profile_of_an_open_file_has_its_own_experiments(file: Path) -> None:
    opened = open_campaign(Request(file=file))
    file.unlink()
    assert "deep" in select_again(opened, Request(file=file, profile="paper")).arms


def test_it_says_how_many_experiments_of_the_file_are_left_out(file: Path) -> None:
    assert open_campaign(Request(file=file)).default_note == (
        "2 of the file's 3 experiments: this profile's default ones; --all takes them all"
    )
    assert open_campaign(Request(file=file, everything=True)).default_note is None
