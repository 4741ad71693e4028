"""The contract between the two halves: names, formats and atomic writes inside one run folder. No torch.

results/runs/E5-s0-3466db1c/
    config.json       orchestrator   the resolved, complete configuration
    order.json        orchestrator   what the queue needs to start the run: code, guards
    provenance.json   orchestrator   where code, data and environment came from
    epochs.jsonl      job            one `EpochRecord` a line
    probes.jsonl      orchestrator   each time that the run was timed against its reference
    checkpoint.pt     job            all that is needed to go on at the next epoch
    predictions.npz   job            per location: key, device, label, logits
    result.json       job, last      a `Result`; its existence means "finished"
    train.log         job            stdout and stderr
    job.lock          job            held while a job lives, and says which
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from model.config import JobConfig, decode_job
from model.files import stream_atomically, sync_folder, write_atomically
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
    "stream_atomically",
    "write_atomically",
]

RESULT_FORMAT = 1
ENDED = ("done", "too_slow", "failed")
"""States of a run that has ended, as a result may tell them."""
MAX_TAIL_BYTES = 16 * 2**10
"""Of a log's last lines, in all."""
MAX_LINE_CHARACTERS = 1000
"""Of a line of a log that is shown; a progress bar can write megabytes without ending a line."""
SET_ASIDE = ".set-aside"
"""What is put behind the name of a file that cannot be gone on from."""


class EpochRecord(Struct, frozen=True, kw_only=True):
    """One finished epoch, a line of `epochs.jsonl`. `epoch` counts from 1; numbers a loss can spoil may be null."""

    epoch: int
    seconds: float
    cpu_seconds: float | None = None
    """Processor time of the job; null on CUDA, where it says nothing about the work."""
    data_seconds: float | None = None
    """Seconds of the epoch in which training waited for its next batch; null in records older than the field."""
    train_loss: float | None
    val_loss: float | None
    val_accuracy: float
    learning_rate: float
    grad_norm: float | None
    skipped_steps: int
    bursts_per_second: float
    peak_memory_bytes: int


class LocationScore(Struct, frozen=True, kw_only=True):
    """How a run did on one capture: `correct` of `bursts`; `accuracy` is a share of 1."""

    bursts: int
    correct: int
    accuracy: float
    loss: float | None


class Result(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`result.json`: how a run ended. A guard's stop is a result as well, without scores."""

    format: int = RESULT_FORMAT
    state: str
    reason: str
    failure: str | None = None
    best_epoch: int | None = None
    epochs: int
    scores: dict[str, LocationScore] = {}


@dataclass(frozen=True)
class RunFolder:
    """The one owner of the file names inside a run folder.

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
    def order(self) -> Path:
        """What the queue needs to start the run, written by the orchestrator."""
        return self.path / "order.json"

    @property
    def provenance(self) -> Path:
        """Where code, data and environment came from, written by the orchestrator."""
        return self.path / "provenance.json"

    @property
    def epochs(self) -> Path:
        """One line an epoch, written by the job."""
        return self.path / "epochs.jsonl"

    @property
    def probes(self) -> Path:
        """One line for each time that the run was timed against its reference, written by the orchestrator."""
        return self.path / "probes.jsonl"

    @property
    def checkpoint(self) -> Path:
        """All that is needed to go on at the next epoch, written by the job."""
        return self.path / "checkpoint.pt"

    @property
    def predictions(self) -> Path:
        """Per location: burst key, device, label and logits, written by the job."""
        return self.path / "predictions.npz"

    @property
    def result(self) -> Path:
        """How the run ended; written last, so that its existence means "finished"."""
        return self.path / "result.json"

    @property
    def log(self) -> Path:
        """What the job printed."""
        return self.path / "train.log"

    @property
    def lock(self) -> Path:
        """Locked while a job lives, and says which; the file stays, and is believed only while it is locked."""
        return self.path / "job.lock"

    @contextmanager
    def hold(self) -> Iterator["RunFolder"]:
        """Keep every other job out of the folder; yields the folder through which this job writes.

        Raises:
            HeldError: another job holds it, and goes on to.
            OSError: the lock cannot be written.
        """
        with job_lock.hold(self.lock) as mine:
            self._sweep()
            yield replace(self, held_as=mine)

    def _sweep(self) -> None:
        """Remove what was half written when a job or its worker was killed; nobody writes these once a job holds."""
        for whole in (self.provenance, self.epochs, self.checkpoint, self.predictions, self.result):
            for half in self.path.glob(f".{whole.name}.*"):
                half.unlink(missing_ok=True)

    def holder(self) -> Holder | None:
        """Return the living job that holds the folder; None if nobody does.

        Raises:
            HeldError: something holds it that does not say what it is.
            OSError: the lock cannot be read.
        """
        return job_lock.find_holder(self.lock)

    def last_holder(self) -> Holder | None:
        """Return the job that held the folder last, whether it lives or not."""
        return job_lock.last_holder(self.lock)

    def require_hold(self) -> None:
        """Refuse to write where another job has taken the folder since this one did.

        Raises:
            HeldError: names that job.
        """
        if self.held_as is not None:
            job_lock.require_hold(self.lock, self.held_as)

    def read_config(self) -> JobConfig:
        """Read and check `config.json`."""
        return decode_job(self.config.read_bytes())

    def read_result(self) -> Result | None:
        """Read `result.json`; None while there is none, or only a torn one.

        Raises:
            ValueError: it is whole, but not of this version; training again would destroy it.
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
        """Rename a file of the folder that cannot be gone on from; return its new name. An older one gives way."""
        aside = path.with_name(path.name + SET_ASIDE)
        path.replace(aside)
        return aside

    def set_result_aside(self) -> Path:
        """Set aside a result that is not believed, and its predictions; return the result's new name.

        The result goes first: without it, what is left can only be gone on from.
        """
        for path in (self.result, self.predictions):
            with contextlib.suppress(FileNotFoundError):  # another command may have set it aside just now
                self.set_aside(path)
        return self.result.with_name(self.result.name + SET_ASIDE)

    def append_epoch(self, record: EpochRecord) -> None:
        """Add a line to `epochs.jsonl` and see it on the disk; a torn last line is cut off first."""
        self.require_hold()
        is_new = not self.epochs.exists()
        with self.epochs.open("ab+") as file:
            _cut_torn_line(file)
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path)

    def read_epochs(self) -> list[EpochRecord]:
        """Read the finished epochs, oldest first; a torn last line is not finished and not read.

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
        """Make `epochs.jsonl` say what a checkpoint holds: epochs after it are trained again, lost lines come back."""
        wanted = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        now = self.epochs.read_bytes() if self.epochs.exists() else b""
        if now != wanted:
            self._write_whole(self.epochs, wanted)

    def log_tail(self, num_lines: int = 40) -> list[str]:
        """Return the last lines of `train.log`, for the message about a job that died; at most `MAX_TAIL_BYTES`."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - MAX_TAIL_BYTES)
            file.seek(start)
            lines = file.read(MAX_TAIL_BYTES).decode(errors="replace").splitlines()
        # The first line began before what was read.
        return [_shorten(line) for line in (lines[1:] if start and len(lines) > 1 else lines)[-num_lines:]]


def require_in_order(records: Sequence[EpochRecord], where: Path) -> None:
    """Refuse epochs that do not count 1, 2, 3, ...: a line was lost, or written twice.

    Raises:
        ValueError: says which, and where.
    """
    for number, record in enumerate(records, start=1):
        if record.epoch != number:
            raise ValueError(f"{where}: record {number} is of epoch {record.epoch}; epochs must count 1, 2, 3, ...")


def _shorten(line: str) -> str:
    """Keep the end of a line that is too long to be shown: there a progress bar says where it is."""
    left_out = len(line) - MAX_LINE_CHARACTERS
    return line if left_out <= 0 else f"[{left_out} characters left out] {line[-MAX_LINE_CHARACTERS:]}"


def _cut_torn_line(file: BinaryIO) -> None:
    file.seek(0)
    content = file.read()
    if content and not content.endswith(b"\n"):
        file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
