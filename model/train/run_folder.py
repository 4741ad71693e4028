"""The files of one run folder, as a job reads and writes them: the contract between orchestrator and job. No torch.

The orchestrator has its own reader and writer of these files. A contract test holds the two together.

The orchestrator writes these files of, for example, `results/runs/E5-s0-3466db1c/`, and others of its own:

- `config.json`: the resolved, complete configuration, as `model.config.RunConfig` says.
- `provenance.json`: the origin of code, data and environment.

The job writes these:

- `epochs.jsonl`: one `EpochRecord` a line.
- `checkpoint.pt`: all that the next epoch needs.
- `predictions.npz`: key, device, label and logits for each location.
- `result.json`: a `Result`, written last; its existence means "finished".
- `train.log`: stdout and stderr.
- `job.lock`: locked while a job lives, and names that job.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from model.config import JobConfig, decode_run
from model.files import stream_atomically, sync_folder
from model.train import job_lock
from model.train.job_lock import HeldError, Holder

__all__ = [
    "EpochRecord",
    "HeldError",
    "Holder",
    "LocationScore",
    "Result",
    "RunFolder",
    "require_in_order",
]

RESULT_FORMAT = 1
ENDED = ("done", "too_slow", "failed")
"""States of a result: a run that has ended."""
SET_ASIDE = ".set-aside"
"""Suffix of a file from which training cannot continue."""


class EpochRecord(Struct, frozen=True, kw_only=True):
    """One finished epoch, a line of `epochs.jsonl`. `epoch` counts from 1; a number that is not finite is null."""

    epoch: int
    seconds: float
    cpu_seconds: float | None = None
    """Seconds of processor time; null on CUDA, where the processor does not do the work."""
    data_seconds: float | None = None
    """Seconds of the epoch spent waiting for batches; null in records older than the field."""
    train_loss: float | None
    val_loss: float | None
    val_accuracy: float
    learning_rate: float
    grad_norm: float | None
    skipped_steps: int
    bursts_per_second: float
    peak_memory_bytes: int


class LocationScore(Struct, frozen=True, kw_only=True):
    """A run's score on one capture: `correct` of `bursts`; `accuracy` is their quotient, from 0 to 1."""

    bursts: int
    correct: int
    accuracy: float
    loss: float | None


class Result(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`result.json`: how a run ended. A run that a guard stopped has a result too, without scores."""

    format: int = RESULT_FORMAT
    state: str
    reason: str
    failure: str | None = None
    best_epoch: int | None = None
    epochs: int
    scores: dict[str, LocationScore] = {}


@dataclass(frozen=True)
class RunFolder:
    """The only place that knows the file names inside a run folder.

    Attributes:
        path: the folder.
        held_as: the job that holds the folder and writes through this; None for everybody else.
    """

    path: Path
    held_as: Holder | None = field(default=None, kw_only=True)

    @property
    def config(self) -> Path:
        """The resolved configuration, written by the orchestrator."""
        return self.path / "config.json"

    @property
    def provenance(self) -> Path:
        """Origin of code, data and environment, written by the orchestrator."""
        return self.path / "provenance.json"

    @property
    def epochs(self) -> Path:
        """One line an epoch, written by the job."""
        return self.path / "epochs.jsonl"

    @property
    def checkpoint(self) -> Path:
        """All that the next epoch needs, written by the job."""
        return self.path / "checkpoint.pt"

    @property
    def predictions(self) -> Path:
        """Per location: burst key, device, label and logits, written by the job."""
        return self.path / "predictions.npz"

    @property
    def result(self) -> Path:
        """How the run ended, written last; its existence means "finished"."""
        return self.path / "result.json"

    @property
    def log(self) -> Path:
        """The job's stdout and stderr."""
        return self.path / "train.log"

    @property
    def lock(self) -> Path:
        """The lock of a living job, which it names. The file stays afterwards, and counts only while it is locked."""
        return self.path / "job.lock"

    @contextmanager
    def hold(self) -> Iterator["RunFolder"]:
        """Keep every other job out of the folder; yield the folder through which this job writes.

        Raises:
            HeldError: another job holds it and does not let go.
            OSError: the lock cannot be written.
        """
        with job_lock.hold(self.lock) as mine:
            self._sweep()
            yield replace(self, held_as=mine)

    def _sweep(self) -> None:
        """Remove half-written files of killed jobs and workers; only the holder of the lock writes these files."""
        for whole in (self.provenance, self.epochs, self.checkpoint, self.predictions, self.result):
            for half in self.path.glob(f".{whole.name}.*"):
                half.unlink(missing_ok=True)

    def require_hold(self) -> None:
        """Refuse to write if another job has taken the folder over.

        Raises:
            HeldError: names that job.
        """
        if self.held_as is not None:
            job_lock.require_hold(self.lock, self.held_as)

    def read_config(self) -> JobConfig:
        """Read and check `config.json`."""
        return decode_run(self.config.read_bytes())

    def read_result(self) -> Result | None:
        """Read `result.json`; None if there is none, or only a torn one.

        Raises:
            ValueError: it is whole but of another version. Training again would destroy it, so nobody may.
        """
        try:
            result = msgspec.json.decode(self.result.read_bytes(), type=Result)
        except FileNotFoundError:
            return None
        except msgspec.ValidationError as error:
            raise ValueError(f"{self.result}: this is no result of this version of Knockout ({error})") from None
        except msgspec.DecodeError:
            return None
        if result.state not in ENDED:
            what = f"its state is `{result.state}`, wanted is one of {', '.join(ENDED)}"
            raise ValueError(f"{self.result}: this is no result of this version of Knockout ({what})")
        return result

    def write_result(self, result: Result) -> None:
        """Write `result.json` atomically."""
        self._write_whole(self.result, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")

    def write_checkpoint(self, write: Callable[[BinaryIO], object]) -> None:
        """Let `write` fill `checkpoint.pt`, atomically."""
        stream_atomically(self.checkpoint, write, self.require_hold)

    def write_predictions(self, write: Callable[[BinaryIO], object]) -> None:
        """Let `write` fill `predictions.npz`, atomically."""
        stream_atomically(self.predictions, write, self.require_hold)

    def _write_whole(self, path: Path, content: bytes) -> None:
        stream_atomically(path, lambda file: file.write(content), self.require_hold)

    def set_aside(self, path: Path) -> Path:
        """Rename a file from which training cannot continue; return its new name. It replaces an older one."""
        aside = path.with_name(path.name + SET_ASIDE)
        path.replace(aside)
        return aside

    def append_epoch(self, record: EpochRecord) -> None:
        """Add a line to `epochs.jsonl` and flush it to the disk; a torn last line is cut off first."""
        self.require_hold()
        is_new = not self.epochs.exists()
        with self.epochs.open("ab+") as file:
            # A job killed while writing leaves half a line. Appending to it would spoil two epochs.
            _cut_torn_line(file)
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            # A new file's name is on the disk only after its folder is flushed too.
            sync_folder(self.path)

    def read_epochs(self) -> list[EpochRecord]:
        """Read the finished epochs, oldest first; a torn last line is ignored.

        Raises:
            ValueError: a finished line cannot be read, or the epochs do not count 1, 2, 3, ...
        """
        if not self.epochs.exists():
            return []
        complete, newline, _ = self.epochs.read_bytes().rpartition(b"\n")
        lines = complete.split(b"\n") if newline else []
        records = [msgspec.json.decode(line, type=EpochRecord) for line in lines]
        require_in_order(records, self.epochs)
        return records

    def restore_epochs(self, records: Sequence[EpochRecord]) -> None:
        """Give `epochs.jsonl` the epochs of a checkpoint: remove later epochs, and write lost lines again."""
        wanted = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        now = self.epochs.read_bytes() if self.epochs.exists() else b""
        if now != wanted:
            self._write_whole(self.epochs, wanted)


def require_in_order(records: Sequence[EpochRecord], where: Path) -> None:
    """Refuse epochs that do not count 1, 2, 3, ..., because a line was lost or written twice.

    Raises:
        ValueError: names the record and the file.
    """
    for number, record in enumerate(records, start=1):
        if record.epoch != number:
            raise ValueError(f"{where}: record {number} is of epoch {record.epoch}; epochs must count 1, 2, 3, ...")


def _cut_torn_line(file: BinaryIO) -> None:
    file.seek(0)
    content = file.read()
    if content and not content.endswith(b"\n"):
        file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
