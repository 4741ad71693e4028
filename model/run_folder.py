"""The contract between the two halves: names, formats and atomic writes inside one run folder. No torch.

results/runs/E5-s0-3466db1c/
    config.json       orchestrator   the resolved, complete configuration
    provenance.json   orchestrator   where code, data and environment came from
    epochs.jsonl      job            one `EpochRecord` a line
    checkpoint.pt     job            all that is needed to go on at the next epoch
    predictions.npz   job            per location: key, device, label, logits
    result.json       job, last      a `Result`; its existence means "finished"
    train.log         job            stdout and stderr
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from model.config import JobConfig, decode_job

RESULT_FORMAT = 1


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
    """The one owner of the file names inside a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, written by the orchestrator."""
        return self.path / "config.json"

    @property
    def provenance(self) -> Path:
        """Where code, data and environment came from, written by the orchestrator."""
        return self.path / "provenance.json"

    @property
    def epochs(self) -> Path:
        """One line an epoch, written by the job."""
        return self.path / "epochs.jsonl"

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

    def read_config(self) -> JobConfig:
        """Read and check `config.json`."""
        return decode_job(self.config.read_bytes())

    def read_result(self) -> Result | None:
        """Read `result.json`; None while there is none, or only a torn one.

        Raises:
            ValueError: it is whole, but not of this version; training again would destroy it.
        """
        try:
            return msgspec.json.decode(self.result.read_bytes(), type=Result)
        except FileNotFoundError:
            return None
        except msgspec.ValidationError as error:
            raise ValueError(f"{self.result}: this is no result of this version of Knockout ({error})") from None
        except msgspec.DecodeError:
            return None

    def write_result(self, result: Result) -> None:
        """Write `result.json` atomically."""
        write_atomically(self.result, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")

    def append_epoch(self, record: EpochRecord) -> None:
        """Add a line to `epochs.jsonl` and see it on the disk; a torn last line is cut off first."""
        with self.epochs.open("ab+") as file:
            _cut_torn_line(file)
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read_epochs(self) -> list[EpochRecord]:
        """Read the finished epochs, oldest first; a torn last line is not finished and not read."""
        if not self.epochs.exists():
            return []
        complete, newline, _ = self.epochs.read_bytes().rpartition(b"\n")
        lines = complete.splitlines() if newline else []
        return [msgspec.json.decode(line, type=EpochRecord) for line in lines]

    def rewind(self, num_epochs: int) -> None:
        """Keep only the first `num_epochs` lines: an epoch after the last checkpoint is trained again."""
        records = self.read_epochs()
        if len(records) > num_epochs:
            kept = b"".join(msgspec.json.encode(record) + b"\n" for record in records[:num_epochs])
            write_atomically(self.epochs, kept)

    def log_tail(self, num_lines: int = 40) -> list[str]:
        """Return the last lines of `train.log`, for the message about a job that died."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-num_lines:]


def _cut_torn_line(file: BinaryIO) -> None:
    file.seek(0)
    content = file.read()
    if content and not content.endswith(b"\n"):
        file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file by temporary name, fsync and replace: a reader sees all of it or the old one."""
    stream_atomically(path, lambda file: file.write(content))


def stream_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place; a failure leaves `path` as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
