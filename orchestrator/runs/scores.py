"""The metrics of one finished run, read from the files that are kept of it.

A metric is no part of what a run computes. So a source that is wrong is mended and read again, and nothing is trained.

Axes: B items of one split.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from orchestrator.errors import KnockoutError
from orchestrator.files import LARGE_BYTES, UNREADABLE, content_hash, read_plain, write_atomically
from orchestrator.reading import sources
from orchestrator.reading.helper import REPORTED, scores_file
from orchestrator.reading.items import read_items
from orchestrator.reading.metrics import find_file, read_metric
from orchestrator.reading.sources import Better, ItemTable, Pick, Reading, ReadingError
from orchestrator.reading.tables import read_csv
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.predictions import Predictions, items_of_predictions
from orchestrator.stats.aggregates import AggregateError
from orchestrator.stats.columns import ColumnError
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.measure import ItemMeasure
from orchestrator.task.metric_spec import (
    BestRow,
    CsvSource,
    FileSource,
    ItemsSource,
    JsonlSource,
    MetricSpec,
    ProgressSource,
    ReportedSource,
    StdoutSource,
    TensorboardSource,
    TrainerStateSource,
    pick_direction,
)
from orchestrator.task.spec import ItemsSpec
from orchestrator.task.templates import RUN_FOLDER, SEED, fill

PROGRESS, ATTEMPTS, OUTPUTS = "progress.jsonl", "attempts.jsonl", "outputs"
"""The supervisor's files in a run folder: rows of progress, starts of the command, what it wrote in its checkout."""
KEPT, KEPT_FORMAT = "scores.msgpack", 1
"""File in a run folder with the metrics that were read of it, and the version of its format."""
PERCENT = "%"
"""Unit of a metric that may be a share of items."""
EPOCH = "epoch"
"""The column of `epochs.jsonl` that counts its rows."""
SHARE_VALUES = (0.0, 100.0)
"""What an item counts in a share in percent."""


@dataclass(frozen=True)
class Score:
    """One metric of one run."""

    value: float
    """In the metric's unit."""
    items: RunItems | None = None
    """The items that it is made from, with the columns that it takes; None where the run tells one number alone."""
    resolution: float | None = None
    """One unit in the last digit that was printed; None where the number was not rounded."""
    num_right: int | None = None
    """How many items are right, if the metric is a share of items in percent."""
    num_items: int | None = None
    """How many items there are, if that is known."""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of items that are right or wrong."""
        return self.num_right is not None


class Measures(Struct, frozen=True, kw_only=True):
    """What is read of each finished run."""

    metrics: Mapping[str, MetricSpec]
    items: Mapping[str, ItemsSpec]
    """Split -> its table of items."""
    starts_over: bool = False
    """Whether each attempt of a run begins from nothing."""
    resumes_exactly: bool = True
    """Whether a resumed run ends with the numbers of one that was never stopped."""


class ReadScores(Struct, frozen=True, kw_only=True):
    """The metrics of a run: those that were read, and why the others were not."""

    scores: dict[str, Score] = {}
    unread: dict[str, str] = {}
    """Metric -> a sentence."""


class _KeptItems(Struct, frozen=True):
    keys: list[str]
    strata: list[str]
    clusters: list[str] | None
    columns: dict[str, bytes]


class _KeptScore(Struct, frozen=True):
    value: float
    resolution: float | None
    num_right: int | None
    num_items: int | None
    items: _KeptItems | None


class _Kept(Struct, frozen=True):
    """What was read of a run, with a hash of the metrics and of the stamps of the files that it was read from."""

    key: str
    scores: dict[str, _KeptScore]


class _Attempt(Struct, frozen=True):
    log_bytes: int


def read_kept(folder: RunFolder, seed: int, measures: Measures, predictions: Mapping[str, Predictions]) -> ReadScores:
    """Read as `read_scores`, or take what an earlier command has read, if neither metrics nor files have changed.

    What could not be read is not kept, so a file that comes later is found.
    """
    # Predictions were read for this run already, to hold its result against them.
    if predictions:
        return read_scores(folder, seed, measures, predictions)
    key = _Reader(folder, seed, measures, predictions).find_key()
    # It is only a copy; one that cannot be read is written anew.
    with contextlib.suppress(*UNREADABLE):
        kept = msgspec.msgpack.decode(read_plain(folder.path / KEPT, LARGE_BYTES), type=_Kept)
        if kept.key == key:
            return ReadScores(scores={name: _unpack(score) for name, score in kept.scores.items()})
    found = read_scores(folder, seed, measures)
    if not found.unread:
        content = _Kept(key, {name: _pack(score) for name, score in found.scores.items()})
        # Somebody else's folder may be read only.
        with contextlib.suppress(OSError):
            write_atomically(folder.path / KEPT, msgspec.msgpack.encode(content))
    return found


def _pack(score: Score) -> _KeptScore:
    items = None if score.items is None else _pack_items(score.items)
    return _KeptScore(score.value, score.resolution, score.num_right, score.num_items, items)


def _pack_items(items: RunItems) -> _KeptItems:
    clusters = None if items.cluster_B is None else items.cluster_B.tolist()
    columns = {name: values_B.tobytes() for name, values_B in items.columns.items()}
    return _KeptItems(items.keys_B.tolist(), items.stratum_B.tolist(), clusters, columns)


def _unpack(kept: _KeptScore) -> Score:
    items = None if kept.items is None else _unpack_items(kept.items)
    return Score(kept.value, items, kept.resolution, kept.num_right, kept.num_items)


def _unpack_items(kept: _KeptItems) -> RunItems:
    keys_B, stratum_B = (np.array(texts, dtype=np.str_) for texts in (kept.keys, kept.strata))
    cluster_B = None if kept.clusters is None else np.array(kept.clusters, dtype=np.str_)
    columns = {name: np.frombuffer(content, dtype=np.float64) for name, content in kept.columns.items()}
    return RunItems(keys_B, stratum_B, cluster_B, columns)


def read_scores(
    folder: RunFolder, seed: int, measures: Measures, predictions: Mapping[str, Predictions] | None = None
) -> ReadScores:
    """Read every metric of a finished run. One that cannot be read does not affect the others.

    Args:
        folder: of the run.
        seed: of the run, for paths with `{seed}`.
        measures: the metrics, and where the items lie.
        predictions: split -> content of `predictions.npz`.
    """
    reader = _Reader(folder, seed, measures, predictions or {})
    scores: dict[str, Score] = {}
    unread: dict[str, str] = {}
    for name, metric in measures.metrics.items():
        try:
            scores[name] = reader.read(metric)
        except KnockoutError as error:
            # Paths from the run folder on, so that the same results give the same words everywhere.
            unread[name] = str(error).replace(f"{folder.path}/", "")
    return ReadScores(scores=scores, unread=unread)


class _Reader:
    """Reads one run. Items of a split are read once, whatever the number of metrics on it."""

    def __init__(
        self, folder: RunFolder, seed: int, measures: Measures, predictions: Mapping[str, Predictions]
    ) -> None:
        self._folder = folder
        self._fields = {RUN_FOLDER: str(folder.path), SEED: str(seed)}
        self._measures = measures
        self._predictions = predictions
        self._items: dict[str, RunItems] = {}

    def read(self, metric: MetricSpec) -> Score:
        """Return a metric of the run.

        Raises:
            KnockoutError: it is not there, or has no finite number.
        """
        if isinstance(metric.source, ItemsSource):
            score = self._aggregate(metric, metric.source)
        else:
            source, pick = self._source(metric), self._pick(metric)
            found = read_metric(metric.name, source, pick, starts_over=self._measures.starts_over)
            score = score_of_reading(found, metric.unit)
        if metric.compare == "ratio" and score.value <= 0:
            what = f"`{metric.name}` is {score.value:g}, and a comparison in per cent needs values above 0"
            raise ReadingError(f"{what}; give `metrics.{metric.name}.margin` in the metric's unit")
        return score

    def find_key(self) -> str:
        """Return a hash of the metrics and of the stamps of all files that they are read from; none is opened."""
        stamps = [_stamp(self._folder.path / ATTEMPTS)]
        # A file that is missing has no stamp, so its coming changes the hash.
        for metric in self._measures.metrics.values():
            with contextlib.suppress(KnockoutError):
                source = metric.source
                path = self._items_file(source.items) if isinstance(source, ItemsSource) else self._source(metric).path
                stamps.append(_stamp(path))
        return content_hash(msgspec.json.encode((KEPT_FORMAT, self._measures, self._fields[SEED], stamps)))

    def _items_file(self, split: str) -> Path:
        spec = self._measures.items.get(split)
        return scores_file(self._folder.path, split) if spec is None else self._find(spec.file)

    def _aggregate(self, metric: MetricSpec, source: ItemsSource) -> Score:
        try:
            measure = measure_of(source)
            items = self._read_items(source.items)
            value = measure(items.columns).value
            kept = RunItems(
                items.keys_B, items.stratum_B, items.cluster_B, {name: items.columns[name] for name in measure.columns}
            )
            right = _count_right(source, metric.unit, measure, items)
        except (ColumnError, AggregateError) as error:
            mend = f"mend `metrics.{metric.name}.from`, then `knockout report`: nothing is trained again"
            raise ReadingError(f"`{metric.name}`: {error}; {mend}") from None
        return Score(value=value, items=kept, num_right=right, num_items=len(items.keys_B))

    def _read_items(self, split: str) -> RunItems:
        if split not in self._items:
            self._items[split] = self._load_items(split)
        return self._items[split]

    def _load_items(self, split: str) -> RunItems:
        spec = self._measures.items.get(split)
        if spec is not None and spec.reader == "predictions":
            return items_of_predictions(split, self._predictions, spec.sessions)
        # Only these columns: an evaluation writes whole prompts beside its scores.
        wanted = {
            name
            for metric in self._measures.metrics.values()
            if isinstance(metric.source, ItemsSource) and metric.source.items == split
            for name in measure_of(metric.source).columns
        }
        table = self._helper_table(split) if spec is None else self._table(split, spec)
        found = read_items(split, msgspec.structs.replace(table, columns=tuple(sorted(wanted))))
        return RunItems(found.keys_B, found.stratum_B, found.cluster_B, found.columns)

    def _table(self, split: str, spec: ItemsSpec) -> ItemTable:
        try:
            path = self._find(spec.file)
        except ReadingError as error:
            mend = f"mend `task.items.{split}`, then `knockout report`: nothing is trained again"
            raise ReadingError(f"items of `{split}`: {error}; {mend}") from None
        return ItemTable(path=path, key=spec.keys, cluster=spec.cluster or None, stratum=spec.stratum or None)

    def _helper_table(self, split: str) -> ItemTable:
        """Return the table that `run.scores` writes; it has the columns of groups only where the script names them."""
        path = scores_file(self._folder.path, split)
        there = read_csv(path).there if path.is_file() else ()
        cluster, stratum = (name if name in there else None for name in ("cluster", "stratum"))
        return ItemTable(path=path, key=("key",), cluster=cluster, stratum=stratum)

    def _find(self, text: str) -> Path:
        """Return the file that a path of the campaign file names; the checkout's files are kept in `outputs`."""
        return find_file(self._folder.path / OUTPUTS, fill(text, self._fields))

    def _pick(self, metric: MetricSpec) -> Pick:
        pick = getattr(metric.source, "pick", "last")
        if not isinstance(pick, BestRow):
            return "first" if pick == "first" else "last"
        better: Better = pick_direction(metric, self._measures.metrics) or "lower"
        return sources.Best(pick.best, better)

    def _source(self, metric: MetricSpec) -> sources.Source:
        """Return where a number lies, with whole paths."""
        folder = self._folder
        match metric.source:
            case ProgressSource(progress=name):
                return self._progress(name)
            case ReportedSource(reported=name):
                return sources.ReportedSource(path=folder.path / REPORTED, name=name)
            case StdoutSource(stdout=pattern, value=value):
                begins = _attempt_bytes(folder.path / ATTEMPTS)
                return sources.LogSource(path=folder.log, pattern=pattern, name=value or None, attempt_bytes=begins)
        return self._file_source(metric)

    def _file_source(self, metric: MetricSpec) -> sources.Source:
        try:
            match metric.source:
                case CsvSource(csv=file, column=column, step=step):
                    return sources.CsvSource(path=self._find(file), column=column, step=step or None)
                case JsonlSource(jsonl=file, key=key, step=step):
                    return sources.JsonLinesSource(path=self._find(file), key=key, step=step or None)
                case TensorboardSource(tensorboard=file, tag=tag):
                    return sources.TensorBoardSource(path=self._find(file), tag=tag)
                case TrainerStateSource(trainer_state=file, key=key):
                    return sources.TrainerStateSource(path=self._find(file), key=key)
                case FileSource(file=file, key=key):
                    return sources.FileSource(path=self._find(file), key=key)
        except ReadingError as error:
            mend = f"mend `metrics.{metric.name}.from`, then `knockout report`: nothing is trained again"
            raise ReadingError(f"`{metric.name}`: {error}; {mend}") from None
        raise AssertionError(metric.source)

    def _progress(self, name: str) -> sources.Source:
        """Return our own rows of progress, or the epochs of a command that writes them itself."""
        # Our own rows come first: scripts destroy theirs when they resume.
        path = self._folder.path / PROGRESS
        if not path.exists() and self._folder.epochs.exists():
            return sources.JsonLinesSource(path=self._folder.epochs, key=name, step=EPOCH)
        return sources.ProgressSource(path=path, name=name)


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of a file, or of the files in a folder; empty if it is not there."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    return [(str(file), found.st_size, found.st_mtime_ns) for file in files for found in [file.stat()]]


@cache
def measure_of(source: ItemsSource) -> ItemMeasure:
    """Return the function that computes a metric from columns of items.

    Raises:
        ColumnError: an expression of columns is none.
    """
    return ItemMeasure(source.aggregate, source.columns, source.quantile[0] if source.quantile else None)


def score_of_reading(reading: Reading, unit: str) -> Score:
    """Return the score of one number that was read; two numbers `{correct}/{total}` become percent if the unit is %."""
    if reading.ratio is None:
        return Score(value=reading.value, resolution=reading.resolution)
    right, total = reading.ratio
    scale = 100.0 if unit == PERCENT else 1.0
    is_count = unit == PERCENT and float(right).is_integer() and float(total).is_integer() and 0 <= right <= total
    return Score(
        value=scale * reading.value,
        # One item more or less is the smallest step that two counts can show.
        resolution=scale / total if total else None,
        num_right=int(right) if is_count else None,
        num_items=int(total) if is_count else None,
    )


def _count_right(source: ItemsSource, unit: str, measure: ItemMeasure, items: RunItems) -> int | None:
    """Count the items that are right; None unless the metric is a share in percent of items that are right or wrong."""
    if unit != PERCENT or source.aggregate != "mean":
        return None
    # The unit alone says too little: a mean of percentages is no share of items.
    value_B = measure.item_numbers(items.columns)
    return int((value_B == SHARE_VALUES[1]).sum()) if np.isin(value_B, SHARE_VALUES).all() else None


def _attempt_bytes(path: Path) -> tuple[int, ...]:
    """Return where in the log each attempt after the first begins; a line that is cut was no attempt."""
    if not path.exists():
        return ()
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(msgspec.json.decode(line, type=_Attempt).log_bytes)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return tuple(found[1:])


def is_share_metric(metric: MetricSpec) -> bool:
    """Whether a metric is declared as a share of items in percent; its items then are right (100) or wrong (0)."""
    return metric.unit == PERCENT and isinstance(metric.source, ItemsSource) and metric.source.aggregate == "mean"
