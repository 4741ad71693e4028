"""The scores of one split, item by item: the evidence that verdicts rest on.

Axes: B items.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import KnockoutError
from orchestrator.reading.sources import ItemTable, ReadingError
from orchestrator.reading.tables import (
    MAX_SHOWN,
    Cells,
    Table,
    find_key,
    read_csv,
    read_json_lines,
    read_npz,
    read_parquet,
    to_number,
)
from orchestrator.wording import counted, listed, one_line

MAX_NAMED = 3
"""How many keys a message names."""


@dataclass(frozen=True)
class Items:
    """The items of one split of one run, in the order of their file; the arrays go together."""

    keys_B: NDArray[np.str_]
    """The name of each item; no two are alike. Several key columns are joined by `|`."""
    stratum_B: NDArray[np.str_]
    """The fixed group of each item; all empty where the task names no stratum."""
    cluster_B: NDArray[np.str_] | None
    """The sampled group of each item; None where items are sampled one by one."""
    columns: Mapping[str, NDArray[np.float64]]
    """Name -> a finite number for each item [B]; truth is 1 or 0."""

    def __post_init__(self) -> None:
        groups = () if self.cluster_B is None else (self.cluster_B,)
        lengths = {len(values) for values in (self.keys_B, self.stratum_B, *groups, *self.columns.values())}
        if len(lengths) != 1:
            raise ValueError(f"arrays of items differ in length: {listed(sorted(lengths))}")

    @property
    def num_items(self) -> int:
        """B."""
        return len(self.keys_B)


def read_items(split: str, wanted: ItemTable) -> Items:
    """Read the items of one split of one run.

    Args:
        split: the name of the split, for messages.
        wanted: the file and its columns.

    Raises:
        ReadingError: the file cannot be read, a key stands there twice, or a number is none or not finite.
    """
    try:
        table = _read_table(wanted)
        # Keys first: a key that stands twice would make each later number ambiguous.
        keys_B = _join_keys([_texts(table, name) for name in wanted.key])
        _require_unique(table, keys_B)
        return Items(
            keys_B=keys_B,
            stratum_B=_texts(table, wanted.stratum) if wanted.stratum else np.full(len(keys_B), "", dtype=np.str_),
            cluster_B=_texts(table, wanted.cluster) if wanted.cluster else None,
            columns={name: _numbers(table, name) for name in _number_names(table, wanted)},
        )
    except KnockoutError as error:
        mend = f"mend `task.items.{split}`, then `knockout report`: nothing is trained again"
        raise ReadingError(f"items of `{split}`: {error}; {mend}") from None


def _read_table(wanted: ItemTable) -> Table:
    names = None if wanted.columns is None else (*_label_names(wanted), *wanted.columns)
    readers: dict[str, Callable[[], Table]] = {
        ".csv": lambda: read_csv(wanted.path),
        ".tsv": lambda: read_csv(wanted.path),
        ".jsonl": lambda: _read_objects(wanted, names),
        ".npz": lambda: read_npz(wanted.path, names),
        ".parquet": lambda: read_parquet(wanted.path, names),
    }
    # The ending decides. A look into the file would guess, and a wrong guess gives wrong numbers.
    if wanted.path.suffix not in readers:
        raise ReadingError(f"{wanted.path}: a file that ends in {listed(readers)} is wanted")
    table = readers[wanted.path.suffix]()
    if not table.rows:
        raise ReadingError(f"{wanted.path}: has no items; a row for each item is wanted")
    return table


def _label_names(wanted: ItemTable) -> tuple[str, ...]:
    """Return the columns that name items and their groups."""
    return tuple(name for name in (*wanted.key, wanted.cluster, wanted.stratum) if name is not None)


def _read_objects(wanted: ItemTable, names: Sequence[str] | None) -> Table:
    """Read JSON lines as columns: dotted names, or the keys of the first object; a key that is missing is None."""
    rows: list[int] = []
    cells: dict[str, list[Any]] = {name: [] for name in names or ()}
    there: dict[str, None] = {}
    for row, value in read_json_lines(wanted.path):
        if not rows:
            cells = cells or {name: [] for name in (*value, *_label_names(wanted))}
        rows.append(row)
        # Only what is wanted is kept: an evaluation writes whole prompts beside its scores.
        for name, column in cells.items():
            column.append(_find(value, name))
        there |= dict.fromkeys(value)
    found: dict[str, Cells] = {
        name: column for name, column in cells.items() if any(cell is not None for cell in column)
    }
    return Table(wanted.path, found, rows, list(there | dict.fromkeys(found)))


def _find(value: Mapping[str, Any], name: str) -> Any:
    try:
        return find_key(value, name)
    except KeyError:
        return None


def _number_names(table: Table, wanted: ItemTable) -> Sequence[str]:
    """Return the columns to read as numbers: those asked for, else all whose first cell is one."""
    if wanted.columns is not None:
        return wanted.columns
    labels = _label_names(wanted)
    return [name for name, cells in table.columns.items() if name not in labels and to_number(cells[0]) is not None]


def _texts(table: Table, name: str) -> NDArray[np.str_]:
    """Return a column of labels as text [B].

    Raises:
        ReadingError: there is no such column, or a cell is empty.
    """
    cells = table.column(name)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuU":
        texts_B: NDArray[np.str_] = cells.astype(np.str_)
    else:
        texts_B = np.array([_label(cell) for cell in cells], dtype=np.str_)
    for place in np.flatnonzero(texts_B == "")[:1]:
        raise table.refuse(int(place), f"column `{name}` is empty; each item needs one")
    return texts_B


def _label(cell: Any) -> str:
    """Return a cell as a label: 17.0 and 17 are the same, since a table may turn whole numbers into fractions."""
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    if isinstance(cell, str):
        return cell.strip()
    return "" if cell is None else json.dumps(cell.item() if isinstance(cell, np.generic) else cell, default=str)


def _join_keys(parts: list[NDArray[np.str_]]) -> NDArray[np.str_]:
    if len(parts) == 1:
        return parts[0]
    escaped = ([text.replace("\\", r"\\").replace("|", r"\|") for text in part_B.tolist()] for part_B in parts)
    return np.array(["|".join(texts) for texts in zip(*escaped, strict=True)], dtype=np.str_)


def _require_unique(table: Table, keys_B: NDArray[np.str_]) -> None:
    order_B = np.argsort(keys_B, kind="stable")
    same = np.flatnonzero(keys_B[order_B][1:] == keys_B[order_B][:-1])
    if len(same):
        first, second = (table.rows[order_B[same[0] + step]] for step in (0, 1))
        key = one_line(str(keys_B[order_B[same[0]]]), MAX_SHOWN)
        raise ReadingError(
            f"{table.path}: key `{key}` stands there twice (rows {first}, {second}); name columns that tell items apart"
        )


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column as finite numbers [B].

    Raises:
        ReadingError: there is no such column, or a cell is no finite number.
    """
    cells = table.column(name)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        values_B: NDArray[np.float64] = cells.astype(np.float64)
    else:
        values_B = _parse_cells(table, name, cells)
    for place in np.flatnonzero(~np.isfinite(values_B))[:1]:
        raise table.refuse(int(place), f"column `{name}` is {values_B[place]}; a finite number is wanted")
    return values_B


def _parse_cells(table: Table, name: str, cells: Cells) -> NDArray[np.float64]:
    numbers = [to_number(cell) for cell in cells]
    if None in numbers:
        place = numbers.index(None)
        found = one_line(str(cells[place]), MAX_SHOWN)
        is_empty = cells[place] is None or not found
        told = "is empty" if is_empty else f"holds `{found}`"
        raise table.refuse(place, f"column `{name}` {told}; a number is wanted")
    return np.array(numbers, dtype=np.float64)


def require_same_items(split: str, items_by_seed: Mapping[int, Items]) -> None:
    """Refuse runs of several seeds that were not scored on the same items.

    Args:
        split: the name of the split, for messages.
        items_by_seed: seed -> items.

    Raises:
        ReadingError: two seeds hold different keys, or put a key into different groups.
    """
    for (first, one), (second, other) in itertools.pairwise(sorted(items_by_seed.items())):
        told = _explain_keys(one, other, (first, second)) or _explain_groups(one, other, (first, second))
        if told:
            raise ReadingError(f"items of `{split}`: {told}")


def _explain_keys(one: Items, other: Items, seeds: tuple[int, int]) -> str | None:
    only = [np.setdiff1d(a.keys_B, b.keys_B) for a, b in ((one, other), (other, one))]
    if not any(len(keys) for keys in only):
        return None
    told = [
        f"{counted(len(keys), 'key')} of seed {seed} alone, such as {listed(f'`{key}`' for key in keys[:MAX_NAMED])}"
        for seed, keys in zip(seeds, only, strict=True)
        if len(keys)
    ]
    return (
        f"seeds {seeds[0]} and {seeds[1]} hold different keys: {'; '.join(told)}; "
        "if each seed draws its own test items, say `resampled: {test_share: ...}`; else name keys that stay"
    )


def _explain_groups(one: Items, other: Items, seeds: tuple[int, int]) -> str | None:
    """Say which key two runs with the same keys put into different groups; None if there is none."""
    orders = [np.argsort(items.keys_B) for items in (one, other)]
    keys_B = one.keys_B[orders[0]]
    for kind in ("stratum", "cluster"):
        groups = [getattr(items, f"{kind}_B") for items in (one, other)]
        if groups[0] is None or groups[1] is None:
            continue
        first_B, second_B = (values_B[order_B] for values_B, order_B in zip(groups, orders, strict=True))
        for place in np.flatnonzero(first_B != second_B)[:1]:
            return (
                f"key `{keys_B[place]}` is in {kind} `{first_B[place]}` at seed {seeds[0]} "
                f"and in `{second_B[place]}` at seed {seeds[1]}; an item stays in its {kind}, so name another column"
            )
    return None
