"""`knockout init` and `knockout check` as a person sees them."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.builders.checked import TRAINS, Checking


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checking:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path / "digits")
    found = Checking(tmp_path / "digits")
    found.commit({"train.py": TRAINS, "net.py": "width = 2\n", ".gitignore": "data/\nexperiments.yaml\n"})
    found.write({"data/scale.txt": "3.0"})
    return found


def test_a_script_gets_a_file_that_check_completes(mine: Checking, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "train.py"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote experiments.yaml: 2 parameters",
        "next: read it, take out what you never change, then `knockout check`",
    ]
    assert main(["check"]) == 2
    said = capsys.readouterr()
    assert "run 1 of 3: seed 0\n" in said.err
    assert "! stop    the command did not run to its end; `knockout check --write` adds 1 line\n" in said.out
    assert "          -> task.data.scale: data/scale.txt\n" in said.out
    assert "`knockout check --write` would add:\n--- experiments.yaml\n" in said.out
    assert main(["check", "--write", "--set", "epochs=2"]) == 0
    said = capsys.readouterr()
    assert "added:\n--- experiments.yaml\n" in said.out
    assert "+  data: {scale: data/scale.txt}\n" in said.out
    assert "  seed    the same seed gives the same numbers; another gives others\n" in said.out
    assert "  fine    `knockout run` would train 1 experiment x 5 seeds" in said.out


def test_a_program_reads_what_was_found_as_json(mine: Checking, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "train.py", "--static", "-f", "b.yaml"]) == 0
    assert capsys.readouterr().out.endswith("then `knockout check -f b.yaml`\n")
    assert main(["check", "-f", "b.yaml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == 2
    assert {"ran", "read", "stop"} <= {finding["label"] for finding in found["findings"]}


def test_init_writes_over_nothing(mine: Checking, capsys: pytest.CaptureFixture[str]) -> None:
    mine.file.write_text("mine")
    assert main(["init", "train.py"]) == 2
    assert capsys.readouterr().err == (
        "knockout: experiments.yaml: is there already, and `init` writes over nothing; name another one with -f FILE\n"
    )
    assert mine.file.read_text() == "mine"


def test_the_usual_arguments_are_the_scripts(mine: Checking, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "train.py", "--", "--lr=0.5"]) == 0
    assert mine.values["baseline"]["lr"] == 0.5
