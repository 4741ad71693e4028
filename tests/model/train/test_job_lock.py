"""One job at a time writes a run folder, and an old one stops where another has taken over."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from model.process import birth_of
from model.train import job_lock
from model.train.job_lock import HeldError, Holder
from model.train.run_folder import Result, RunFolder
from tests.builders.epochs import an_epoch

ROOT = Path(__file__).parents[3]
RESULT = Result(state="done", reason="all epochs trained", best_epoch=1, epochs=1)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


HOLDS = """
import os, sys
from pathlib import Path
from model.train.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).hold():
    {then}
    print(flush=True)
    sys.stdin.read()
"""
LEAVES_A_CHILD = "if os.fork(): print(flush=True); os._exit(0)"


@contextmanager
def process_that_holds(folder: RunFolder, then: str = "pass") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLDS.format(then=then), str(folder.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lock, "LOCK_SECONDS", 0.0)


def test_nobody_holds_a_folder_without_a_lock_and_asking_makes_none(folder: RunFolder) -> None:
    assert folder.holder() is None
    assert list(folder.path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
def test_a_lock_says_who_holds_it_and_is_believed_only_while_it_is_held(folder: RunFolder) -> None:
    with folder.hold():
        assert folder.holder() == Holder.own(attempt=1)
    assert msgspec.json.decode(folder.lock.read_bytes(), type=Holder) == Holder.own(attempt=1)
    assert folder.holder() is None
    with folder.hold():  # asking left no lock behind
        assert folder.holder() == Holder.own(attempt=2)


@pytest.mark.usefixtures("impatient")
def test_a_folder_that_is_held_is_refused_with_who_holds_it(folder: RunFolder) -> None:
    sentence = f"{folder.path}: process {{}} on {platform.node()} is at work on this run; let it end, or end it"
    with process_that_holds(folder) as process:
        before = folder.lock.read_bytes()
        with pytest.raises(HeldError, match=sentence.format(process.pid)), folder.hold():
            pytest.fail("two hold it")
        assert folder.lock.read_bytes() == before


def test_a_job_removes_what_another_was_writing_when_it_was_killed(folder: RunFolder) -> None:
    wholes = ("provenance.json", "epochs.jsonl", "checkpoint.pt", "predictions.npz", "result.json")
    halves = [folder.path / f".{name}.x1y2" for name in wholes]
    others = [folder.path / ".order.json.x1y2", folder.path / ".notes", folder.checkpoint]
    for path in (*halves, *others):
        path.write_bytes(b"half")
    with folder.hold():
        assert not [path for path in halves if path.exists()]
        assert all(path.exists() for path in others)


@pytest.mark.usefixtures("impatient")
def test_the_lock_of_a_killed_process_goes_with_it(folder: RunFolder) -> None:
    with process_that_holds(folder) as process:
        holder = folder.holder()
        assert (holder.pid, holder.host, holder.born) == (process.pid, platform.node(), birth_of(process.pid))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.holder() is None
        with folder.hold():
            assert folder.holder().pid == os.getpid()


def test_the_lock_of_a_process_that_is_about_to_end_is_waited_for(folder: RunFolder) -> None:
    with process_that_holds(folder) as process:
        threading.Timer(0.1, process.kill).start()
        with folder.hold():
            assert process.wait() == -signal.SIGKILL


def test_a_process_that_a_job_forked_keeps_the_lock_until_it_ends(folder: RunFolder) -> None:
    with process_that_holds(folder, LEAVES_A_CHILD) as process:
        assert process.wait() == 0
        assert folder.holder().pid == process.pid
        assert not folder.holder().is_alive
        process.stdin.close()
        with folder.hold():
            assert folder.holder().pid == os.getpid()


def test_a_lock_that_is_just_being_taken_is_read_once_it_says_by_whom(folder: RunFolder) -> None:
    holder = Holder(pid=7, host="there")
    with folder.lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.1, folder.lock.write_bytes, [msgspec.json.encode(holder)]).start()
        assert folder.holder() == holder


@pytest.mark.usefixtures("impatient")
def test_a_lock_of_something_that_is_no_job_is_told(folder: RunFolder) -> None:
    with folder.lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(HeldError, match=r"job\.lock: this is locked by a process that is no job; end it"):
            folder.holder()


def overtake(folder: RunFolder) -> None:
    """Take a folder as a job on another machine does, whose locks this one does not see."""
    folder.lock.write_bytes(msgspec.json.encode(Holder(pid=7, host="there", born="boot/1/2", attempt=9)))


WRITES: dict[str, Callable[[RunFolder], object]] = {
    "epochs.jsonl": lambda folder: folder.append_epoch(an_epoch()),
    "checkpoint.pt": lambda folder: folder.write_checkpoint(lambda file: file.write(b"late")),
    "predictions.npz": lambda folder: folder.write_predictions(lambda file: file.write(b"late")),
    "result.json": lambda folder: folder.write_result(RESULT),
}


@pytest.mark.parametrize("name", WRITES)
def test_an_old_job_writes_nothing_once_another_has_taken_over(folder: RunFolder, name: str) -> None:
    with folder.hold() as held:
        overtake(folder)
        with pytest.raises(HeldError, match=r"process 7 on there, attempt 9, has taken over; this job, attempt 1"):
            WRITES[name](held)
    assert [path.name for path in folder.path.iterdir()] == ["job.lock"]


def test_a_job_that_is_overtaken_while_it_writes_leaves_the_file_of_the_other(folder: RunFolder) -> None:
    folder.checkpoint.write_bytes(b"of the other")

    def write(file: object) -> None:
        file.write(b"late")
        overtake(folder)

    with folder.hold() as held, pytest.raises(HeldError):
        held.write_checkpoint(write)
    assert folder.checkpoint.read_bytes() == b"of the other"


def test_a_job_writes_as_long_as_the_folder_is_its_own(folder: RunFolder) -> None:
    with folder.hold() as held:
        for write in WRITES.values():
            write(held)
    assert {path.name for path in folder.path.iterdir()} == {*WRITES, "job.lock"}


@pytest.fixture(params=["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def lockless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, request.param), "no locks here")

    monkeypatch.setattr("model.train.job_lock.fcntl.flock", refuse)


@pytest.mark.usefixtures("lockless", "impatient")
def test_without_locks_a_living_job_of_this_machine_still_keeps_others_out(folder: RunFolder) -> None:
    with process_that_holds(folder) as process:
        assert folder.holder().pid == process.pid
        with pytest.raises(HeldError, match=f"process {process.pid} on "), folder.hold():
            pytest.fail("two hold it")
        process.kill()
        process.wait()
        assert folder.holder() is None
        with folder.hold() as held:
            assert held.held_as.attempt == 2


@pytest.mark.usefixtures("lockless")
def test_without_locks_a_job_of_another_machine_is_overtaken(folder: RunFolder) -> None:
    overtake(folder)
    assert folder.holder() is None
    with folder.hold() as held:
        assert held.held_as.attempt == 10


def test_another_error_of_a_lock_is_not_taken_for_none(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "the server is away")

    monkeypatch.setattr("model.train.job_lock.fcntl.flock", refuse)
    with pytest.raises(OSError, match="the server is away"), folder.hold():
        pytest.fail("it is held")


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"[1, 2]", b"{", b"\xff\xfe", b"1" * 100_000])
def test_a_lock_file_of_anything_else_names_nobody(folder: RunFolder, content: bytes) -> None:
    folder.lock.write_bytes(content)
    assert folder.last_holder() is None
    with folder.hold() as held:
        assert held.held_as.attempt == 1


def test_a_file_of_an_older_version_names_a_process_that_nobody_can_look_up(folder: RunFolder) -> None:
    folder.lock.write_bytes(msgspec.json.encode({"pid": os.getpid(), "host": platform.node()}))
    holder = folder.last_holder()
    assert (holder.pid, holder.is_here, holder.is_alive) == (os.getpid(), False, False)
