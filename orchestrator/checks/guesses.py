"""Metrics, progress and items that a run told and its campaign file does not name. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from orchestrator.checks.edits import Offer
from orchestrator.checks.observed import Observed, TableSeen
from orchestrator.reading.patterns import PRESET
from orchestrator.reading.presets import build_reader, recognise
from orchestrator.scripts.names import direction_of, metric_rank
from orchestrator.task.spec import TaskSpec

GUESSED_MARGIN = "1%"
"""Nobody but a person knows the smallest difference that matters; this stands there until they say."""
MAX_METRICS = 4
LABELS = ("cluster", "stratum")
"""Columns of the helper's tables that say where an item belongs."""
PAIRS = (
    ("y_true", "y_pred"),
    ("true", "predicted"),
    ("target", "prediction"),
    ("truth", "prediction"),
    ("truth", "told"),
    ("y", "y_hat"),
)
"""Names of columns of the truth and of what is predicted."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A number that a study may be about."""

    name: str
    source: dict[str, Any] | None
    """What `from` says; None where the name alone is enough."""
    better: str
    is_final: bool = False
    """Whether the script told it of its finished training."""


def guess_progress(task: TaskSpec, lines: Sequence[str]) -> Offer | None:
    """Return where rows of progress are, if the lines of a log have a known form and nothing is said yet."""
    preset = recognise(lines) if task.progress is None else None
    return None if preset is None else Offer(where=("task", "progress"), value={"stdout": f"{PRESET}{preset}"})


def guess_items(task: TaskSpec, tables: Iterable[TableSeen]) -> list[Offer]:
    """Return a line for each table of items that the helper wrote and the file does not name."""
    offers = []
    for table in tables:
        split = table.path.rpartition("/")[2].removesuffix(".csv")
        if table.kind == "scores" and split not in task.items:
            labels = {label: label for label in LABELS if label in table.names}
            value = {"file": table.path, "key": "key", **labels}
            offers.append(Offer(where=("task", "items", split), value=value))
    return offers


def guess_metrics(task: TaskSpec, observed: Observed) -> list[Offer]:
    """Return a line for each number that a study may be about, the likeliest first: that one is judged."""
    found: dict[str, Candidate] = {}
    for one in _candidates(task, observed):
        found.setdefault(one.name, one)
    ranked = sorted(found.values(), key=_rank)[:MAX_METRICS]
    return [_offer(one, is_judged=place == 0) for place, one in enumerate(ranked)]


def _rank(one: Candidate) -> tuple[bool, bool, int]:
    # Items are the strongest evidence. What a script tells at its end comes next, then what is of held-out data.
    return "items" not in (one.source or {}), not one.is_final, metric_rank(one.name)


def _offer(one: Candidate, *, is_judged: bool) -> Offer:
    value: dict[str, Any] = {"better": one.better}
    value |= {"margin": GUESSED_MARGIN} if is_judged else {"role": "shown"}
    return Offer(where=("metrics", one.name), value=value | ({} if one.source is None else {"from": one.source}))


def _candidates(task: TaskSpec, observed: Observed) -> Iterable[Candidate]:
    for table in observed.tables:
        if table.kind == "scores":
            yield from _of_items(table)
    finals = {name for row in observed.rows if row.step is None for name in row.values}
    for name in dict.fromkeys(name for row in observed.rows for name in row.values):
        if (better := direction_of(name)) is not None:
            called = "accuracy" if "/" in name else name
            source = None if called == name else {"progress": name}
            yield Candidate(name=called, source=source, better=better, is_final=name in finals)
    for table in observed.tables:
        yield from _of_table(table)
    if task.progress is None:
        yield from _of_lines(observed.lines)


def _of_items(table: TableSeen) -> Iterable[Candidate]:
    split = table.path.rpartition("/")[2].removesuffix(".csv")
    for truth, prediction in PAIRS:
        if truth in table.names and prediction in table.names:
            yield Candidate(name="R2", source={"items": split, "r2": [truth, prediction]}, better="higher")
            error = f"{truth} - {prediction}"
            yield Candidate(name="RMSE", source={"items": split, "rmse": error}, better="lower")
    for name in table.names:
        if (better := direction_of(name)) is not None:
            called = "accuracy" if name == "correct" else name
            yield Candidate(name=called, source={"items": split, "mean": name}, better=better)


def _of_table(table: TableSeen) -> Iterable[Candidate]:
    for name in table.names:
        better = direction_of(name)
        if better is None or table.kind == "scores":
            continue
        sources: dict[str, dict[str, Any]] = {
            "reported": {"reported": name},
            "csv": {"csv": table.path, "column": name},
            "jsonl": {"jsonl": table.path, "key": name},
            "json": {"file": table.path, "key": name},
            "trainer_state": {"trainer_state": table.path, "key": name},
        }
        yield Candidate(name=name, source=sources[table.kind], better=better)


def _of_lines(lines: Sequence[str]) -> Iterable[Candidate]:
    preset = recognise(lines)
    if preset is None:
        return
    reader = build_reader(f"{PRESET}{preset}")
    told = [found for line in lines if (found := reader.find(line)) is not None]
    for name in dict.fromkeys(name for found in told for name in found.values):
        if (better := direction_of(name)) is not None:
            # The offered progress tells this name.
            yield Candidate(name=name, source=None, better=better)
