"""Law 3 of DESIGN.md: "kill -9 anywhere loses no finished epoch.\""""

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.files import stream_atomically, write_atomically
from model.train import run_folder
from model.train.run_folder import (
    EpochRecord,
    LocationScore,
    Result,
    RunFolder,
)

ROOT = Path(__file__).parents[3]


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
        following = record(len(finished) + 1)
        folder.append_epoch(following)
        assert folder.read_epochs() == [*finished, following]


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


@pytest.mark.parametrize("numbers", [(1, 1, 2), (1, 3), (2, 3), (1, 2, 2)])
def test_epochs_that_do_not_count_from_one_are_refused(folder: RunFolder, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        folder.append_epoch(record(number))
    with pytest.raises(ValueError, match=r"epochs must count 1, 2, 3"):
        folder.read_epochs()


@pytest.mark.parametrize("num_epochs", [0, 1, 3, 4])
def test_epochs_are_made_what_a_checkpoint_holds(three_epochs: RunFolder, num_epochs: int) -> None:
    records = [record(epoch) for epoch in range(1, num_epochs + 1)]
    three_epochs.restore_epochs(records)
    assert three_epochs.read_epochs() == records


def test_lines_that_cannot_be_read_give_way_to_a_checkpoint(three_epochs: RunFolder) -> None:
    three_epochs.epochs.write_bytes(b"\0" * 40 + b"\n" + three_epochs.epochs.read_bytes() * 3)
    three_epochs.restore_epochs([record(1), record(2)])
    assert three_epochs.read_epochs() == [record(1), record(2)]


def test_epochs_that_are_so_already_are_not_written(three_epochs: RunFolder) -> None:
    before = three_epochs.epochs.stat()
    three_epochs.restore_epochs([record(1), record(2), record(3)])
    after = three_epochs.epochs.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_restoring_nothing_makes_no_file(folder: RunFolder) -> None:
    folder.restore_epochs([])
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
        "from model.files import stream_atomically\n"
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
    check = "import sys, model.train.run_folder, model.config; print('torch' in sys.modules)"
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


@pytest.mark.parametrize("state", ["queued", "running", "interrupted", "cancelled", "paused"])
def test_a_result_of_a_run_that_has_not_ended_is_none_of_this_version(tmp_path: Path, state: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result(Result(state=state, reason="", epochs=1))
    with pytest.raises(ValueError, match=f"its state is `{state}`, wanted is one of done, too_slow, failed"):
        folder.read_result()
