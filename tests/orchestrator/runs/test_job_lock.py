"""The orchestrator takes the lock of a run folder as a job does, and sees who holds it."""

import fcntl
import os
import platform
import threading
from pathlib import Path

import msgspec
import pytest

from orchestrator.runs import job_lock
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.job_lock import HeldError, Holder
from tests.contract.halves import ORCHESTRATOR
from tests.contract.job_lock import JobLockContract


class TestJobLock(JobLockContract):
    half = ORCHESTRATOR


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_nobody_holds_a_folder_without_a_lock_and_asking_makes_none(folder: RunFolder) -> None:
    assert folder.holder() is None
    assert folder.last_holder() is None
    assert list(folder.path.iterdir()) == []


def test_a_lock_that_is_just_being_taken_is_read_once_it_says_by_whom(folder: RunFolder) -> None:
    holder = Holder(pid=7, host="there")
    with folder.lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.1, folder.lock.write_bytes, [msgspec.json.encode(holder)]).start()
        assert folder.holder() == holder


def test_a_lock_of_something_that_is_no_job_is_told(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lock, "LOCK_SECONDS", 0.0)
    with folder.lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(HeldError, match=r"job\.lock: this is locked by a process that is no job; end it"):
            folder.holder()


def test_a_file_of_an_older_version_names_a_process_that_nobody_can_look_up(folder: RunFolder) -> None:
    folder.lock.write_bytes(msgspec.json.encode({"pid": os.getpid(), "host": platform.node()}))
    holder = folder.last_holder()
    assert (holder.pid, holder.is_here, holder.is_alive) == (os.getpid(), False, False)
