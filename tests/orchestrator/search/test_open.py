"""Which search is meant, and what is refused before it starts."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import SpecError, UsageError
from orchestrator.runs.paths import sqlite_url
from orchestrator.search.open import open_search, storage_file

Lab = Any
"""That of conftest.py."""


def refused(lab: Lab, old: str, new: str) -> str:
    lab.study.edit(old, new)
    with pytest.raises(SpecError) as caught:
        open_search(Request(file=lab.study.file), "focal")
    return str(caught.value)


def test_a_search_is_worked_out_for_its_profile(lab: Lab) -> None:
    asked = lab.opened
    assert (asked.stack.id, asked.objective.splits, asked.seeds) == ("E5", ("LocC",), (0,))


def test_a_search_that_is_not_there_is_a_mistake(lab: Lab) -> None:
    with pytest.raises(UsageError, match="there is no search `focl`; did you mean `focal`"):
        open_search(Request(file=lab.study.file), "focl")


def test_a_campaign_without_searches_says_where_to_write_one(study: Any) -> None:
    with pytest.raises(UsageError, match="write one under `searches:`"):
        open_search(Request(file=study.file), "focal")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    on: E5\n    space", "    on: E6\n    space", "focal.on: there is no experiment `E6`"),
        ("trials: 6", "trails: 6", "searches.focal.trails: there is no `trails` here; did you mean `trials`?"),
        ("low: 0.01", "low: -1.0", "searches.focal.space.loss.gamma: Expected `float` > 0.0"),
        ("low: 0.01", "low: 9.0", "low 9.0 must be below high 5.0"),
        ("gamma: 3.0", "gamma: 7.0", "focal.enqueue[1].at.loss.gamma: `7.0` is outside the space of `loss.gamma`"),
        ("trials: 6", "objective: {captures: [LocD]}", "focal.objective.captures: `LocD` is for the report alone"),
        ("trials: 6", "objective: {captures: [LocC, LocC]}", "focal.objective.captures[1]: `LocC` is given twice"),
        ("kind: float, low: 0.0, high: 0.2", "kind: categorical, choices: [0, 0]",
         "searches.focal.space.loss.label_smoothing: `choices` has 0 twice; keep one of them"),
        ("trials: 6", "objective: {captures: [LocB]}", "focal.objective.captures: validation accuracy misleads"),
        ("  choose: [LocC]\n", "", "searches.focal.objective: a search needs a location to choose on"),
        ("kind: float, low: 0.0,", "kind: real, low: 0.0,", "`kind` is float, int, categorical, found `real`"),
        ("high: 0.2", "hihg: 0.2", "searches.focal.space.loss.label_smoothing.hihg: there is no `hihg` here"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_and_line(lab: Lab, old: str, new: str, message: str) -> None:
    said = refused(lab, old, new)
    assert message in said
    number = int(said.removeprefix(f"{lab.study.file}:").partition(":")[0])
    assert 1 <= number <= len(lab.study.file.read_text().splitlines())


def test_the_line_told_is_the_knobs(lab: Lab) -> None:
    said = refused(lab, "low: 0.01", "low: -1.0")
    lines = lab.study.file.read_text().splitlines()
    assert said.startswith(f"{lab.study.file}:{1 + next(n for n, line in enumerate(lines) if 'low: -1.0' in line)}:")


def test_a_report_capture_is_refused_whichever_command_reads_the_file(lab: Lab) -> None:
    lab.study.edit("trials: 6", "objective: {captures: [LocD]}")
    with pytest.raises(SpecError, match="`LocD` is for the report alone"):
        open_campaign(Request(file=lab.study.file))


@pytest.mark.parametrize("name", ["optuna.db", "a b%.db"])
def test_the_file_of_a_storage_is_found_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(name)
    file = (tmp_path / name).resolve()
    urls = [sqlite_url(tmp_path / name), sqlite_url(Path(name)), "sqlite+pysqlite:///link.db", "sqlite:///file:link.db"]
    assert [storage_file(url) for url in urls] == [file] * len(urls)


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://ada@host/trials", "nonsense", "postgresql://ada@host:x/t"])
def test_what_is_no_file_is_none(url: str) -> None:
    assert storage_file(url) is None
