"""What a command needs at its end it asks for at its start."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["run"], "results"),
        (["run"], "reports"),
        (["run", "--until-decided"], "reports"),
        (["queue", "add"], "results"),
        (["report"], "reports"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_file_where_a_folder_should_be_is_told_before_anything_starts(
    study: Any, words: list[str], taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study.paths.root / taken
    path.write_text("mine")
    if "--until-decided" in words:
        study.edit("experiments:\n", "staging: {}\nexperiments:\n")
    assert main([*words, "-f", str(study.file)]) == 2
    told = capsys.readouterr().err
    assert told == f"knockout: {path} must be a folder, and is none; rename or remove it\n"
    assert path.read_text() == "mine"
    assert not study.paths.runs.exists()


@pytest.mark.parametrize("words", [["data", "emulate", "--folder"], ["data", "shard", "--out"]], ids=" ".join)
def test_a_file_in_the_place_of_what_is_made_is_told_at_once(
    study: Any, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.paths.root)
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    (tmp_path / "mine").write_text("mine")
    assert main([*words, str(tmp_path / "mine" / "made")]) == 2
    told = capsys.readouterr().err
    assert told == f"knockout: {tmp_path / 'mine'} must be a folder, and is none; rename or remove it\n"


@pytest.mark.parametrize("words", [["plan"], ["work"], ["status"], ["data", "shard", "--out", "out"]], ids=" ".join)
def test_what_the_system_refuses_is_a_sentence(
    study: Any, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.paths.root)
    study.paths.results.write_text("mine")
    assert main(words) in (0, 2)
    told = capsys.readouterr().err
    assert told == "" or (told.startswith("knockout: ") and told.count("\n") == 1)
