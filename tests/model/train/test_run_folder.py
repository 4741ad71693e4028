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
from model.train.run_folder import EpochRecord, RunFolder
from tests.contract.halves import MODEL
from tests.contract.run_folder import RunFolderContract

ROOT = Path(__file__).parents[3]


record = MODEL.record


class TestRunFolder(RunFolderContract):
    half = MODEL


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


def test_reading_a_run_folder_loads_no_torch() -> None:
    check = "import sys, model.train.run_folder, model.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
