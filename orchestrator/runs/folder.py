"""The files of one run folder, as the orchestrator reads and writes them: all that passes between it and a job.

The job has its own reader and writer of these files. A contract test holds the two together.

Each file has a property of `RunFolder` that says what it holds and who writes it. A job that holds its own folder, such
as a built-in one, writes epochs, predictions and result. For any other command, its supervisor does that.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from orchestrator.files import format_json, write_atomically
from orchestrator.reading.progress import Row, read_progress, row_seconds, settle_attempts
from orchestrator.runs import job_lock
from orchestrator.runs.job_lock import Holder

RESULT_FORMAT = 1
ENDED = ("done", "too_slow", "failed")
"""States of a result: a run that has ended."""
MAX_TAIL_BYTES = 16 * 2**10
"""Most bytes of a log's last lines."""
MAX_LINE_CHARACTERS = 1000
"""Most characters shown of a log's line; a progress bar can write megabytes without a line's end."""
SET_ASIDE = ".set-aside"
"""Suffix of a file from which training cannot continue."""


class EpochRecord(Struct, frozen=True, kw_only=True):
    """One finished epoch: a line of `epochs.jsonl`, or a step of `progress.jsonl`. A number that is not finite is null.

    A supervised command names its numbers itself. The fields after `values` are those of jobs that hold their folder.
    """

    epoch: int
    """Counts the records from 1."""
    seconds: float
    is_timed: bool = True
    """Whether `seconds` are those of an epoch alone. Those of an attempt's first row also hold its imports."""
    step: float | None = None
    """What a supervised command calls it; null in `epochs.jsonl`."""
    num_steps: float = 1.0
    """Steps since the record before, as the command counts them."""
    values: dict[str, float | None] = {}
    """Name -> number, as a supervised command tells them."""
    cpu_seconds: float | None = None
    """Seconds of processor time; null on CUDA, where the processor does not do the work."""
    data_seconds: float | None = None
    """Seconds of the epoch spent waiting for batches; null in records older than the field."""
    train_loss: float | None = None
    val_loss: float | None = None
    val_accuracy: float = 0.0
    learning_rate: float = 0.0
    grad_norm: float | None = None
    skipped_steps: int = 0
    bursts_per_second: float = 0.0
    peak_memory_bytes: int = 0
    """0 where nobody tells it."""

    @property
    def told(self) -> dict[str, float | None]:
        """Name -> number, whoever wrote the record."""
        return self.values or {name: getattr(self, name) for name in JOB_NUMBERS}


JOB_NUMBERS = ("train_loss", "val_loss", "val_accuracy", "learning_rate", "grad_norm")
"""Numbers that a job in `epochs.jsonl` tells of an epoch."""
PEAK_MEMORY = "peak_memory_bytes"
"""The name by which a supervised command may tell the most memory that it has held, in bytes."""


def epochs_of_rows(rows: Iterable[Row]) -> list[EpochRecord]:
    """Return the steps that hold, as epochs; numbers that another source tells of the same step stand beside them.

    A script may print a step and log it to a file too. So the source that told most steps counts them.

    Args:
        rows: rows of progress, in the order in which they arrived. Rows without a step are no epochs.
    """
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        if row.step is not None:
            by_source.setdefault(row.source, []).append(row)
    settled = [settle_attempts(of_source) for of_source in by_source.values()]
    most: list[Row] = max(settled, key=len, default=[])
    beside: dict[float | None, dict[str, float | None]] = {}
    for row in (row for others in settled if others is not most for row in others):
        beside.setdefault(row.step, {}).update(row.values)
    before = [None, *most]
    return [
        _epoch_of_row(number, row, seconds, before[number - 1], beside.get(row.step, {}))
        for number, (row, seconds) in enumerate(zip(most, row_seconds(most), strict=True), start=1)
    ]


def _epoch_of_row(
    number: int, row: Row, seconds: float | None, before: Row | None, beside: dict[str, float | None]
) -> EpochRecord:
    values = beside | row.values
    since = (row.step or 0.0) - (before.step or 0.0) if before is not None else 0.0
    return EpochRecord(
        epoch=number,
        seconds=(row.at_seconds or 0.0) if seconds is None else seconds,
        is_timed=seconds is not None,
        step=row.step,
        num_steps=since if since > 0 else 1.0,
        values=values,
        peak_memory_bytes=int(values.get(PEAK_MEMORY) or 0),
    )


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


CONFIG_FORMAT: Literal[2] = 2
"""Version of `config.json`."""


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`config.json`: what one run trains."""

    format: Literal[2] = CONFIG_FORMAT
    experiment: str
    profile: str
    seed: int
    params: dict[str, Any]
    """Every parameter of the task, nested and resolved; the seed is not among them."""


class _Versioned(Struct, frozen=True):
    format: int = 1


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
    def order(self) -> Path:
        """Code and guards of the run, for the queue, written by the orchestrator."""
        return self.path / "order.json"

    @property
    def provenance(self) -> Path:
        """Origin of code, data and environment, written by the orchestrator."""
        return self.path / "provenance.json"

    @property
    def epochs(self) -> Path:
        """One line an epoch, written by the job."""
        return self.path / "epochs.jsonl"

    @property
    def probes(self) -> Path:
        """One line for each timing of the run against its reference, written by the orchestrator."""
        return self.path / "probes.jsonl"

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

    @property
    def launch(self) -> Path:
        """How a supervised command is started, written by whoever starts its supervisor."""
        return self.path / "launch.json"

    @property
    def progress(self) -> Path:
        """One line for each row that a supervised command tells, written by its supervisor as the rows arrive."""
        return self.path / "progress.jsonl"

    @property
    def attempts(self) -> Path:
        """One line for each start of a supervised command."""
        return self.path / "attempts.jsonl"

    @property
    def outputs(self) -> Path:
        """The folder that keeps what a supervised command writes in its checkout."""
        return self.path / "outputs"

    @property
    def kept(self) -> tuple[Path, ...]:
        """Files that no start of a supervised command removes."""
        written = (self.config, self.order, self.provenance, self.probes, self.result, self.log, self.lock)
        return (*written, self.launch, self.attempts)

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

    def holder(self) -> Holder | None:
        """Return the living job that holds the folder; None if nobody does.

        Raises:
            HeldError: a process that is no job holds it.
            OSError: the lock cannot be read.
        """
        return job_lock.find_holder(self.lock)

    def last_holder(self) -> Holder | None:
        """Return the last job that held the folder, dead or alive; None if there was none."""
        return job_lock.last_holder(self.lock)

    def require_hold(self) -> None:
        """Refuse to write if another job has taken the folder over.

        Raises:
            HeldError: names that job.
        """
        if self.held_as is not None:
            job_lock.require_hold(self.lock, self.held_as)

    def read_config(self) -> RunConfig:
        """Read and check `config.json`.

        Raises:
            ValueError: it cannot be read, or an earlier version of Knockout wrote it.
        """
        content = self.config.read_bytes()
        version = msgspec.json.decode(content, type=_Versioned).format
        if version != CONFIG_FORMAT:
            raise ValueError(f"{self.config} is of format {version}, wanted is {CONFIG_FORMAT}; {old_format(self)}")
        return msgspec.json.decode(content, type=RunConfig)

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
        write_atomically(self.result, format_json(result), self.require_hold)

    def set_aside(self, path: Path) -> Path:
        """Rename a file from which training cannot continue; return its new name. It replaces an older one."""
        aside = path.with_name(path.name + SET_ASIDE)
        path.replace(aside)
        return aside

    def set_result_aside(self) -> Path:
        """Set aside a result that is not valid, and its predictions; return the result's new name.

        The result goes first. If this process ends between the two, the run just counts as unfinished.
        """
        for path in (self.result, self.predictions):
            with contextlib.suppress(FileNotFoundError):  # another command may set it aside at the same time
                self.set_aside(path)
        return self.result.with_name(self.result.name + SET_ASIDE)

    def read_epochs(self) -> list[EpochRecord]:
        """Read the finished epochs, oldest first; a torn last line is ignored.

        Raises:
            ValueError: a finished line cannot be read, or the epochs do not count 1, 2, 3, ...
            RunError: the rows of progress cannot be read.
        """
        if not self.epochs.exists():
            return epochs_of_rows(read_progress(self.progress))
        complete, newline, _ = self.epochs.read_bytes().rpartition(b"\n")
        lines = complete.split(b"\n") if newline else []
        records = [msgspec.json.decode(line, type=EpochRecord) for line in lines]
        require_in_order(records, self.epochs)
        return records

    def log_tail(self, num_lines: int = 40) -> list[str]:
        """Return the last lines of `train.log`, at most `MAX_TAIL_BYTES`, for a message about a job that died."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - MAX_TAIL_BYTES)
            file.seek(start)
            lines = file.read(MAX_TAIL_BYTES).decode(errors="replace").splitlines()
        # The first line is incomplete if reading began inside it.
        return [_shorten(line) for line in (lines[1:] if start and len(lines) > 1 else lines)[-num_lines:]]


def old_format(folder: RunFolder) -> str:
    """Say what to do about a run folder of another format."""
    return f"another version of Knockout wrote this run, so move {folder.path} away to train it again"


def require_in_order(records: Sequence[EpochRecord], where: Path) -> None:
    """Refuse epochs that do not count 1, 2, 3, ..., because a line was lost or written twice.

    Raises:
        ValueError: names the record and the file.
    """
    for number, record in enumerate(records, start=1):
        if record.epoch != number:
            raise ValueError(f"{where}: record {number} is of epoch {record.epoch}; epochs must count 1, 2, 3, ...")


def _shorten(line: str) -> str:
    """Keep the end of a line that is too long to show, because a progress bar's newest state is there."""
    left_out = len(line) - MAX_LINE_CHARACTERS
    return line if left_out <= 0 else f"[{left_out} characters left out] {line[-MAX_LINE_CHARACTERS:]}"
