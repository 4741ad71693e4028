"""Every number of a table of progress is read while it is being written."""

import json
from pathlib import Path

import pytest

from orchestrator.reading.live import TableKind, read_table
from orchestrator.reading.sources import ReadingError

Wanted = list[tuple[float | None, dict[str, float | None]]]


def read(kind: TableKind, path: Path, step: str = "") -> Wanted:
    return [(row.step, row.values) for row in read_table(kind, path, step)]


def test_a_csv_file_has_rows_of_its_filled_columns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train_loss,val_loss,name\n0,49,0.5,,a\n0,49,,nan,a\n1,99,0.2")
    assert read("csv", path, "epoch") == [(0, {"step": 49, "train_loss": 0.5}), (0, {"step": 49, "val_loss": None})]


def test_without_a_named_step_its_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("loss\n0.5\n0.25\n")
    assert read("csv", tmp_path / "m.csv") == [(1, {"loss": 0.5}), (2, {"loss": 0.25})]


def test_a_row_without_its_step_counts_none(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("epoch,loss\n,0.5\n1,0.25\n")
    assert read("csv", tmp_path / "m.csv", "epoch") == [(None, {"loss": 0.5}), (1, {"loss": 0.25})]


def test_a_line_of_json_may_hold_objects(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"it": 1, "eval": {"acc": 0.5}, "name": "x"}\nnoise\n{"it": 2, "los')
    assert read("jsonl", path, "it") == [(1, {"eval.acc": 0.5})]


def test_the_history_of_a_trainer_is_counted_by_its_step(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": [{"loss": 0.5, "step": 10, "epoch": 0.5}, "odd"]}))
    assert read("trainer_state", path) == [(10, {"loss": 0.5, "epoch": 0.5})]
    assert read("trainer_state", path, "epoch") == [(0.5, {"loss": 0.5, "step": 10})]


def test_what_the_helper_tells(tmp_path: Path) -> None:
    (tmp_path / "reported.jsonl").write_text('{"step": 1, "loss": null}\n{"accuracy": 0.9}\n')
    assert read("reported", tmp_path / "reported.jsonl") == [(1, {"loss": None}), (None, {"accuracy": 0.9})]


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadingError, match="there is no such file"):
        read("csv", tmp_path / "m.csv")
