"""One job at a time writes a run folder, and an old one stops where another has taken over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.train.job_lock import HeldError
from model.train.run_folder import RunFolder
from tests.contract.halves import MODEL
from tests.contract.job_lock import JobLockContract, overtake

WRITES: dict[str, Callable[[RunFolder], object]] = {
    "epochs.jsonl": lambda folder: folder.append_epoch(MODEL.record()),
    "checkpoint.pt": lambda folder: folder.write_checkpoint(lambda file: file.write(b"late")),
    "predictions.npz": lambda folder: folder.write_predictions(lambda file: file.write(b"late")),
    "result.json": lambda folder: folder.write_result(MODEL.result()),
}


class TestJobLock(JobLockContract):
    half = MODEL


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


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
