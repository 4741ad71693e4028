"""The value of a variable in a capture's path is used to open the file, and is shown and written nowhere."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

from tests.builders.study_harness import BASE, Study

SECRET = "hunter2-correct-horse"
"""Value of the variable: the folder of the captures, and a word that nobody should read."""
PATHS = """\
seeds: 1
data:
  captures:
    LocA: {path: "${KNOCKOUT_TEST_SECRET}/LocA.h5"}
    LocA-val: {path: "${KNOCKOUT_TEST_SECRET}/LocA.h5"}
    LocD: {path: "${KNOCKOUT_TEST_SECRET}/LocD.h5"}
baseline:
  optim: {epochs: 1}
"""
COMMANDS = ("plan",), ("run",), ("report",), ("show", "E5"), ("why", "E5"), ("data", "shard", "--out", "shards")
WRITTEN = "${KNOCKOUT_TEST_SECRET}/LocD.h5"


def find_secret(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def all_objects(study: Study) -> str:
    """Return every object that git holds, as text."""
    hashes = study.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    return "\n".join(study.git("cat-file", "-p", name) for name in hashes)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Study, Path]]:
    """Return a study in which many commands have read the captures, and the folder of the captures."""
    folder = tmp_path_factory.mktemp("variables")
    study = Study(folder, KNOCKOUT_TEST_SECRET=str(folder / SECRET))
    study.write_campaign(BASE, PATHS)
    study.copy_model()
    study.make_repository()
    for words in COMMANDS:
        assert SECRET not in study.must(*words)
    yield study, folder / SECRET
    # The tests that spoil a capture must leave nothing either.
    assert find_secret(study.repo) == []


def test_the_value_is_neither_printed_nor_written_nor_committed(used: tuple[Study, Path]) -> None:
    study, folder = used
    assert {"LocA.h5", "LocD.h5"} <= {path.name for path in folder.iterdir()}
    assert find_secret(study.repo) == []
    objects = all_objects(study)
    assert "${KNOCKOUT_TEST_SECRET}/LocA.h5" in objects
    assert SECRET not in objects


def break_as_no_hdf5(folder: Path) -> None:
    (folder / "LocD.h5").write_bytes(b"no HDF5")


def break_as_a_copy(folder: Path) -> None:
    shutil.copy(folder / "LocA.h5", folder / "LocD.h5")


def break_by_another_rate(folder: Path) -> None:
    with h5py.File(folder / "LocD.h5", "r+") as file:
        file.attrs["sample_rate"] = 2e6


def break_by_a_folder(folder: Path) -> None:
    (folder / "LocD.h5").unlink()
    (folder / "LocD.h5").mkdir()


@pytest.mark.parametrize(
    ("break_capture", "message"),
    [
        (break_as_no_hdf5, "cannot be read as HDF5"),
        (break_as_a_copy, "share bursts; what is used to report must be unseen; these files have the same content"),
        (break_by_another_rate, "all captures need one rate"),
        (break_by_a_folder, "is a folder, it must be a file"),
    ],
)
def test_a_wrong_capture_is_named_without_the_value(
    used: tuple[Study, Path], break_capture: Callable[[Path], None], message: str
) -> None:
    study, folder = used
    capture = folder / "LocD.h5"
    content = capture.read_bytes()
    try:
        break_capture(folder)
        done = study.knockout("run")
    finally:
        if capture.is_dir():
            capture.rmdir()
        capture.write_bytes(content)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert WRITTEN in done.stderr
    assert SECRET not in done.stdout + done.stderr
