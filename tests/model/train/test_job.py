"""A run folder in, results in the run folder out."""

import errno
import io
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.batches import open_role
from model.endings import AWAY, CHANGED, HELD, INTERRUPTED, NO_SPACE, status_of
from model.studies.radio.study import RadioStudy
from model.train import job_lock
from model.train.checkpoint import read_checkpoint
from model.train.device import JobError
from model.train.job import (
    StopRequest,
    describe_out_of_memory,
    is_out_of_memory,
    run_job,
)
from model.train.run_folder import EpochRecord, Result, RunFolder
from tests.contract.job_lock import holder_of

FolderBuilder = Callable[..., RunFolder]
Epochs = Callable[[RunFolder], list[EpochRecord]]
Compare = Callable[[RunFolder, RunFolder], None]


class Killed(BaseException):
    """In place of kill -9: nothing after it is executed."""


class KilledBeforeTheLine(RunFolder):
    """A run folder whose job dies between the checkpoint of its second epoch and the line."""

    def append_epoch(self, record: EpochRecord) -> None:
        if record.epoch == 2:
            raise Killed
        super().append_epoch(record)


class AskedToStop(RunFolder):
    """A run folder whose job is asked to stop during its first epoch."""

    def append_epoch(self, record: EpochRecord) -> None:
        super().append_epoch(record)
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class KilledAfter(RunFolder):
    """A run folder whose job dies once an epoch is on record."""

    epoch: int

    def append_epoch(self, record: EpochRecord) -> None:
        super().append_epoch(record)
        if record.epoch == self.epoch:
            raise Killed


class KilledBeforeTheResult(RunFolder):
    """A run folder whose job dies once the predictions are written."""

    def write_result(self, result: Result) -> None:
        raise Killed


@dataclass(frozen=True)
class OutOfMemory(RunFolder):
    """A run folder whose job allocates more than there is right after its first epoch."""

    allocate: Callable[[], object]

    def append_epoch(self, record: EpochRecord) -> None:
        super().append_epoch(record)
        self.allocate()


def predictions(folder: RunFolder) -> dict[str, bytes]:
    with np.load(folder.predictions, allow_pickle=False) as arrays:
        return {name: arrays[name].tobytes() for name in arrays}


def when_written(folder: RunFolder) -> dict[str, tuple[int, int]]:
    """Inode and time of each file but the lock, which is taken before anything is looked at."""
    stats = {path.name: path.stat() for path in folder.path.iterdir() if path != folder.lock}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.fixture
def assert_same_run(timeless: Epochs) -> Compare:
    def check(folder: RunFolder, other: RunFolder) -> None:
        assert timeless(folder) == timeless(other)
        assert predictions(folder) == predictions(other)
        assert folder.read_result() == other.read_result()
        assert folder.read_result() is not None

    return check


def test_a_finished_run_has_the_files_of_the_contract(finished: RunFolder) -> None:
    assert {path.name for path in finished.path.iterdir()} == {
        "config.json",
        "epochs.jsonl",
        "checkpoint.pt",
        "predictions.npz",
        "result.json",
        "job.lock",
    }
    assert [record.epoch for record in finished.read_epochs()] == [1, 2, 3]


def test_the_result_scores_every_held_out_capture_at_the_best_epoch(finished: RunFolder) -> None:
    result = finished.read_result()
    losses = [record.val_loss for record in finished.read_epochs()]
    best = losses.index(min(losses)) + 1
    assert (result.format, result.state, result.failure) == (1, "done", None)
    assert (result.epochs, result.best_epoch) == (3, best)
    assert result.reason == f"all epochs trained; scored epoch {best} of 3, lowest validation loss"
    assert {name: score.bursts for name, score in result.scores.items()} == {"val": 24, "choose": 24, "report": 36}
    assert result.scores["val"].loss == pytest.approx(min(losses), rel=1e-6)
    assert result.scores["val"].accuracy == finished.read_epochs()[best - 1].val_accuracy


def test_predictions_hold_each_burst_and_tell_the_same_as_the_result(finished: RunFolder, captures: Path) -> None:
    result, data = finished.read_result(), finished.read_config().data
    with np.load(finished.predictions, allow_pickle=False) as arrays:
        assert set(arrays) == {
            f"{name}/{field}" for name in data.scored for field in ("key", "device", "label", "logits")
        }
        for name in data.scored:
            bursts = open_role(data, (name,), captures)
            key, device, label, logits = (arrays[f"{name}/{field}"] for field in ("key", "device", "label", "logits"))
            assert key.tolist() == bursts.keys.tolist()
            assert device.tolist() == bursts.devices.tolist()
            assert label.tolist() == (device - 2).tolist()
            assert (logits.dtype, logits.shape) == (np.float32, (len(bursts), 3))
            correct = (logits.argmax(1) == label).sum()
            score = result.scores[name]
            assert (score.correct, score.accuracy) == (correct, correct / len(bursts))


def test_the_same_job_gives_the_same_numbers(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, assert_same_run: Compare
) -> None:
    torch.manual_seed(5)
    again = build_folder("again")
    run_job(RadioStudy, again, captures)
    assert_same_run(again, finished)


def test_a_cosmetic_name_changes_no_number(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, assert_same_run: Compare
) -> None:
    renamed = build_folder("renamed", experiment="other", profile="other")
    run_job(RadioStudy, renamed, captures)
    assert_same_run(renamed, finished)


def test_a_job_asked_to_stop_finishes_its_epoch_and_goes_on_with_the_same_numbers(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, assert_same_run: Compare
) -> None:
    folder = build_folder("stopped")
    assert run_job(RadioStudy, AskedToStop(folder.path), captures) == INTERRUPTED
    assert len(folder.read_epochs()) == 1
    assert folder.read_result() is None
    assert not folder.predictions.exists()
    assert run_job(RadioStudy, folder, captures) == 0
    assert_same_run(folder, finished)


@pytest.mark.parametrize("deadly", [KilledBeforeTheLine, KilledBeforeTheResult])
def test_a_job_killed_between_two_files_goes_on_with_the_same_numbers(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, deadly: type[RunFolder], assert_same_run: Compare
) -> None:
    folder = build_folder("killed")
    with pytest.raises(Killed):
        run_job(RadioStudy, deadly(folder.path), captures)
    assert folder.read_result() is None
    assert run_job(RadioStudy, folder, captures) == 0
    assert_same_run(folder, finished)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_job_killed_where_no_checkpoint_was_due_goes_on_with_the_same_numbers(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, epoch: int, assert_same_run: Compare
) -> None:
    folder = build_folder("killed", runtime={"checkpoint_epochs": 2})
    with pytest.raises(Killed):
        run_job(RadioStudy, KilledAfter(folder.path, epoch), captures)
    told: list[str] = []
    assert run_job(RadioStudy, folder, captures, tell=told.append) == 0
    assert told[0] == f"baseline, seed 0, on cpu, from epoch {(1, 3, 4)[epoch - 1]}"
    assert_same_run(folder, finished)


def test_a_half_written_result_is_written_again(finished: RunFolder, captures: Path) -> None:
    result, before = finished.read_result(), predictions(finished)
    finished.result.write_bytes(finished.result.read_bytes()[:20])
    assert run_job(RadioStudy, finished, captures) == 0
    assert finished.read_result() == result
    assert predictions(finished) == before


def test_a_finished_run_is_never_trained_again(finished: RunFolder, tmp_path: Path) -> None:
    before = when_written(finished)
    assert run_job(RadioStudy, finished, tmp_path / "captures that are gone") == 0
    assert when_written(finished) == before


def test_a_loss_that_is_never_finite_ends_as_a_failure_with_its_reason(
    build_folder: FolderBuilder, captures: Path
) -> None:
    folder = build_folder(optim={"learning_rate": 1e30})
    assert run_job(RadioStudy, folder, captures) == 1
    assert folder.read_result() == Result(
        state="failed",
        failure="nonfinite",
        reason="epoch 2: only 0 of 5 steps had a finite loss and gradient",
        epochs=2,
    )
    assert len(folder.read_epochs()) == 2
    assert not folder.predictions.exists()


def test_running_out_of_patience_is_the_reason_of_a_result(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder(optim={"learning_rate": 0.3, "epochs": 50, "early_stopping": 2})
    assert run_job(RadioStudy, folder, captures) == 0
    result = folder.read_result()
    assert result.epochs == result.best_epoch + 2
    assert result.reason.startswith("no lower validation loss for 2 epochs; scored epoch ")


def test_a_control_with_shuffled_labels_is_scored_against_the_true_ones(
    build_folder: FolderBuilder, captures: Path
) -> None:
    folder = build_folder(data={"shuffled_labels": True}, optim={"epochs": 1})
    assert run_job(RadioStudy, folder, captures) == 0
    with np.load(folder.predictions, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["report/label"], arrays["report/device"] - 2)


def test_what_the_machine_cannot_do_is_refused_before_an_epoch(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder(runtime={"precision": "fp16"})
    with pytest.raises(JobError, match="trains in fp16, which needs a CUDA GPU, and this job has cpu"):
        run_job(RadioStudy, folder, captures, "cpu")
    assert folder.read_epochs() == []


def test_a_capture_that_is_away_lets_the_run_go_on_later(build_folder: FolderBuilder, tmp_path: Path) -> None:
    folder, told = build_folder(), list[str]()
    assert run_job(RadioStudy, folder, tmp_path, tell=told.append) == AWAY
    assert "here.h5: the capture file is not there; correct `path` in the campaign file" in told[-1]
    assert folder.read_epochs() == []


@dataclass(frozen=True)
class Replaced(RunFolder):
    """A run folder in which a capture is replaced once some epochs are on record."""

    capture: Path
    after: int

    def append_epoch(self, record: EpochRecord) -> None:
        super().append_epoch(record)
        if record.epoch == self.after:
            copy = self.capture.with_suffix(".copy")
            shutil.copy(self.capture, copy)
            copy.replace(self.capture)


@pytest.mark.parametrize("after", [1, 3])
def test_a_capture_that_is_replaced_meanwhile_ends_the_job_before_anything_more_is_saved(
    finished: RunFolder,
    build_folder: FolderBuilder,
    captures: Path,
    tmp_path: Path,
    assert_same_run: Compare,
    after: int,
) -> None:
    data = Path(shutil.copytree(captures, tmp_path / "data"))
    folder, told = build_folder(), list[str]()
    assert run_job(RadioStudy, Replaced(folder.path, data / "there.h5", after), data, tell=told.append) == CHANGED
    assert "there.h5: the capture has changed since it was opened" in told[-1]
    assert not folder.result.exists()
    assert not folder.predictions.exists()
    assert len(read_checkpoint(folder.checkpoint, "cpu")["records"]) == after
    assert run_job(RadioStudy, folder, data) == 0
    assert_same_run(folder, finished)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_request_is_remembered_and_a_second_ends_the_job(number: signal.Signals) -> None:
    stop = StopRequest()
    assert not stop()
    os.kill(os.getpid(), number)
    assert stop()
    assert threading.current_thread() is threading.main_thread()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_copies_at_test_time_change_the_final_scores_and_no_epoch(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, timeless: Epochs, assert_same_run: Compare
) -> None:
    test_time = {"copies": 2, "noise": {"min_snr_db": 0.0, "max_snr_db": 10.0}}
    folder, again = (build_folder(name, test_time=test_time) for name in ("copies", "again"))
    assert run_job(RadioStudy, folder, captures) == run_job(RadioStudy, again, captures) == 0
    assert_same_run(again, folder)
    assert timeless(folder) == timeless(finished)
    for name, score in folder.read_result().scores.items():
        assert score.loss != finished.read_result().scores[name].loss
    with np.load(folder.predictions, allow_pickle=False) as arrays:
        assert np.allclose(np.exp(arrays["report/logits"]).sum(1), 1.0, atol=1e-6)


def allocate_on_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\n GPU 0 has 1.00 GiB free.")


ALLOCATIONS = {
    # More bytes than an address has room for: refused at once, whatever the machine.
    "torch": (lambda: torch.empty(2**57, dtype=torch.uint8), f"you tried to allocate {2**57} bytes"),
    "numpy": (lambda: np.empty(2**57, dtype=np.uint8), "Unable to allocate 128. PiB for an array"),
    "cuda": (allocate_on_cuda, ": CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free."),
}


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_memory_that_runs_out_ends_the_run_with_what_was_asked(
    build_folder: FolderBuilder, captures: Path, name: str
) -> None:
    allocate, words = ALLOCATIONS[name]
    folder = build_folder()
    assert run_job(RadioStudy, OutOfMemory(folder.path, allocate), captures) == 1
    result = folder.read_result()
    assert (result.state, result.failure, result.epochs) == ("failed", "out_of_memory", 1)
    assert result.reason.startswith("the job ran out of memory after epoch 1: ")
    assert words in result.reason
    assert "\n" not in result.reason


def test_a_run_whose_memory_ran_out_goes_on_with_the_same_numbers_once_its_result_is_taken_away(
    finished: RunFolder, build_folder: FolderBuilder, captures: Path, assert_same_run: Compare
) -> None:
    folder = build_folder("again")
    assert run_job(RadioStudy, OutOfMemory(folder.path, allocate_on_cuda), captures) == 1
    folder.result.unlink()
    assert run_job(RadioStudy, folder, captures) == 0
    assert_same_run(folder, finished)


def allocate_nothing() -> None:
    raise RuntimeError("shapes differ")


def test_another_error_is_not_taken_for_memory_that_ran_out(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder()
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_job(RadioStudy, OutOfMemory(folder.path, allocate_nothing), captures)
    assert folder.read_result() is None


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("backend='inductor' raised: OutOfMemoryError: CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (OSError("CUDA error: out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_known_by_class_or_by_torchs_words(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_memory_that_runs_out_at_the_start_is_told_without_an_epoch() -> None:
    assert describe_out_of_memory(MemoryError(), 0) == "the job ran out of memory before the end of the first epoch"


def test_a_job_leaves_a_folder_as_it_is_that_another_job_holds(
    build_folder: FolderBuilder, captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lock, "LOCK_SECONDS", 0.0)
    folder = build_folder()
    told: list[str] = []
    with folder.hold():
        before = when_written(folder)
        assert run_job(RadioStudy, folder, captures, tell=told.append) == HELD
        assert when_written(folder) == before
        assert holder_of(folder).pid == os.getpid()
    assert told == [
        f"{folder.path}: process {os.getpid()} on {os.uname().nodename} is at work on this run; "
        "let it end, or end it, and run again to go on"
    ]


def test_a_job_holds_its_folder_until_it_ends(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder(optim={"epochs": 1})
    seen = []
    assert run_job(RadioStudy, OutOfMemory(folder.path, lambda: seen.append(holder_of(folder))), captures) == 0
    assert [holder.pid for holder in seen] == [os.getpid()]
    assert holder_of(folder) is None


FILE_LIMITS = resource.getrlimit(resource.RLIMIT_FSIZE)


def limit_files(num_bytes: int) -> None:
    """Let no file of this process grow beyond that: a disk that fills up, on any machine."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def lift_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, FILE_LIMITS)


@pytest.fixture
def _limited() -> Iterator[None]:
    yield
    lift_limit()


@dataclass(frozen=True)
class DiskFull(RunFolder):
    """A run folder on a disk that is full by the time that something is written."""

    at: str

    def append_epoch(self, record: EpochRecord) -> None:
        if (self.at, record.epoch) == ("line", 2):
            limit_files(self.epochs.stat().st_size + 100)
        super().append_epoch(record)
        if (self.at, record.epoch) in (("checkpoint", 1), ("predictions", 3)):
            limit_files(1000 + self.epochs.stat().st_size)

    def write_result(self, result: Result) -> None:
        limit_files(100)
        super().write_result(result)


NUM_FINISHED = {"checkpoint": 1, "line": 1, "predictions": 3, "result": 3}
"""File that the disk is too full for -> epochs on record then."""


@pytest.mark.usefixtures("_limited")
@pytest.mark.parametrize("at", NUM_FINISHED)
def test_a_full_disk_ends_the_job_with_what_is_finished_and_it_goes_on_with_the_same_numbers(
    finished: RunFolder,
    build_folder: FolderBuilder,
    captures: Path,
    at: str,
    assert_same_run: Compare,
) -> None:
    folder = build_folder("full")
    told: list[str] = []
    assert run_job(RadioStudy, DiskFull(folder.path, at), captures, tell=told.append) == NO_SPACE
    lift_limit()
    assert told[-1] == f"the disk is full: File too large in {folder.path}, free some and run again to go on"
    assert len(folder.read_epochs()) == NUM_FINISHED[at]
    assert not folder.result.exists()
    assert folder.predictions.exists() == (at == "result")
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".")]
    assert len(torch.load(folder.checkpoint, weights_only=True)["records"]) == NUM_FINISHED[at] + (at == "line")
    assert run_job(RadioStudy, folder, captures) == 0
    assert_same_run(folder, finished)


@pytest.mark.usefixtures("_limited")
def test_a_disk_too_full_to_say_who_holds_the_folder_changes_nothing(
    build_folder: FolderBuilder, captures: Path
) -> None:
    folder = build_folder()
    before = when_written(folder)
    limit_files(3)
    assert run_job(RadioStudy, folder, captures) == NO_SPACE
    lift_limit()
    assert when_written(folder) == before
    assert holder_of(folder) is None


def test_a_log_on_a_full_disk_does_not_hide_how_the_job_ended(build_folder: FolderBuilder, captures: Path) -> None:
    def tell(line: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert run_job(RadioStudy, build_folder(), captures, tell=tell) == NO_SPACE


class Filling(io.BytesIO):
    """A file on a disk with little space."""

    def write(self, content: bytes) -> int:
        if self.tell() + len(content) > 2000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


def test_a_full_disk_is_known_behind_the_error_that_torch_makes_of_it() -> None:
    with pytest.raises(RuntimeError, match="unexpected pos") as caught:
        torch.save({"weights": torch.zeros(10_000)}, Filling())
    assert status_of(caught.value) == NO_SPACE


def test_an_error_of_the_system_that_can_pass_ends_the_job_so_that_it_goes_on(
    build_folder: FolderBuilder, captures: Path
) -> None:
    def fail() -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/share/checkpoint.pt")

    folder, told = build_folder(), list[str]()
    assert run_job(RadioStudy, OutOfMemory(folder.path, fail), captures, tell=told.append) == AWAY
    assert told[-1] == (
        "the system refused: /share/checkpoint.pt: Stale file handle; run again to go on once that is mended"
    )
    assert not folder.result.exists()
    assert holder_of(folder) is None
