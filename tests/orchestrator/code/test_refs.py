"""Names of branches and refs, read and written."""

from datetime import UTC, datetime

import pytest

from orchestrator.code.refs import BranchName, KnownCommit, branch_names, read_branch_ref, read_known_commit


@pytest.mark.parametrize("name", ["experiment/E5-20260219_010041", "experiment/pool-mean-20260219_010041_2"])
def test_a_branch_name_is_read_as_it_was_written(name: str) -> None:
    assert str(BranchName.parse(name)) == name


@pytest.mark.parametrize(
    "name", ["main", "experiment/E5", "experiment/../x-20260219_010041", "experiment/-20260219_010041"]
)
def test_other_branch_names_are_not_ours(name: str) -> None:
    with pytest.raises(ValueError, match="is no experiment's branch"):
        BranchName.parse(name)


def test_a_retired_ref_gives_the_name_of_its_branch() -> None:
    name = BranchName("E5-wide", "20260219_010041")
    assert read_branch_ref(name.ref) == read_branch_ref(name.kept_ref) == name
    assert read_branch_ref("refs/heads/main") is None


def test_a_second_has_a_hundred_names() -> None:
    names = [str(name) for name in branch_names("E5", datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC))]
    assert names[:2] == ["experiment/E5-20260219_010041", "experiment/E5-20260219_010041_2"]
    assert len(set(names)) == 100


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("refs/tags/keeper/E5 tag 7 c0ffee 8", KnownCommit("E5", "", "refs/tags/keeper/E5", "c0ffee", 8)),
        ("refs/tags/keeper/E5 c0ffee 8", KnownCommit("E5", "", "refs/tags/keeper/E5", "c0ffee", 8)),
        ("refs/tags/keeper/E5 tree", None),
        ("refs/heads/main c0ffee 8", None),
    ],
)
def test_a_commit_is_read_from_a_line_of_git(line: str, known: KnownCommit | None) -> None:
    assert read_known_commit(*line.split()) == known
