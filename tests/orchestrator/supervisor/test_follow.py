"""What a running command tells is copied as it appears, and what a killed supervisor missed is copied later."""

import time
from pathlib import Path

import pytest

from orchestrator.errors import RunError
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor import follow
from orchestrator.supervisor.attempts import Attempt
from orchestrator.supervisor.follow import Progress, Table
from orchestrator.supervisor.launch_file import LaunchFile, ProgressFile
from orchestrator.supervisor.launch_file import Progress as Source
from orchestrator.supervisor.progress import ProgressRow, read_rows
from tests.builders.supervised import LOG_LINES, LineReaders, Row

TABLE = ProgressFile(kind="csv", path="m.csv")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "co").mkdir()
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def follower(folder: RunFolder, source: Source = LOG_LINES) -> Progress:
    checkout = str(folder.path.parent / "co")
    return Progress(folder, LaunchFile(checkout=checkout, arguments=("t",), progress=source), LineReaders())


def attempt(number: int, log_bytes: int = 0) -> Attempt:
    return Attempt(number=number, checkout="/co", log_bytes=log_bytes, begun_epoch_seconds=0)


def steps(folder: RunFolder) -> list[tuple[float | None, int]]:
    return [(row.step, row.attempt) for row in read_rows(folder.progress)]


def write(folder: RunFolder, text: str) -> int:
    """Add to the log; return its size."""
    with folder.log.open("a") as file:
        file.write(text)
    return folder.log.stat().st_size


def write_table(folder: RunFolder, *numbers: int) -> None:
    lines = "".join(f"{number},0.5\n" for number in numbers)
    (folder.path.parent / "co" / "m.csv").write_text(f"step,loss\n{lines}")


class TestLog:
    def test_lines_are_copied_once_and_from_where_the_attempt_begins(self, folder: RunFolder) -> None:
        begin = write(folder, "step 9: loss 1\n")
        progress = follower(folder)
        progress.begin(attempt(2, begin))
        assert progress.look(1.0) is False
        write(folder, "step 1: loss 0.5\nstep 2:")
        progress.look(2.0)
        write(folder, " loss 0.25\n")
        progress.look(3.5)
        assert list(read_rows(folder.progress)) == [
            ProgressRow(step=1.0, values={"loss": 0.5}, at_seconds=2.0, attempt=2),
            ProgressRow(step=2.0, values={"loss": 0.25}, at_seconds=3.5, attempt=2, seconds=1.5),
        ]

    @pytest.mark.parametrize(("is_whole", "wanted"), [(True, [(1.0, 1)]), (False, [])])
    def test_a_last_line_without_an_end_counts_if_the_command_ended_well(
        self, folder: RunFolder, is_whole: bool, wanted: list[tuple[float, int]]
    ) -> None:
        progress = follower(folder)
        progress.begin(attempt(1))
        write(folder, "step 1: loss 0.5")
        progress.finish(1.0, is_whole=is_whole)
        assert steps(folder) == wanted

    def test_a_long_log_is_read_in_turns(self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follow, "MAX_PIECES", 1)
        write(folder, "x" * 70_000 + "\nstep 1: loss 0.5\n")
        progress = follower(folder)
        progress.begin(attempt(1))
        assert progress.look(1.0) is True
        assert steps(folder) == []
        progress.look(1.0)
        assert steps(folder) == [(1.0, 1)]

    def test_a_log_that_is_away_ends_nothing(self, folder: RunFolder) -> None:
        progress = follower(folder)
        progress.begin(attempt(1))
        assert progress.look(1.0) is False
        with pytest.raises(FileNotFoundError):
            progress.finish(2.0, is_whole=True)

    def test_without_patterns_no_log_is_read(self, folder: RunFolder) -> None:
        write(folder, "step 1: loss 0.5\n")
        progress = follower(folder, Source())
        progress.begin(attempt(1))
        progress.finish(1.0, is_whole=True)
        assert steps(folder) == []


class TestTables:
    def test_rows_are_copied_as_they_are_written(self, folder: RunFolder) -> None:
        progress = follower(folder, Source(files=(TABLE,)))
        progress.begin(attempt(1))
        write_table(folder, 1)
        progress.look(0.0)
        write_table(folder, 1, 2)
        progress.look(2.0)
        assert steps(folder) == [(1.0, 1), (2.0, 1)]

    def test_what_was_there_before_the_start_is_not_its_doing(self, folder: RunFolder) -> None:
        write_table(folder, 1, 2)
        progress = follower(folder, Source(files=(TABLE,)))
        progress.begin(attempt(1))
        write_table(folder, 1, 2, 3)
        progress.finish(1.0, is_whole=True)
        assert steps(folder) == [(3.0, 1)]

    def test_a_table_that_is_half_written_waits(self, folder: RunFolder) -> None:
        progress = follower(folder, Source(files=(TABLE,)))
        progress.begin(attempt(1))
        (folder.path.parent / "co" / "m.csv").write_text("step,loss\n1,0.")
        write_table(folder, 1)
        (folder.path.parent / "co" / "m.csv").write_text("step,loss\n1,nothing\n")
        progress.look(1.0)
        write_table(folder, 1)
        progress.finish(2.0, is_whole=True)
        assert steps(folder) == [(1.0, 1)]

    def test_a_reader_that_refuses_a_table_ends_nothing(self, folder: RunFolder) -> None:
        class Refusing(LineReaders):
            def read_table(self, source: ProgressFile, path: Path) -> list[Row]:
                raise RunError("no such column")

        write_table(folder, 1)
        assert Table(TABLE, Refusing(), folder.path.parent / "co", folder).read() == ()

    def test_a_change_in_a_folder_of_events_is_seen(self, folder: RunFolder) -> None:
        class Counting(LineReaders):
            def read_table(self, source: ProgressFile, path: Path) -> list[Row]:
                return [Row(float(number), {"a": 1.0}) for number, _ in enumerate(path.iterdir())]

        events = folder.path.parent / "co" / "events"
        events.mkdir()
        (events / "a").touch()
        table = Table(ProgressFile(kind="tensorboard", path="events"), Counting(), events.parent, folder)
        assert len(table.read()) == 1
        (events / "b").touch()
        assert len(table.read()) == 2

    def test_one_that_takes_long_to_read_is_read_seldom(self, folder: RunFolder) -> None:
        class Slow(LineReaders):
            def read_table(self, source: ProgressFile, path: Path) -> list[Row]:
                time.sleep(0.1)
                return super().read_table(source, path)

        table = Table(TABLE, Slow(), folder.path.parent / "co", folder)
        write_table(folder, 1)
        assert len(table.read_new(0.0)) == 1
        write_table(folder, 1, 2)
        assert list(table.read_new(1.5)) == []
        assert len(table.read_new(1.5, is_last=True)) == 1


class TestCatchUp:
    def test_rows_that_a_killed_supervisor_missed_are_copied_without_times(self, folder: RunFolder) -> None:
        write(folder, "step 1: loss 1\nstep 2: loss 0.5\n")
        progress = follower(folder)
        progress.begin(attempt(1))
        progress.look(1.0)
        write(folder, "step 3: loss 0.4\nstep 4: loss 0.2")
        follower(folder).catch_up(attempt(1))
        follower(folder).catch_up(attempt(1))
        assert steps(folder) == [(1.0, 1), (2.0, 1), (3.0, 1)]
        assert list(read_rows(folder.progress))[-1].at_seconds is None

    def test_rows_of_tables_too(self, folder: RunFolder) -> None:
        source = Source(files=(TABLE,))
        progress = follower(folder, source)
        progress.begin(attempt(1))
        write_table(folder, 1, 2)
        progress.look(1.0)
        write_table(folder, 1, 2, 3)
        later = follower(folder, source)
        later.catch_up(attempt(1))
        later.begin(attempt(2))
        write_table(folder, 1, 2, 3, 4)
        later.finish(1.0, is_whole=True)
        assert steps(folder) == [(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 2)]
