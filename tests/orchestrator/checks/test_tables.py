"""Tables of numbers that a run wrote."""

from pathlib import Path

import pytest
from msgspec import structs

from orchestrator.checks.observed import TableSeen
from orchestrator.checks.tables import find_tables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run/scores").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    return tmp_path


def found(folder: Path, **files: str) -> list[TableSeen]:
    names = [name.replace("__", ".") for name in files]
    for name, text in zip(names, files.values(), strict=True):
        (folder / "checkout" / name).write_text(text)
    return list(find_tables(folder / "run", folder / "checkout", names))


@pytest.mark.parametrize(
    ("name", "text", "kind", "names"),
    [
        ("a__csv", "epoch,loss\n1,2\n", "csv", ("epoch", "loss")),
        ("a__tsv", "epoch\tloss\n1\t2\n", "csv", ("epoch", "loss")),
        ("a__jsonl", '{"loss": 1, "name": "x"}\n{"f1": 2, "ok": true}\n', "jsonl", ("loss", "f1")),
        ("a__json", '{"loss": 1.5, "name": "x"}', "json", ("loss",)),
        ("a__json", '{"log_history": [{"loss": 1}, {"eval_loss": 2}]}', "trainer_state", ("loss", "eval_loss")),
    ],
)
def test_a_table_is_known_by_its_ending_and_its_content(
    folder: Path, name: str, text: str, kind: str, names: tuple[str, ...]
) -> None:
    (table,) = found(folder, **{name: text})
    assert (table.kind, table.names, table.path) == (kind, names, name.replace("__", "."))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a__csv", "a,b\n1\n"),
        ("a__json", "{"),
        ("a__json", "[1]"),
        ("a__jsonl", "x"),
        ("net__pt", "loss: 1"),
        ("a__json", "{}"),
    ],
)
def test_what_is_no_table_is_left_out(folder: Path, name: str, text: str) -> None:
    assert found(folder, **{name: text}) == []


def test_the_helpers_files_are_found_with_final_numbers_first(folder: Path) -> None:
    (folder / "run/reported.jsonl").write_text('{"step": 1, "loss": 2}\n{"accuracy": 0.5}\n')
    (folder / "run/scores/test.csv").write_text("key,correct\na,1\n")
    assert [structs.replace(table, content="") for table in found(folder)] == [
        TableSeen(path="reported.jsonl", kind="reported", names=("accuracy", "loss")),
        TableSeen(path="{run_folder}/scores/test.csv", kind="scores", names=("key", "correct")),
    ]
    assert len({table.content for table in found(folder)}) == 2
    (folder / "run/reported.jsonl").unlink()
    (folder / "run/reported.jsonl").mkdir()
    assert found(folder)[0].names == ()


def test_numbers_of_folders_stand_for_any(folder: Path) -> None:
    (folder / "checkout/out/checkpoint-30").mkdir(parents=True)
    path = "out/checkpoint-30/trainer_state.json"
    (table,) = found(folder, **{path.replace(".", "__"): '{"log_history": [{"loss": 1}]}'})
    assert table.path == "out/checkpoint-*/trainer_state.json"
