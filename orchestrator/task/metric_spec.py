"""What a campaign file says of metrics: direction, margin, role, and where each number stands. Frozen, closed. Pure.

A metric is read after a run, from files that the run left. So no metric is part of what a run computes.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from orchestrator.closed import Config
from orchestrator.errors import SpecError
from orchestrator.task.templates import check_place
from orchestrator.task.typed import Where, convert, mapping, section
from orchestrator.wording import listed

Direction = Literal["higher", "lower"]
Role = Literal["judged", "no_worse", "shown", "choose", "confirm"]
Word = Annotated[str, Meta(min_length=1)]

_NAME = re.compile(r"[A-Za-z0-9_][\w./@%-]*")
_SHARE = re.compile(r"\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*%\s*")


class BestRow(Config, frozen=True, kw_only=True):
    """The row at which another column is at its best: the usual early stopping."""

    best: Annotated[str, Meta(min_length=1, description="the column that is at its best")]
    better: Annotated[
        Direction | None, Meta(description="its direction; by default that of the metric of its name")
    ] = None


Pick = Literal["last", "first"] | BestRow
"""Which row of a progress table counts."""


class ProgressSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """A column of the progress that the task reports."""

    progress: Word
    pick: Pick = "last"


class StdoutSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="stdout"):
    """A line of the output: literal text with numbers in braces, `regex:...` or `preset:NAME`."""

    stdout: Annotated[str, Meta(min_length=1, description="e.g. `Accuracy: {correct}/{total}`")]
    value: Annotated[str, Meta(description="which number, if the pattern has several")] = ""
    pick: Pick = "last"


class FileSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="file"):
    """A dotted key of a JSON, YAML or TOML file."""

    file: Word
    key: Word


class CsvSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="csv"):
    """A column of a CSV file."""

    csv: Word
    column: Word
    step: Annotated[str, Meta(description="the column that counts steps, where file order does not")] = ""
    pick: Pick = "last"


class JsonlSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="jsonl"):
    """A dotted key in the lines of a JSON lines file."""

    jsonl: Word
    key: Word
    step: str = ""
    pick: Pick = "last"


class TensorboardSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="tensorboard"):
    """A scalar of TensorBoard's event files in a folder."""

    tensorboard: Word
    tag: Word
    pick: Pick = "last"


class TrainerStateSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="trainer_state"):
    """A key in the log history of the Hugging Face Trainer's `trainer_state.json`."""

    trainer_state: Word
    key: Word
    pick: Pick = "last"


class ReportedSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="reported"):
    """A number that the script reported of its finished training, by `run.metric` or to $KNOCKOUT_METRICS."""

    reported: Word


Aggregate = Literal["mean", "ratio", "rmse", "r2", "auc", "median", "quantile"]
_PAIRS = {"ratio": "[numerator, denominator]", "r2": "[truth, prediction]", "auc": "[score, label]"}
"""Aggregate of two columns -> how they are written."""


class ItemsSource(Config, frozen=True, kw_only=True, tag_field="kind", tag="items"):
    """An aggregate over the items of a split; each column may be an expression of columns."""

    items: Annotated[str, Meta(min_length=1, description="the split")]
    mean: str = ""
    ratio: tuple[str, ...] = ()
    rmse: Annotated[str, Meta(description="the error of an item")] = ""
    r2: tuple[str, ...] = ()
    auc: tuple[str, ...] = ()
    median: str = ""
    quantile: Annotated[tuple[float, str] | None, Meta(description="[0.9, COLUMN]")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in get_args(Aggregate) if getattr(self, name)]
        if len(given) != 1:
            found = listed(f"`{name}`" for name in given) if given else "none"
            raise ValueError(f"a split has one aggregate ({', '.join(get_args(Aggregate))}), found {found}")
        columns = getattr(self, given[0])
        if given[0] in _PAIRS and len(columns) != 2:
            raise ValueError(f"`{given[0]}` takes two columns: {_PAIRS[given[0]]}, found {len(columns)}")
        if self.quantile and not 0 < self.quantile[0] < 1:
            raise ValueError(f"a quantile lies between 0 and 1, found {self.quantile[0]:g}; 0.9 is the 90 % quantile")

    @property
    def aggregate(self) -> Aggregate:
        """The name of the aggregate."""
        return next(name for name in get_args(Aggregate) if getattr(self, name))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, or expressions of columns, that the aggregate takes."""
        if self.quantile:
            return self.quantile[1:]
        columns = getattr(self, self.aggregate)
        return (columns,) if isinstance(columns, str) else columns


Source = (
    ProgressSource
    | StdoutSource
    | FileSource
    | CsvSource
    | JsonlSource
    | TensorboardSource
    | TrainerStateSource
    | ReportedSource
    | ItemsSource
)
_SOURCES: dict[str, type[Source]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Source)}
"""The key that says which source it is -> its type."""


FILE_SOURCES = ("file", "csv", "jsonl", "tensorboard", "trainer_state")
"""The sources that are read from a file or folder of the run."""


class Margin(Config, frozen=True, kw_only=True):
    """The smallest difference that matters: in the metric's unit, or as a share of the reference (0.05 is 5 %)."""

    value: float
    is_share: bool = False


class MetricSpec(Config, frozen=True, kw_only=True):
    """One metric of a campaign."""

    name: str
    better: Direction
    source: Source
    role: Role
    margin: Margin | None = None
    compare: Literal["difference", "ratio"] = "difference"
    unit: str = ""

    @property
    def is_evidence(self) -> bool:
        """Whether reports judge or show it. What searches look at, and what confirmations alone read, is not."""
        return self.role not in ("choose", "confirm")


class _Fields(Config, frozen=True, kw_only=True):
    """A metric as the campaign file writes it, without `from`."""

    better: Annotated[Direction, Meta(description="which direction is better")]
    margin: Annotated[float | str | None, Meta(description="a number in the metric's unit, or `5%`")] = None
    unit: str = ""
    role: Role | None = None
    compare: Literal["difference", "ratio"] | None = None


def parse_metrics(values: object, where: Where = ("metrics",)) -> dict[str, MetricSpec]:
    """Check the section `metrics`.

    Args:
        values: name -> what the file says of it.
        where: path of the section in the campaign file.

    Raises:
        SpecError: a key, a value or a combination is wrong; `where` is its path.
    """
    sections = mapping(values, where)
    if not sections:
        raise SpecError("no metric is named; write one, e.g. `val_loss: {better: lower, margin: 0.02}`", where)
    fields = {name: _fields(name, one, (*where, name)) for name, one in sections.items()}
    roles = _roles(fields, where)
    metrics = {
        name: _metric(name, fields[name], roles[name], _source(name, sections[name], (*where, name)), (*where, name))
        for name in sections
    }
    _refuse_same_source(metrics, where)
    _refuse_other_confirmation(metrics, where)
    _refuse_unknown_direction(metrics, where)
    return metrics


def _fields(name: str, values: object, where: Where) -> _Fields:
    if not _NAME.fullmatch(name):
        raise SpecError(f"a metric's name is letters, digits and `_ . / @ % -`, found `{name}`", where)
    found = section(values, (*_Fields.__struct_fields__, "from"), where)
    found.pop("from", None)
    return convert(found, _Fields, where)


def _roles(fields: Mapping[str, _Fields], where: Where) -> dict[str, Role]:
    """Give each metric its role: the first without one is judged, unless another says that it is."""
    # The order of the file counts: the metric that a person writes first is the one they ask about.
    said: dict[str, Role] = {name: one.role for name, one in fields.items() if one.role}
    unsaid: list[str] = [name for name in fields if name not in said]
    if "judged" not in said.values():
        if not unsaid:
            raise SpecError("no metric is judged; write `role: judged` at one of them", where)
        said[unsaid[0]] = "judged"
    return {name: said.get(name, "shown") for name in fields}


def _metric(name: str, fields: _Fields, role: Role, source: Source, where: Where) -> MetricSpec:
    margin = None if fields.margin is None else _margin(fields.margin, (*where, "margin"))
    if margin is None and role in ("judged", "no_worse"):
        raise SpecError(
            f"a metric of role `{role}` needs a `margin`, the smallest difference that matters: a number in its unit, "
            "or `margin: 5%`",
            where,
        )
    # A share of the reference is judged on the logarithm, so margin and comparison go together.
    is_ratio = margin is not None and margin.is_share
    compare = fields.compare or ("ratio" if is_ratio else "difference")
    if margin is not None and is_ratio != (compare == "ratio"):
        wanted = "a share, e.g. `margin: 5%`" if compare == "ratio" else "a number in the metric's unit"
        raise SpecError(
            f"with `compare: {compare}` the margin is {wanted}, found `{fields.margin}`", (*where, "margin")
        )
    return MetricSpec(
        name=name, better=fields.better, source=source, role=role, margin=margin, compare=compare, unit=fields.unit
    )


def _margin(value: float | str, where: Where) -> Margin:
    if not isinstance(value, str):
        if value <= 0:
            raise SpecError(f"a margin is above 0, found {value:g}; `better` says the direction", where)
        return Margin(value=float(value))
    match = _SHARE.fullmatch(value)
    share = float(match["number"]) / 100 if match else 0.0
    if not 0 < share < 1:
        raise SpecError(f"a margin is a number above 0, or a share like `5%` below 100%, found `{value}`", where)
    return Margin(value=share, is_share=True)


def _source(name: str, values: Any, where: Where) -> Source:
    if "from" not in values:
        return ProgressSource(progress=name)
    where = (*where, "from")
    found = mapping(values["from"], where)
    kinds = [key for key in found if key in _SOURCES]
    if len(kinds) > 1:
        raise SpecError(f"a metric has one source, found {listed(f'`{key}`' for key in kinds)}; keep one", where)
    if not kinds:
        section(found, _SOURCES, where)
        raise SpecError(f"`from` names no source; there are {', '.join(_SOURCES)}", where)
    source = convert(found, _SOURCES[kinds[0]], where)
    if kinds[0] in FILE_SOURCES:
        check_place(found[kinds[0]], (*where, kinds[0]))
    return source


def _refuse_same_source(metrics: Mapping[str, MetricSpec], where: Where) -> None:
    # Two tests of one number would halve the level of each and tell nothing more.
    judged: dict[Source, str] = {}
    for name, metric in metrics.items():
        if metric.role == "judged":
            if metric.source in judged:
                raise SpecError(
                    f"`{judged[metric.source]}` and `{name}` are judged by the same number; keep one of them",
                    (*where, name),
                )
            judged[metric.source] = name


def _best_row(metric: MetricSpec) -> BestRow | None:
    pick = getattr(metric.source, "pick", None)
    return pick if isinstance(pick, BestRow) else None


def column_of(metric: MetricSpec) -> str:
    """Return the column of a progress table that a metric is read from; empty where it has no table."""
    match metric.source:
        case ProgressSource(progress=column) | CsvSource(column=column) | TensorboardSource(tag=column):
            return column
        case JsonlSource(key=column) | TrainerStateSource(key=column):
            return column
        case StdoutSource(value=column):
            return column or metric.name
    return ""


def pick_direction(metric: MetricSpec, metrics: Mapping[str, MetricSpec]) -> Direction | None:
    """Return the direction in which the column of a metric's `pick: {best: ...}` is better; None if nothing says it."""
    best = _best_row(metric)
    if best is None:
        return None
    of_column = (other.better for other in metrics.values() if best.best in (other.name, column_of(other)))
    return best.better or next(of_column, None)


def _refuse_other_confirmation(metrics: Mapping[str, MetricSpec], where: Where) -> None:
    """Refuse metrics of role `confirm` that cannot stand for the judged one."""
    judged = next(metric for metric in metrics.values() if metric.role == "judged")
    confirming = [metric for metric in metrics.values() if metric.role == "confirm"]
    for metric in confirming:
        if len(confirming) > 1:
            names = ", ".join(f"`{one.name}`" for one in confirming)
            raise SpecError(
                f"{names} have `role: confirm`; a confirmation reads one metric, so leave it to one",
                (*where, metric.name),
            )
        if (metric.better, metric.compare, metric.unit) != (judged.better, judged.compare, judged.unit):
            raise SpecError(
                f"`{metric.name}` confirms what `{judged.name}` finds, so both need the same `better`, `compare` and "
                "`unit`",
                (*where, metric.name),
            )


def _refuse_unknown_direction(metrics: Mapping[str, MetricSpec], where: Where) -> None:
    for name, metric in metrics.items():
        best = _best_row(metric)
        if best and pick_direction(metric, metrics) is None:
            raise SpecError(
                f"nothing says which direction of `{best.best}` is better; write "
                f"`pick: {{best: {best.best}, better: lower}}`, or higher",
                (*where, name, "from", "pick"),
            )


def check_for_search(metrics: Mapping[str, MetricSpec], where: Where = ("metrics",)) -> None:
    """Refuse metrics by which a search would choose on what the report is to judge.

    Raises:
        SpecError: no metric is there to choose by, or the row of a metric is picked by a reported one.
    """
    if not any(metric.role == "choose" for metric in metrics.values()):
        raise SpecError("a search looks only at metrics with `role: choose`; give one of them that role", where)
    reported = {
        one for metric in metrics.values() if metric.role != "choose" for one in (metric.name, column_of(metric))
    }
    for name, metric in metrics.items():
        best = _best_row(metric)
        if best and best.best in reported:
            raise SpecError(
                f"a search may not pick the best row by `{best.best}`, which the report judges or shows; pick `last`, "
                "or the best of a metric with `role: choose`",
                (*where, name, "from", "pick"),
            )
