"""Rows of progress: a step, named numbers, when they arrived, and in which attempt of the run. Pure but for one reader.

Scripts destroy their own tables when they resume. So these rows are copied to `progress.jsonl` as they appear.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.files import LARGE_BYTES, read_plain
from orchestrator.reading.patterns import MAX_LINE, Found, LineReader, clean_lines, split_tail
from orchestrator.reading.sources import Best, Pick, ReadingError
from orchestrator.wording import did_you_mean


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of progress, a line of `progress.jsonl`."""

    step: float | None = None
    """What the row counts: an epoch or a step; None where nothing says it."""
    values: dict[str, float | None]
    """Name -> number; None for a number that is not finite."""
    at_seconds: float | None = None
    """When the row arrived, in seconds since its attempt began; None where the row was read afterwards."""
    attempt: int = 0
    """Which start of the run the row is from; the first is 0."""
    resolutions: dict[str, float] = {}
    """Name -> one unit in the last digit that was printed, for numbers that were read as text."""
    source: str = "log"
    """Where it was found: in the log, or in the file of that name."""


def finite_values(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values of a row: numbers that are not finite become None."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def encode_row(row: Row) -> bytes:
    """Return a row as one line of JSON."""
    return msgspec.json.encode(row) + b"\n"


def read_progress(path: Path) -> list[Row]:
    """Read the rows of a `progress.jsonl`; empty if it is missing. A line that is not whole is left out.

    Raises:
        ReadingError: it cannot be read.
    """
    try:
        content = read_plain(path, LARGE_BYTES)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ReadingError(f"{path}: cannot be read: {error}") from None
    decoder = msgspec.json.Decoder(Row)
    rows = []
    for line in content.splitlines():
        # We write this file, so a line that does not fit was cut off by the end of the machine or of the disk.
        try:
            rows.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return rows


class LogFollower:
    """Turns the text of one attempt's log, piece by piece as it arrives, into rows.

    A line that tells no step belongs to the step that was told last. Where no reader knows a step, the rows of each
    set of names are counted from 1.
    """

    def __init__(self, readers: Sequence[LineReader], attempt: int = 0, step_name: str | None = None) -> None:
        self._readers = [(reader, step_name or reader.step_name) for reader in readers]
        self._attempt = attempt
        self._knows_steps = any(name is not None for _, name in self._readers)
        self._step: float | None = None
        self._counts: dict[tuple[str, ...], int] = {}
        self._tail = ""

    def feed(self, text: str, at_seconds: float | None = None) -> list[Row]:
        """Return the rows of the lines that this piece of the log completes.

        Args:
            text: the piece.
            at_seconds: when it arrived, in seconds since the attempt began.
        """
        whole, self._tail = split_tail(self._tail + text)
        # Only the head of a line is searched, so a line without an end needs no more memory than that.
        self._tail = self._tail[: 4 * MAX_LINE]
        return [row for line in clean_lines(whole) for row in self._rows_of(line, at_seconds)]

    def finish(self, at_seconds: float | None = None) -> list[Row]:
        """Return the rows of a last line that has no end."""
        return self.feed("\n", at_seconds)

    def _rows_of(self, line: str, at_seconds: float | None) -> Iterator[Row]:
        for reader, step_name in self._readers:
            found = reader.find(line)
            if found is not None:
                yield from self._row(found, step_name, at_seconds)

    def _row(self, found: Found, step_name: str | None, at_seconds: float | None) -> Iterator[Row]:
        step = self._find_step(found, step_name)
        values = {name: value for name, value in found.values.items() if name != step_name}
        if values:
            yield Row(
                step=step,
                values=finite_values(values),
                at_seconds=at_seconds,
                attempt=self._attempt,
                resolutions={name: unit for name, unit in found.resolutions.items() if name in values},
            )

    def _find_step(self, found: Found, step_name: str | None) -> float | None:
        if self._knows_steps:
            told = found.values.get(step_name or "")
            self._step = told if told is not None and math.isfinite(told) else self._step
            return self._step
        names = tuple(found.values)
        self._counts[names] = self._counts.get(names, 0) + 1
        return float(self._counts[names])


def attempts_by_falls(rows: Sequence[Row]) -> list[Row]:
    """Count attempts by the steps: a step that is lower than the one before begins a new attempt.

    For files that a script writes itself, where a step's name can be trusted. A row that repeats a step does not begin
    one.
    """
    attempt, before = 0, -math.inf
    counted = []
    for row in rows:
        step = before if row.step is None else row.step
        attempt += step < before
        before = step
        counted.append(msgspec.structs.replace(row, attempt=attempt))
    return counted


def settle_attempts(rows: Sequence[Row], *, starts_over: bool = False) -> list[Row]:
    """Return the rows that hold: what a later attempt reports again supersedes the earlier rows and all after them.

    Rows of one step that follow each other become one row.

    Args:
        rows: the rows in the order in which they arrived.
        starts_over: whether an attempt begins from nothing, so that only the last one holds.
    """
    if starts_over:
        last = max((row.attempt for row in rows), default=0)
        rows = [row for row in rows if row.attempt == last]
    kept: list[Row] = []
    lowest: dict[int, float] = {}
    for row in rows:
        # Only a step below all others of its attempt can supersede more than those did before.
        if row.step is not None and row.step < lowest.get(row.attempt, math.inf):
            lowest[row.attempt] = row.step
            kept = [old for old in kept if _holds(old, row.attempt, row.step)]
        if kept and row.step is not None and (kept[-1].step, kept[-1].attempt) == (row.step, row.attempt):
            kept[-1] = _joined(kept[-1], row)
        else:
            kept.append(row)
    return kept


def _holds(old: Row, attempt: int, step: float) -> bool:
    return old.attempt >= attempt or old.step is None or old.step < step


def _joined(first: Row, second: Row) -> Row:
    # The values of a step are complete when the last of them arrives.
    return msgspec.structs.replace(
        second, values=first.values | second.values, resolutions=first.resolutions | second.resolutions
    )


def row_seconds(rows: Sequence[Row]) -> list[float | None]:
    """Return for each row the seconds since the row before it; None for the first row of each attempt.

    The first row's seconds hold the imports and the reading of data, so they say nothing about a step.
    """
    first: list[float | None] = [None] if rows else []
    return first + [_between(before, row) for before, row in itertools.pairwise(rows)]


def _between(before: Row, row: Row) -> float | None:
    if before.attempt != row.attempt or before.at_seconds is None or row.at_seconds is None:
        return None
    return row.at_seconds - before.at_seconds


def pick_row(rows: Sequence[Row], name: str, pick: Pick) -> Row:
    """Return the row that counts, of those that tell a name.

    Args:
        rows: the rows that hold, in their order.
        name: the value that is wanted.
        pick: the first, the last, or the one where another value is best; of equal ones the first.

    Raises:
        ReadingError: no row tells the name, or none tells it beside the other value.
    """
    filled = [row for row in rows if name in row.values]
    if not filled:
        raise ReadingError(_explain_missing(rows, name))
    if not isinstance(pick, Best):
        return filled[0 if pick == "first" else -1]
    sign = 1.0 if pick.better == "higher" else -1.0
    scored = [(sign * value, row) for row in filled if (value := row.values.get(pick.name)) is not None]
    if not scored:
        raise ReadingError(_explain_missing(rows, pick.name, beside=name))
    return max(scored, key=lambda pair: pair[0])[1]


def _explain_missing(rows: Sequence[Row], name: str, beside: str = "") -> str:
    told = list(dict.fromkeys(known for row in rows for known in row.values))
    if beside:
        return f"no row tells a finite `{name}` beside `{beside}`; pick by a value that stands in the same rows"
    return f"no row tells `{name}`{did_you_mean(name, told)}" if told else f"no row tells `{name}`: there are no rows"
