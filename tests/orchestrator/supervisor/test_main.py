"""The supervisor as a program."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import REFUSED
from orchestrator.supervisor.__main__ import main
from tests.builders.supervised import Stranger

ROOT = Path(__file__).parents[3]


def test_it_runs_the_command_of_a_folder(stranger: Stranger) -> None:
    stranger.order("sh", "-c", "echo $KNOCKOUT_RUN")
    program = [sys.executable, "-m", "orchestrator.supervisor", stranger.folder.path]
    done = subprocess.run(program, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stranger.result().state == "done"
    assert stranger.log().strip().endswith(":lr-s0-0123abcd")


def test_a_relative_folder_is_meant_from_here(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stranger.folder.path.parent)
    stranger.order("true")
    assert main([stranger.folder.path.name]) == 0


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == REFUSED
    assert capfd.readouterr().err.startswith(f"knockout: {tmp_path}/none/launch.json: there is no such file")
