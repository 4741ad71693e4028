"""Law 3 of DESIGN.md: "kill -9 anywhere loses no finished epoch.\""""

import fcntl
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import run_folder
from model.run_folder import (
    EpochRecord,
    HeldError,
    Holder,
    LocationScore,
    Result,
    RunFolder,
    stream_atomically,
    write_atomically,
)

ROOT = Path(__file__).parents[2]


def record(epoch: int, **changes: object) -> EpochRecord:
    values: dict[str, object] = {
        "epoch": epoch,
        "seconds": 0.5,
        "cpu_seconds": 0.9,
        "data_seconds": 0.1,
        "train_loss": 1.0 / epoch,
        "val_loss": 1.1 / epoch,
        "val_accuracy": 0.5,
        "learning_rate": 1e-3,
        "grad_norm": 2.0,
        "skipped_steps": 0,
        "bursts_per_second": 100.0,
        "peak_memory_bytes": 2**20,
    }
    return EpochRecord(**values | changes)


RESULT = Result(
    state="done",
    reason="all epochs trained",
    best_epoch=2,
    epochs=3,
    scores={"report": LocationScore(bursts=4, correct=3, accuracy=0.75, loss=None)},
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def three_epochs(folder: RunFolder) -> RunFolder:
    for epoch in (1, 2, 3):
        folder.append_epoch(record(epoch))
    return folder


def test_epochs_come_back_as_they_were_appended(three_epochs: RunFolder) -> None:
    three_epochs.append_epoch(record(4, train_loss=None, val_loss=None, grad_norm=None))
    assert three_epochs.read_epochs() == [
        record(1),
        record(2),
        record(3),
        record(4, train_loss=None, val_loss=None, grad_norm=None),
    ]


def test_a_line_holds_one_epoch_in_plain_json(three_epochs: RunFolder) -> None:
    lines = three_epochs.epochs.read_text().splitlines()
    assert [msgspec.json.decode(line)["epoch"] for line in lines] == [1, 2, 3]
    assert list(msgspec.json.decode(lines[0])) == list(EpochRecord.__struct_fields__)


def test_no_epochs_are_read_where_none_were_written(folder: RunFolder) -> None:
    assert folder.read_epochs() == []
    folder.epochs.write_bytes(b"")
    assert folder.read_epochs() == []


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_file_cut_anywhere_loses_no_finished_epoch(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        for epoch in (1, 2, 3):
            folder.append_epoch(record(epoch))
        whole = folder.epochs.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        folder.epochs.write_bytes(whole[:cut])
        finished = [record(epoch) for epoch in range(1, whole[:cut].count(b"\n") + 1)]
        assert folder.read_epochs() == finished
        folder.append_epoch(record(9))
        assert folder.read_epochs() == [*finished, record(9)]


def test_a_torn_line_is_cut_off_before_the_next_is_written(three_epochs: RunFolder) -> None:
    with three_epochs.epochs.open("ab") as file:
        file.write(b'{"epoch":4,"seco')
    three_epochs.append_epoch(record(4))
    assert three_epochs.epochs.read_bytes().count(b"\n") == 4
    assert three_epochs.read_epochs() == [record(epoch) for epoch in (1, 2, 3, 4)]


def test_a_line_spoilt_in_the_middle_is_refused(three_epochs: RunFolder) -> None:
    first, _, rest = three_epochs.epochs.read_bytes().partition(b"\n")
    three_epochs.epochs.write_bytes(first[:-5] + b"\n" + rest)
    with pytest.raises(msgspec.DecodeError, match="truncated"):
        three_epochs.read_epochs()


@pytest.mark.parametrize("num_epochs", [0, 1, 3])
def test_rewinding_keeps_the_first_epochs(three_epochs: RunFolder, num_epochs: int) -> None:
    three_epochs.rewind(num_epochs)
    assert three_epochs.read_epochs() == [record(epoch) for epoch in range(1, num_epochs + 1)]


def test_rewinding_to_where_one_is_writes_nothing(three_epochs: RunFolder) -> None:
    before = three_epochs.epochs.stat()
    three_epochs.rewind(3)
    three_epochs.rewind(7)
    after = three_epochs.epochs.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_rewinding_nothing_makes_no_file(folder: RunFolder) -> None:
    folder.rewind(0)
    assert not folder.epochs.exists()


def test_a_result_comes_back_as_it_was_written(folder: RunFolder) -> None:
    assert folder.read_result() is None
    folder.write_result(RESULT)
    assert folder.read_result() == RESULT


def test_a_half_written_result_is_no_result(folder: RunFolder) -> None:
    folder.write_result(RESULT)
    whole = folder.result.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 3):
        folder.result.write_bytes(whole[:cut])
        assert folder.read_result() is None


def test_a_result_names_its_format_and_state_first(folder: RunFolder) -> None:
    folder.write_result(RESULT)
    assert folder.result.read_text().startswith('{\n  "format": 1,\n  "state": "done",\n')


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(folder: RunFolder) -> None:
    write_atomically(folder.result, b"old")

    def fail_half_way(file: object) -> None:
        file.write(b"new, but not all of")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        stream_atomically(folder.result, fail_half_way)
    assert folder.result.read_bytes() == b"old"
    assert list(folder.path.iterdir()) == [folder.result]


def test_a_process_killed_while_writing_leaves_the_old_file(folder: RunFolder) -> None:
    write_atomically(folder.result, b"old")
    killed = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from model.run_folder import stream_atomically\n"
        "def write(file):\n"
        "    file.write(b'new, but not all of')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "stream_atomically(Path(sys.argv[1]), write)\n"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(folder.result)], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert folder.result.read_bytes() == b"old"


def test_writing_replaces_the_file_makes_its_folder_and_lets_others_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_the_log_tail_is_its_last_lines(folder: RunFolder) -> None:
    assert folder.log_tail() == []
    folder.log.write_bytes(b"one\ntwo\nthree \xff\n")
    assert folder.log_tail(2) == ["two", "three \N{REPLACEMENT CHARACTER}"]


def test_a_run_folder_has_the_files_of_the_contract(folder: RunFolder) -> None:
    names = [
        path.name
        for path in (
            folder.config,
            folder.provenance,
            folder.epochs,
            folder.checkpoint,
            folder.predictions,
            folder.result,
            folder.log,
            folder.lock,
        )
    ]
    assert names == [
        "config.json",
        "provenance.json",
        "epochs.jsonl",
        "checkpoint.pt",
        "predictions.npz",
        "result.json",
        "train.log",
        "job.lock",
    ]


def test_reading_a_run_folder_loads_no_torch() -> None:
    check = "import sys, model.run_folder, model.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_result_of_another_version_is_told_and_not_trained_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.result.write_text('{"format": 2, "state": "done", "how": "otherwise"}')
    with pytest.raises(ValueError, match=r"result\.json: this is no result of this version of Knockout"):
        folder.read_result()


def test_a_record_older_than_a_field_is_still_read(folder: RunFolder) -> None:
    folder.append_epoch(record(1))
    line = msgspec.json.decode(folder.epochs.read_bytes())
    del line["data_seconds"]
    folder.epochs.write_bytes(msgspec.json.encode(line) + b"\n")
    assert folder.read_epochs() == [record(1, data_seconds=None)]


HOLDS = """
import os, sys
from pathlib import Path
from model.run_folder import RunFolder
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
    monkeypatch.setattr(run_folder, "LOCK_SECONDS", 0.0)


def test_nobody_holds_a_folder_without_a_lock_and_asking_makes_none(folder: RunFolder) -> None:
    assert folder.holder() is None
    assert list(folder.path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
def test_a_lock_says_who_holds_it_and_is_believed_only_while_it_is_held(folder: RunFolder) -> None:
    me = Holder(pid=os.getpid(), host=platform.node())
    with folder.hold():
        assert folder.holder() == me
    assert msgspec.json.decode(folder.lock.read_bytes(), type=Holder) == me
    assert folder.holder() is None
    with folder.hold():  # asking left no lock behind
        assert folder.holder() == me


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
        assert folder.holder() == Holder(pid=process.pid, host=platform.node())
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
        assert folder.holder() == Holder(pid=process.pid, host=platform.node())
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


@pytest.mark.parametrize("state", ["queued", "running", "interrupted", "cancelled", "paused"])
def test_a_result_of_a_run_that_has_not_ended_is_none_of_this_version(tmp_path: Path, state: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result(Result(state=state, reason="", epochs=1))
    with pytest.raises(ValueError, match=f"its state is `{state}`, wanted is one of done, too_slow, failed"):
        folder.read_result()
