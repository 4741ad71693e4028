"""The processes of a run are found by its mark, and ended wherever they have gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.processes import Process
from orchestrator.runs import members
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import end_members, list_members, mark_variables

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "E5-s0-0").mkdir()
    return RunFolder(tmp_path / "E5-s0-0")


def test_the_mark_names_the_folder_and_not_only_its_name(folder: RunFolder, tmp_path: Path) -> None:
    other = tmp_path / "moved" / folder.path.name
    other.mkdir(parents=True)
    (name,) = mark_variables(folder)
    assert name == "KNOCKOUT_RUN"
    assert mark_variables(folder)[name].endswith(":E5-s0-0")
    assert mark_variables(folder) != mark_variables(RunFolder(other))


def test_a_process_that_left_its_group_is_found_and_ended(folder: RunFolder) -> None:
    environment = os.environ | mark_variables(folder)
    command = [sys.executable, "-c", SLEEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert [member.pid for member in list_members(folder)] == [process.pid]
            assert end_members(folder) == []
            assert process.wait(timeout=10) == -9
        finally:
            process.kill()
    assert list_members(folder) == []


def test_a_process_of_another_user_is_named_and_left_alone(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError

    own = Process.own()
    monkeypatch.setattr(members, "find_members", lambda *_: [own])
    monkeypatch.setattr(members, "signal_group", refuse)
    assert end_members(folder) == [f"process {own.pid} on {own.host}"]
