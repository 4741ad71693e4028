"""Epochs of a run are read from `epochs.jsonl`, or from the rows of progress of a supervised command."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reading.progress import Row, encode_row
from orchestrator.runs.folder import EpochRecord, RunFolder, epochs_of_rows
from tests.builders.epochs import an_epoch, append_epoch


def row(
    step: float | None, attempt: int = 1, at_seconds: float | None = None, source: str = "log", **values: float
) -> Row:
    return Row(step=step, attempt=attempt, at_seconds=at_seconds, source=source, values=dict(values or {"loss": 1.0}))


def steps(rows: list[Row]) -> list[float | None]:
    return [record.step for record in epochs_of_rows(rows)]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], []),
        ([row(1), row(2), row(3)], [1, 2, 3]),
        ([row(1), row(2), row(3), row(2, 2)], [1, 2]),
        ([row(1), row(2), row(3), row(2, 2), row(3, 2)], [1, 2, 3]),
        ([row(1), row(2), row(1, 2)], [1]),
        ([row(1), row(1), row(None), row(2)], [1, 2]),
        ([row(1), row(2), row(3, 2)], [1, 2, 3]),
    ],
)
def test_a_later_attempt_supersedes_a_step_and_all_after_it(rows: list[Row], wanted: list[float]) -> None:
    assert steps(rows) == wanted


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_attempts_that_go_on_from_any_checkpoint_leave_each_step_once(checkpoints: list[int]) -> None:
    rows, reached = [], 0
    for attempt, checkpoint in enumerate(checkpoints, 1):
        first, reached = min(checkpoint, reached) + 1, min(checkpoint, reached) + 4
        rows += [row(step, attempt) for step in range(first, reached + 1)]
    assert steps(rows) == list(range(1, reached + 1))


def test_the_source_that_told_most_counts_the_steps_and_the_others_add_their_numbers() -> None:
    log = [row(1, loss=3.0), row(2, loss=2.0), row(3, loss=1.0)]
    table = [row(1, source="m.csv", loss=9.0, val_loss=5.0), row(2, source="m.csv", val_loss=4.0)]
    records = epochs_of_rows([*log, *table])
    assert [record.values for record in records] == [
        {"loss": 3.0, "val_loss": 5.0},
        {"loss": 2.0, "val_loss": 4.0},
        {"loss": 1.0},
    ]


def test_the_first_row_of_an_attempt_is_not_timed_and_later_ones_say_of_how_many_steps_they_are() -> None:
    rows = [
        row(50, at_seconds=9.0),
        row(100, at_seconds=10.0),
        row(200, 2, at_seconds=7.0),
        row(300, 2, at_seconds=9.0),
    ]
    told = [(record.epoch, record.seconds, record.is_timed, record.num_steps) for record in epochs_of_rows(rows)]
    assert told == [(1, 9.0, False, 1.0), (2, 1.0, True, 50.0), (3, 7.0, False, 100.0), (4, 2.0, True, 100.0)]


def test_a_row_that_was_found_after_its_attempt_has_no_time() -> None:
    (record,) = epochs_of_rows([row(1)])
    assert (record.seconds, record.is_timed) == (0.0, False)


def test_memory_is_told_by_its_name() -> None:
    assert epochs_of_rows([row(1, peak_memory_bytes=3e9)])[0].peak_memory_bytes == 3_000_000_000
    assert epochs_of_rows([row(1)])[0].peak_memory_bytes == 0


def test_a_folder_has_its_epochs_in_either_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_epochs() == []
    folder.progress.write_bytes(encode_row(row(7)) + b"{torn")
    assert [record.step for record in folder.read_epochs()] == [7]
    append_epoch(folder, an_epoch(1))
    assert folder.read_epochs() == [an_epoch(1)]


def test_the_numbers_of_both_are_found_by_name() -> None:
    assert EpochRecord(epoch=1, seconds=1.0, values={"loss": None}).told == {"loss": None}
    assert an_epoch(1, train_loss=0.5).told["train_loss"] == 0.5


def test_each_file_of_a_run_has_a_name_of_its_own() -> None:
    folder = RunFolder(Path("/runs/a"))
    own = [folder.launch, folder.progress, folder.attempts, folder.outputs]
    assert [path.name for path in own] == ["launch.json", "progress.jsonl", "attempts.jsonl", "outputs"]
    assert {folder.launch, folder.attempts, folder.lock, folder.log, folder.config} < set(folder.kept)
    assert folder.progress not in folder.kept
