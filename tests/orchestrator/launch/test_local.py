"""A job as an ordinary process."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.launch.local import Job, job_environment
from orchestrator.launch.slots import Slot
from orchestrator.processes import MARK
from orchestrator.runs.folder import RunFolder
from tests.builders.own_jobs import own_job

FAKE_JOB = """\
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
print(sys.argv[2:], os.environ["OMP_NUM_THREADS"], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
(folder / "ready").touch()
time.sleep(60)
"""
"""A `model` that sleeps until somebody asks it to stop."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "E5-s0-1d")
    made.path.mkdir()
    return made


@pytest.fixture
def job(tmp_path: Path, folder: RunFolder) -> Iterator[Job]:
    (tmp_path / "code" / "model").mkdir(parents=True)
    (tmp_path / "code" / "model" / "__init__.py").touch()
    (tmp_path / "code" / "model" / "__main__.py").write_text(FAKE_JOB)
    slot = Slot("cpu0", {"OMP_NUM_THREADS": "3"})
    made = Job(folder, own_job(folder, tmp_path / "code", slot), slot)
    deadline = time.monotonic() + 60
    while not (folder.path / "ready").exists():
        assert made.exit_status() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    yield made
    made.kill()


def wait(job: Job) -> int:
    deadline = time.monotonic() + 60
    while (status := job.exit_status()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return status


def test_a_job_runs_its_own_code_with_the_slots_variables_and_a_log(job: Job, folder: RunFolder) -> None:
    data_folder = str(folder.path.parent)
    assert folder.log.read_text() == f"{['--data-folder', data_folder]} 3\n"


def test_a_job_that_is_asked_to_stop_ends_in_its_own_way(job: Job) -> None:
    job.ask_to_stop()
    assert wait(job) == 130
    job.ask_to_stop()
    assert job.exit_status() == 130


def test_a_paused_job_reacts_once_it_is_resumed(job: Job) -> None:
    job.pause()
    job.ask_to_stop()
    assert job.exit_status() is None
    job.resume()
    assert wait(job) == 130


def test_a_killed_job_has_ended_when_the_call_returns(job: Job) -> None:
    job.kill()
    assert job.exit_status() == -signal.SIGKILL


def test_a_job_inherits_neither_the_mark_of_another_run_nor_the_safe_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (MARK, "PYTHONSAFEPATH", "KEPT"):
        monkeypatch.setenv(name, "1")
    assert {MARK, "PYTHONSAFEPATH", "KEPT"} & job_environment().keys() == {"KEPT"}
