"""Whether a report can be written is asked first, and what stands in its way stays as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import run as api_run
from orchestrator.api.queue import RunOptions
from orchestrator.api.report import report
from orchestrator.api.run import run
from orchestrator.campaign.selection import Request
from orchestrator.errors import RunError, UsageError
from orchestrator.report.place import describe_latest, point_latest, write_files
from orchestrator.runs.paths import require_place


def put_file(path: Path) -> None:
    path.write_text("mine")


def put_dangling_link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("put", [put_file, put_dangling_link])
def test_a_place_that_cannot_be_written_is_told_before_anything_starts(
    study: Any, put: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(study.paths.reports)
    monkeypatch.setattr(api_run, "train", lambda *_: pytest.fail("it trained"))
    request = Request(file=study.file)
    words = "reports must be a folder, and is none; rename or remove it"
    with pytest.raises(UsageError, match=words):
        run(request, RunOptions(snapshot=True))
    with pytest.raises(UsageError, match=words):
        report(request)


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    require_place(tmp_path / "reports")
    assert list((tmp_path / "reports").iterdir()) == []


def test_a_file_in_the_place_of_a_report_is_told(tmp_path: Path) -> None:
    (tmp_path / "tiny-12345678").write_text("mine")
    with pytest.raises(RunError, match=r"tiny-12345678: the report cannot be written"):
        write_files(tmp_path / "tiny-12345678", {"report.md": b"words"})


def test_what_is_written_already_is_not_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    write_files(folder, {"report.md": b"words", "runs.csv": b"old"})
    before = (folder / "report.md").stat()
    write_files(folder, {"report.md": b"words", "runs.csv": b"new"})
    assert (folder / "report.md").stat().st_ino == before.st_ino
    assert (folder / "runs.csv").read_bytes() == b"new"


@pytest.mark.parametrize("put", [put_file, Path.mkdir])
def test_what_stands_where_the_newest_report_is_linked_stays_and_is_told(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    link, folder = tmp_path / "latest", tmp_path / "tiny"
    folder.mkdir()
    put(link)
    point_latest(link, folder)
    assert not link.is_symlink()
    assert describe_latest(link, folder) == (
        f"{link} is no link, but a file or folder of somebody's and does not lead to the newest report, tiny; "
        "move it away"
    )


def test_a_link_to_another_report_is_replaced(tmp_path: Path) -> None:
    link, folder = tmp_path / "latest", tmp_path / "tiny"
    folder.mkdir()
    put_dangling_link(link)
    assert str(describe_latest(link, folder)).startswith(f"{link} is a link and does not lead to")
    point_latest(link, folder)
    assert link.readlink() == Path("tiny")
    assert describe_latest(link, folder) is None


def test_a_folder_in_the_place_of_latest_is_a_note_of_the_report(study: Any) -> None:
    study.paths.latest_report.mkdir(parents=True)
    request = Request(file=study.file)
    outcome = report(request)
    assert outcome.report.is_file()
    assert [note for note in outcome.notes if "latest is no link" in note]
