"""Rows of progress: which are new, which hold, and how they are written."""

import os
from pathlib import Path

import msgspec
import pytest

from orchestrator.supervisor.launch_file import Progress, ProgressFile
from orchestrator.supervisor.progress import (
    NothingTold,
    ProgressRow,
    Recorder,
    build_rows,
    find_new,
    find_unrecorded,
    read_rows,
)
from tests.builders.supervised import Row


def told(*steps: float) -> list[Row]:
    return [Row(step, {"loss": 1 / step}) for step in steps]


def row(step: float | None, attempt: int = 1) -> ProgressRow:
    return ProgressRow(step=step, values={"loss": 1.0}, attempt=attempt)


def test_the_first_row_has_no_seconds_and_the_others_have_those_since_the_row_before() -> None:
    first = build_rows(told(1), None, attempt=2, source="log", at_seconds=40.0)
    later = build_rows(told(2, 3), first[-1], attempt=2, source="log", at_seconds=41.5)
    assert [one.seconds for one in (*first, *later)] == [None, 1.5, 0.0]
    assert [one.attempt for one in later] == [2, 2]


def test_rows_that_were_found_afterwards_have_no_times() -> None:
    rows = build_rows(told(1, 2), None, attempt=1, source="log", at_seconds=None)
    assert [(one.at_seconds, one.seconds) for one in rows] == [(None, None)] * 2


class TestTables:
    def test_what_was_added_is_new(self) -> None:
        assert find_new(told(1, 2), told(1, 2, 3)) == told(3)
        assert find_new([], told(1)) == told(1)
        assert find_new(told(1), told(1)) == []

    def test_a_table_that_was_written_anew_is_new_from_where_it_differs(self) -> None:
        assert find_new(told(1, 2, 3), told(3, 4)) == told(3, 4)
        assert find_new(told(1, 2, 3), told(1)) == []

    def test_after_a_kill_the_rows_after_the_last_recorded_one_are_new(self) -> None:
        assert find_unrecorded(None, told(1)) == told(1)
        assert find_unrecorded(told(2)[0], told(1, 2, 3)) == told(3)
        assert find_unrecorded(told(2)[0], told(2, 3, 2)) == []
        assert find_unrecorded(told(2)[0], told(8, 9)) == told(8, 9)


class TestRecorder:
    def test_rows_are_read_as_they_were_written(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path / "p")
        recorder.add([row(1), row(None)])
        recorder.write()
        recorder.write(is_last=True)
        assert list(read_rows(tmp_path / "p")) == [row(1), row(None)]
        assert not recorder.is_behind

    def test_nothing_told_is_no_file(self, tmp_path: Path) -> None:
        Recorder(tmp_path / "p").write(is_last=True)
        assert not (tmp_path / "p").exists()
        assert list(read_rows(tmp_path / "p")) == []

    @pytest.mark.parametrize("torn", [b'{"step": 2, "va', b"x" * 200_000])
    def test_half_a_line_of_a_killed_supervisor_is_cut_off(self, tmp_path: Path, torn: bytes) -> None:
        (tmp_path / "p").write_bytes(msgspec.json.encode(row(1)) + b"\n" + torn)
        recorder = Recorder(tmp_path / "p")
        recorder.add([row(2)])
        recorder.write()
        assert list(read_rows(tmp_path / "p")) == [row(1), row(2)]

    def test_what_cannot_be_written_now_is_written_once_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.write
        recorder = Recorder(tmp_path / "p")
        recorder.add([row(1)])
        left = [5]

        def fill_the_disk(descriptor: int, content: bytes) -> int:
            if not left:
                raise OSError(28, os.strerror(28))
            return real(descriptor, content[: left.pop()])

        monkeypatch.setattr("orchestrator.supervisor.progress.os.write", fill_the_disk)
        with pytest.raises(OSError, match="No space left"):
            recorder.write()
        monkeypatch.undo()
        assert recorder.is_behind
        recorder.add([row(2)])
        recorder.write()
        assert list(read_rows(tmp_path / "p")) == [row(1), row(2)]


def test_a_command_that_tells_nothing_has_no_rows() -> None:
    readers = NothingTold()
    follower = readers.follow_log(Progress(), 1)
    assert list(follower.feed("step 1")) == list(follower.finish()) == []
    assert list(readers.read_table(ProgressFile(kind="csv", path="a"), Path("a"))) == []
