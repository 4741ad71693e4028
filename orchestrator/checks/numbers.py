"""Reads the numbers and items of a checked run, while its checkout and its folder are there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestrator.checks.observed import ItemsSeen, MetricSeen
from orchestrator.errors import KnockoutError
from orchestrator.reading import sources
from orchestrator.reading.helper import REPORTED
from orchestrator.reading.items import Items, read_items
from orchestrator.reading.metrics import find_file, read_metric
from orchestrator.reading.progress import Row, read_progress, settle_attempts
from orchestrator.runs.folder import RunFolder
from orchestrator.stats import aggregates
from orchestrator.stats.aggregates import Aggregate, AggregateError
from orchestrator.stats.columns import ColumnError, Expression
from orchestrator.task import metric_spec
from orchestrator.task.metric_spec import BestRow, ItemsSource, MetricSpec, pick_direction
from orchestrator.task.spec import ItemsSpec, TaskSpec
from orchestrator.task.templates import fill

AGGREGATES: dict[str, Callable[..., Aggregate]] = {
    "mean": aggregates.mean,
    "ratio": aggregates.ratio,
    "rmse": aggregates.rmse,
    "r2": aggregates.r2,
    "auc": aggregates.auc,
    "median": aggregates.median,
}


class RunPlaces(Struct, frozen=True, kw_only=True):
    """Where the files of one run are."""

    folder: RunFolder
    checkout: Path
    seed: int

    def find(self, text: str) -> Path:
        """Return the file that a path of the campaign file names.

        Raises:
            ReadingError: several files have such a name, or none has.
        """
        filled = fill(text, {"seed": str(self.seed), "run_folder": str(self.folder.path)})
        return find_file(self.checkout, filled)


def read_rows(folder: RunFolder) -> list[Row]:
    """Read the rows of progress that hold, as the supervisor has copied them; none where they cannot be read."""
    try:
        return settle_attempts(read_progress(folder.progress))
    except KnockoutError:
        return []


def read_metrics(task: TaskSpec, metrics: dict[str, MetricSpec], places: RunPlaces) -> dict[str, MetricSeen]:
    """Read every metric of a finished run."""
    return {name: _read_metric(metric, task, metrics, places) for name, metric in metrics.items()}


def _read_metric(metric: MetricSpec, task: TaskSpec, metrics: dict[str, MetricSpec], places: RunPlaces) -> MetricSeen:
    try:
        if isinstance(metric.source, ItemsSource):
            return MetricSeen(value=_aggregate(metric.source, task, places))
        reading = read_metric(metric.name, _source_of(metric, places), _pick_of(metric, metrics))
    except (KnockoutError, ColumnError, AggregateError) as error:
        return MetricSeen(problem=str(error))
    return MetricSeen(value=reading.value, ratio=reading.ratio)


def _pick_of(metric: MetricSpec, metrics: dict[str, MetricSpec]) -> sources.Pick:
    pick: Any = getattr(metric.source, "pick", "last")
    # Only rows can be picked. A file of JSON has one number.
    if not isinstance(pick, BestRow):
        return "first" if pick == "first" else "last"
    return sources.Best(pick.best, pick_direction(metric, metrics) or metric.better)


def _source_of(metric: MetricSpec, places: RunPlaces) -> sources.Source:
    """Return where a metric's number is in the files of a run.

    Raises:
        ReadingError: a path names no file.
    """
    match metric.source:
        case metric_spec.StdoutSource(stdout=pattern, value=name):
            return sources.LogSource(
                path=places.folder.log, pattern=pattern, name=name or _own_name(pattern, metric.name)
            )
        case metric_spec.FileSource(file=path, key=key):
            return sources.FileSource(path=places.find(path), key=key)
        case metric_spec.ReportedSource(reported=name):
            return sources.ReportedSource(path=places.folder.path / REPORTED, name=name)
        case metric_spec.ProgressSource(progress=name):
            return sources.ProgressSource(path=places.folder.progress, name=name)
    return _table_source(metric, places)


def _table_source(metric: MetricSpec, places: RunPlaces) -> sources.Source:
    match metric.source:
        case metric_spec.CsvSource(csv=path, column=column, step=step):
            return sources.CsvSource(path=places.find(path), column=column, step=step or None)
        case metric_spec.JsonlSource(jsonl=path, key=key, step=step):
            return sources.JsonLinesSource(path=places.find(path), key=key, step=step or None)
        case metric_spec.TrainerStateSource(trainer_state=path, key=key):
            return sources.TrainerStateSource(path=places.find(path), key=key)
        case metric_spec.TensorboardSource(tensorboard=path, tag=tag):
            return sources.TensorBoardSource(path=places.find(path), tag=tag)
    raise ColumnError(f"`{metric.name}` is read from items, which have no rows")


def _own_name(pattern: str, name: str) -> str | None:
    """Return a metric's name if a preset takes the names from the lines; None where the pattern has its own."""
    return name if pattern.startswith("preset:") else None


def _aggregate(source: ItemsSource, task: TaskSpec, places: RunPlaces) -> float:
    if source.items not in task.items:
        raise ColumnError(f"there is no table of items `{source.items}`; give it a line in `task.items`")
    items = _read_items(source.items, task.items[source.items], places)
    columns = [Expression(text)(items.columns) for text in source.columns]
    # A quantile takes its share beside the column.
    if source.quantile:
        return aggregates.quantile(columns[0], source.quantile[0]).value
    return AGGREGATES[source.aggregate](*columns).value


def _read_items(split: str, spec: ItemsSpec, places: RunPlaces) -> Items:
    table = sources.ItemTable(
        path=places.find(spec.file), key=spec.keys, cluster=spec.cluster or None, stratum=spec.stratum or None
    )
    return read_items(split, table)


def look_at_items(task: TaskSpec, places: RunPlaces) -> dict[str, ItemsSeen]:
    """Look at the item tables that the campaign file names."""
    return {name: _look_at_items(name, spec, places) for name, spec in task.items.items()}


def _look_at_items(split: str, spec: ItemsSpec, places: RunPlaces) -> ItemsSeen:
    try:
        items = _read_items(split, spec, places)
    except KnockoutError as error:
        return ItemsSeen(problem=str(error))
    num_clusters = None if items.cluster_B is None else len(set(items.cluster_B))
    return ItemsSeen(num_items=items.num_items, num_clusters=num_clusters, num_strata=len(set(items.stratum_B)))
