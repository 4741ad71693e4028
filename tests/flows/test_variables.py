"""The value of a variable in a capture's path stands nowhere but in the call that opens the file."""

import shutil
from pathlib import Path

import h5py
import pytest

from tests.builders.study_harness import BASE, Study

SECRET = "hunter2-correct-horse"
"""What the variable holds: a folder of captures, and a word that nobody should read."""
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
WRITTEN = "${KNOCKOUT_TEST_SECRET}/LocD.h5"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path, KNOCKOUT_TEST_SECRET=str(tmp_path / SECRET))
    study.write_campaign(BASE, PATHS)
    study.copy_model()
    study.make_repository()
    return study


def find_secret(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def all_objects(study: Study) -> str:
    """Everything that git holds, as text."""
    hashes = study.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    return "\n".join(study.git("cat-file", "-p", name) for name in hashes)


def test_the_value_is_neither_printed_nor_written_nor_committed(study: Study, tmp_path: Path) -> None:
    commands = ("plan",), ("run",), ("report",), ("show", "E5"), ("why", "E5"), ("data", "shard", "--out", "shards")
    said = [study.knockout(*words) for words in commands]
    assert [done.returncode for done in said] == [0] * len(said), [done.stderr for done in said]
    # Where it is wrong, a sentence names the variable.
    (tmp_path / SECRET / "LocD.h5").write_bytes(b"no HDF5")
    said += [study.knockout(*words) for words in (("plan",), ("run",))]
    assert WRITTEN in said[-1].stderr
    assert not [done.args for done in said if SECRET in done.stdout + done.stderr]
    assert sorted(path.name for path in (tmp_path / SECRET).iterdir())
    assert find_secret(study.repo) == []
    objects = all_objects(study)
    assert "${KNOCKOUT_TEST_SECRET}/LocA.h5" in objects
    assert SECRET not in objects


def test_captures_that_do_not_go_together_are_told_without_the_value(study: Study, tmp_path: Path) -> None:
    assert SECRET not in study.must("data", "shard", "--out", "shards")
    trained, reported = (tmp_path / SECRET / name for name in ("LocA.h5", "LocD.h5"))
    kept = reported.read_bytes()

    def refused(words: str) -> None:
        done = study.knockout("run")
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
        assert WRITTEN in done.stderr
        assert SECRET not in done.stdout + done.stderr

    shutil.copy(trained, reported)
    refused("share 60 bursts by content")
    reported.write_bytes(kept)
    with h5py.File(reported, "r+") as file:
        file.attrs["sample_rate"] = 2e6
    refused("all captures need one rate")
    reported.unlink()
    reported.mkdir()
    refused("is a folder, it must be a file")
    assert find_secret(study.repo) == []
