"""Where a number of a run is found, and what is read there. Values alone: no file is opened here.

A source names a whole path. Whoever builds it has filled the templates of the campaign file for one run.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from orchestrator.errors import RunError

Better = Literal["higher", "lower"]
"""The direction in which a number improves."""


class ReadingError(RunError):
    """What a run tells cannot be read. Nothing needs to be trained again: the source is mended and read again."""


class ProgressSource(Struct, frozen=True, kw_only=True):
    """A named value of the rows in our own `progress.jsonl`."""

    path: Path
    name: str


class ReportedSource(Struct, frozen=True, kw_only=True):
    """A named value that the helper, or a line of JSON, reports of the finished training."""

    path: Path
    name: str


class LogSource(Struct, frozen=True, kw_only=True):
    """A number in the lines of a log."""

    path: Path
    pattern: str
    """Literal text with named numbers, `regex:...` or `preset:NAME`; see `patterns.compile_pattern`."""
    name: str | None = None
    """Which of the pattern's quantities; None where it has only one."""
    attempt_bytes: tuple[int, ...] = ()
    """Where in the log each later attempt of the run begins, in bytes; the log holds one after the other."""


class FileSource(Struct, frozen=True, kw_only=True):
    """A number in a JSON, YAML or TOML file; the ending of its name says which."""

    path: Path
    key: str
    """Dotted names and places in lists: `results.0.accuracy`."""


class CsvSource(Struct, frozen=True, kw_only=True):
    """A column of a CSV file with a line of names at its head; `.tsv` is separated by tabs."""

    path: Path
    column: str
    step: str | None = None
    """The column that counts steps. Where it is named, a fall of its value means that the training went back."""


class JsonLinesSource(Struct, frozen=True, kw_only=True):
    """A key of the objects in a file with one JSON object a line."""

    path: Path
    key: str
    step: str | None = None
    """The key that counts steps, as for `CsvSource`."""


class TrainerStateSource(Struct, frozen=True, kw_only=True):
    """A key of `log_history` in a `trainer_state.json`, as the Trainer of Hugging Face writes it."""

    path: Path
    key: str


class TensorBoardSource(Struct, frozen=True, kw_only=True):
    """A scalar in a folder of TensorBoard's event files."""

    path: Path
    tag: str


RowSource = (
    ProgressSource | ReportedSource | LogSource | CsvSource | JsonLinesSource | TrainerStateSource | TensorBoardSource
)
"""Sources with many rows, of which one is picked."""
Source = RowSource | FileSource


class Best(Struct, frozen=True):
    """Pick the row at which another value is best: the usual early stopping."""

    name: str
    better: Better


Pick = Literal["first", "last"] | Best
"""Which row of a source counts."""


class Reading(Struct, frozen=True, kw_only=True):
    """One number of one run."""

    value: float
    step: float | None = None
    """The step of the row that it was read from; None where the source has no rows."""
    resolution: float | None = None
    """One unit in the last digit that was printed; None where the number was not text."""
    ratio: tuple[float, float] | None = None
    """Numerator and denominator, where two numbers were read as `{correct}/{total}`."""


class ItemTable(Struct, frozen=True, kw_only=True):
    """The items of one split in one file: `.csv`, `.tsv`, `.jsonl`, `.npz` or `.parquet`."""

    path: Path
    key: tuple[str, ...]
    """The columns that name an item together; no two items have the same."""
    cluster: str | None = None
    """The column that says which sampled group an item belongs to, such as a trial or a patient."""
    stratum: str | None = None
    """The column that says which fixed group an item belongs to, such as a device."""
    columns: tuple[str, ...] | None = None
    """The columns of numbers to read; None reads every column that holds numbers."""


LM_EVAL_KEY = ("doc_id", "filter")
"""The key of items in the `samples_*.jsonl` files of lm-eval, which are read like any JSON lines."""
