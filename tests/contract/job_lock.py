"""What `job.lock` is to whoever holds it. A test file of each half takes these tests over."""

import errno
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.runs.folder import RunFolder as Looking
from orchestrator.runs.job_lock import Holder
from tests.contract.halves import Half

ROOT = Path(__file__).parents[2]
HOLDS = """
import os, sys
from pathlib import Path
from {module} import RunFolder
with RunFolder(Path(sys.argv[1])).hold():
    {then}
    print(flush=True)
    sys.stdin.read()
"""
LEAVES_A_CHILD = "if os.fork(): print(flush=True); os._exit(0)"


def holder_of(folder: Any) -> Holder | None:
    """Return the job that holds a run folder, as the orchestrator finds it."""
    return Looking(folder.path).holder()


@contextmanager
def process_that_holds(half: Half, path: Path, then: str = "pass") -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that holds a run folder, and end it after the `with` block."""
    code = HOLDS.format(module=half.folder.__name__, then=then)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def overtake(folder: Any) -> None:
    """Take a folder as a job on another machine does, whose locks this one does not see."""
    folder.lock.write_bytes(msgspec.json.encode(Holder(pid=7, host="there", born="boot/1/2", attempt=9)))


class JobLockContract:
    """The tests; a subclass names the `half` whose code holds the lock. The orchestrator looks on."""

    half: Half

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Any:
        return self.half.folder.RunFolder(tmp_path)

    @pytest.fixture
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.half.lock, "LOCK_SECONDS", 0.0)
        monkeypatch.setattr("orchestrator.runs.job_lock.LOCK_SECONDS", 0.0)

    @pytest.fixture(params=["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
    def lockless(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(getattr(errno, request.param), "no locks here")

        monkeypatch.setattr("fcntl.flock", refuse)

    @pytest.mark.usefixtures("impatient")
    def test_a_lock_says_who_holds_it_and_is_believed_only_while_it_is_held(self, folder: Any) -> None:
        with folder.hold():
            assert holder_of(folder) == Holder.own(attempt=1)
        assert msgspec.json.decode(folder.lock.read_bytes(), type=Holder) == Holder.own(attempt=1)
        assert holder_of(folder) is None
        with folder.hold():  # asking left no lock behind
            assert holder_of(folder) == Holder.own(attempt=2)

    @pytest.mark.usefixtures("impatient")
    def test_a_folder_that_is_held_is_refused_with_who_holds_it(self, folder: Any) -> None:
        sentence = f"{folder.path}: process {{}} on {platform.node()} is at work on this run; let it end, or end it"
        with process_that_holds(self.half, folder.path) as process:
            before = folder.lock.read_bytes()
            with pytest.raises(self.half.lock.HeldError, match=sentence.format(process.pid)), folder.hold():
                pytest.fail("two hold it")
            assert folder.lock.read_bytes() == before

    def test_a_job_removes_what_another_was_writing_when_it_was_killed(self, folder: Any) -> None:
        wholes = ("provenance.json", "epochs.jsonl", "checkpoint.pt", "predictions.npz", "result.json")
        halves = [folder.path / f".{name}.x1y2" for name in wholes]
        others = [folder.path / ".order.json.x1y2", folder.path / ".notes", folder.checkpoint]
        for path in (*halves, *others):
            path.write_bytes(b"half")
        with folder.hold():
            assert not [path for path in halves if path.exists()]
            assert all(path.exists() for path in others)

    @pytest.mark.usefixtures("impatient")
    def test_the_lock_of_a_killed_process_goes_with_it(self, folder: Any) -> None:
        with process_that_holds(self.half, folder.path) as process:
            holder = holder_of(folder)
            born = self.half.process.birth_of(process.pid)
            assert (holder.pid, holder.host, holder.born) == (process.pid, platform.node(), born)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert holder_of(folder) is None
            with folder.hold():
                assert holder_of(folder).pid == os.getpid()

    def test_the_lock_of_a_process_that_is_about_to_end_is_waited_for(self, folder: Any) -> None:
        with process_that_holds(self.half, folder.path) as process:
            threading.Timer(0.1, process.kill).start()
            with folder.hold():
                assert process.wait() == -signal.SIGKILL

    def test_a_process_that_a_job_forked_keeps_the_lock_until_it_ends(self, folder: Any) -> None:
        with process_that_holds(self.half, folder.path, LEAVES_A_CHILD) as process:
            assert process.wait() == 0
            assert holder_of(folder).pid == process.pid
            assert not holder_of(folder).is_alive
            process.stdin.close()
            with folder.hold():
                assert holder_of(folder).pid == os.getpid()

    def test_an_old_job_writes_no_result_once_another_has_taken_over(self, folder: Any) -> None:
        with folder.hold() as held:
            overtake(folder)
            sentence = r"process 7 on there, attempt 9, has taken over; this job, attempt 1"
            with pytest.raises(self.half.lock.HeldError, match=sentence):
                held.write_result(self.half.result())
        assert [path.name for path in folder.path.iterdir()] == ["job.lock"]

    @pytest.mark.usefixtures("lockless", "impatient")
    def test_without_locks_a_living_job_of_this_machine_still_keeps_others_out(self, folder: Any) -> None:
        with process_that_holds(self.half, folder.path) as process:
            assert holder_of(folder).pid == process.pid
            with pytest.raises(self.half.lock.HeldError, match=f"process {process.pid} on "), folder.hold():
                pytest.fail("two hold it")
            process.kill()
            process.wait()
            assert holder_of(folder) is None
            with folder.hold() as held:
                assert held.held_as.attempt == 2

    @pytest.mark.usefixtures("lockless")
    def test_without_locks_a_job_of_another_machine_is_overtaken(self, folder: Any) -> None:
        overtake(folder)
        assert holder_of(folder) is None
        with folder.hold() as held:
            assert held.held_as.attempt == 10

    def test_another_error_of_a_lock_is_not_taken_for_none(self, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, "the server is away")

        monkeypatch.setattr("fcntl.flock", refuse)
        with pytest.raises(OSError, match="the server is away"), folder.hold():
            pytest.fail("it is held")

    @pytest.mark.parametrize("content", [b"", b"\0" * 50, b"[1, 2]", b"{", b"\xff\xfe", b"1" * 100_000])
    def test_a_lock_file_of_anything_else_names_nobody(self, folder: Any, content: bytes) -> None:
        folder.lock.write_bytes(content)
        assert Looking(folder.path).last_holder() is None
        with folder.hold() as held:
            assert held.held_as.attempt == 1
