"""A run folder as the orchestrator reads and writes it."""

from pathlib import Path

import pytest

from orchestrator.runs import folder as run_folder
from orchestrator.runs.folder import RunFolder
from tests.contract.halves import ORCHESTRATOR
from tests.contract.run_folder import RunFolderContract


class TestRunFolder(RunFolderContract):
    half = ORCHESTRATOR


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_files_of_the_orchestrators_own_have_their_names(folder: RunFolder) -> None:
    assert (folder.order.name, folder.probes.name) == ("order.json", "probes.jsonl")


def test_a_result_that_is_set_aside_takes_its_predictions_along(folder: RunFolder) -> None:
    folder.result.write_bytes(b"result")
    folder.predictions.write_bytes(b"predictions")
    assert folder.set_result_aside() == folder.path / "result.json.set-aside"
    assert {path.name for path in folder.path.iterdir()} == {"result.json.set-aside", "predictions.npz.set-aside"}
    assert folder.set_result_aside() == folder.path / "result.json.set-aside"  # another command was first


def test_the_log_tail_is_its_last_lines(folder: RunFolder) -> None:
    assert folder.log_tail() == []
    folder.log.write_bytes(b"one\ntwo\nthree \xff\n")
    assert folder.log_tail(2) == ["two", "three \N{REPLACEMENT CHARACTER}"]


def test_the_tail_of_a_log_without_ends_of_lines_has_a_bound(folder: RunFolder) -> None:
    with folder.log.open("wb") as file:
        for _ in range(20):
            file.write(b". epoch 1: 50 %" * 70_000)
    (line,) = folder.log_tail()
    assert len(line) < run_folder.MAX_LINE_CHARACTERS + 50
    assert line.startswith("[15384 characters left out] ")
    assert line.endswith("epoch 1: 50 %")


def test_the_tail_of_many_long_lines_has_a_bound(folder: RunFolder) -> None:
    folder.log.write_bytes(b"".join(b"%06d " % number + b"x" * 900 + b"\n" for number in range(10_000)))
    tail = folder.log_tail()
    assert sum(map(len, tail)) <= run_folder.MAX_TAIL_BYTES
    assert [int(line[:6]) for line in tail] == [*range(10_000 - len(tail), 10_000)]
