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
import fcntl
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from model.config import JobConfig, decode_job

RESULT_FORMAT = 1
NO_SPACE = 74
"""Exit status of a job that could not write because the disk is full; it can go on (EX_IOERR of sysexits.h)."""
HELD = 75
"""Exit status of a job whose folder another job holds; it changed nothing (EX_TEMPFAIL of sysexits.h)."""
LOCK_SECONDS = 3.0
"""Longest wait for a lock: that of a job that is being killed is free a moment later."""
LOCK_POLL_SECONDS = 0.02


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


class Holder(Struct, frozen=True, kw_only=True):
    """The job that holds a run folder: its process, and the machine that it runs on."""

    pid: int
    host: str


class HeldError(Exception):
    """Another job holds the run folder; a sentence for the log."""


@dataclass(frozen=True)
class RunFolder:
    """The one owner of the file names inside a run folder."""

    path: Path

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
    def hold(self) -> Iterator[None]:
        """Keep every other job out of the folder.

        Raises:
            HeldError: another job holds it, and goes on to.
            OSError: the lock cannot be written.
        """
        # Processes that the job forks share the lock, and it is free when the last of them is gone: they are the job.
        with self.lock.open("ab+") as file:
            self._take(file)
            file.truncate(0)
            file.write(msgspec.json.encode(Holder(pid=os.getpid(), host=platform.node())) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what was half written when a job or its worker was killed; nobody writes these once a job holds."""
        for whole in (self.provenance, self.epochs, self.checkpoint, self.predictions, self.result):
            for half in self.path.glob(f".{whole.name}.*"):
                half.unlink(missing_ok=True)

    def _take(self, file: BinaryIO) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(file, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                holder = self.holder()
                who = f"process {holder.pid} on {holder.host}" if holder else "another process"
                raise HeldError(
                    f"{self.path}: {who} is at work on this run; let it end, or end it, and run again to go on"
                )
            time.sleep(LOCK_POLL_SECONDS)

    def holder(self) -> Holder | None:
        """Return the living job that holds the folder; None if nobody does.

        Raises:
            HeldError: something holds it that does not say what it is.
        """
        try:
            file = self.lock.open("rb")
        except FileNotFoundError:
            return None
        with file:
            deadline = time.monotonic() + LOCK_SECONDS
            while not _lock(file, fcntl.LOCK_SH):
                file.seek(0)
                # Locked and still empty: it is just being taken.
                with contextlib.suppress(msgspec.DecodeError):
                    return msgspec.json.decode(file.read(), type=Holder)
                if time.monotonic() >= deadline:
                    raise HeldError(f"{self.lock}: this is locked by a process that is no job; end it, and run again")
                time.sleep(LOCK_POLL_SECONDS)
        return None

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


def _lock(file: BinaryIO, kind: int) -> bool:
    """Take a lock until the file is closed; return False if somebody else has one against it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
