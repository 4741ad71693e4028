"""Reads every number of a table of progress while its command still writes it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from orchestrator.files import SMALL_BYTES
from orchestrator.reading.metrics import read_reported, read_scalars
from orchestrator.reading.patterns import resolution_of
from orchestrator.reading.progress import Row, finite_values
from orchestrator.reading.tables import parse_json, read_csv, read_json_lines, read_text, to_number

TableKind = Literal["csv", "jsonl", "tensorboard", "trainer_state", "reported"]


def read_table(kind: TableKind, path: Path, step: str) -> list[Row]:
    """Return the rows of a table, with all their numbers.

    Args:
        kind: its format.
        path: the file, or the folder of TensorBoard's events.
        step: the column or key that counts steps. Without one, the rows are counted.

    Raises:
        ReadingError: it is missing, or not whole yet.
    """
    match kind:
        case "reported":
            return read_reported(path)
        case "tensorboard":
            return read_scalars(path, ())
        case "csv":
            table = read_csv(path, is_finished=False)
            cells = [dict(zip(table.there, row, strict=True)) for row in zip(*table.columns.values(), strict=True)]
            return _build_rows(cells, step)
        case "jsonl":
            return _build_rows((value for _, value in read_json_lines(path, is_strict=False)), step)
        case "trainer_state":
            state = parse_json(path, read_text(path, SMALL_BYTES))
            history = state.get("log_history", []) if isinstance(state, dict) else []
            return _build_rows((entry for entry in history if isinstance(entry, dict)), step or "step")


def _build_rows(entries: Iterable[Mapping[str, Any]], step: str) -> list[Row]:
    rows = []
    for number, entry in enumerate(entries, 1):
        values = _flatten(entry)
        # A row without its step belongs to another kind of rows in the same file, and counts none.
        rows.append(_build_row(values, to_number(values.pop(step, None)) if step else float(number)))
    return [row for row in rows if row.values]


def _build_row(values: Mapping[str, Any], step: float | None) -> Row:
    numbers = {name: number for name, value in values.items() if (number := to_number(value)) is not None}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    units = {name: unit for name, text in texts.items() if (unit := resolution_of(text.strip())) is not None}
    return Row(step=step, values=finite_values(numbers), resolutions=units)


def _flatten(entry: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return dotted name -> value, of an object in objects."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        flat |= _flatten(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat
