"""The numbers of a finished run, read from the files that are kept of it.

A wrong source is mended in the campaign file and read again. Nothing is trained for that, and every error says so.
"""

import codecs
import itertools
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import structs
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from orchestrator.errors import KnockoutError
from orchestrator.files import LARGE_BYTES, SMALL_BYTES
from orchestrator.reading.patterns import PRESET, Pattern, clean_lines, resolution_of
from orchestrator.reading.presets import KEY_VALUE, build_reader, explain_absent, explain_ambiguous
from orchestrator.reading.progress import (
    LogFollower,
    Row,
    attempts_by_falls,
    finite_values,
    pick_row,
    read_progress,
    settle_attempts,
)
from orchestrator.reading.sources import (
    Best,
    CsvSource,
    FileSource,
    JsonLinesSource,
    LogSource,
    Pick,
    ProgressSource,
    Reading,
    ReadingError,
    ReportedSource,
    RowSource,
    Source,
    TensorBoardSource,
    TrainerStateSource,
)
from orchestrator.reading.tables import (
    MAX_SHOWN,
    SPOILT,
    find_key,
    load_extra,
    open_plain,
    parse_json,
    read_csv,
    read_json_lines,
    read_text,
    require_number,
    to_number,
)
from orchestrator.wording import did_you_mean, listed, one_line

MAX_YAML_BYTES = 2**20
"""Most bytes of a YAML file with a number: its parser is slow."""
PIECE_BYTES = 2**20
"""How many bytes of a log are read at a time."""
TAIL_BYTES = 2**16
"""How many of a log's last bytes are searched for the lines that a message shows."""
NEW_LINE = "\n"
MAX_NAMED = 3
"""How many files a message names, where one is wanted."""


def read_metric(metric: str, source: Source, pick: Pick = "last", *, starts_over: bool = False) -> Reading:
    """Read one metric of one run.

    Args:
        metric: the name of the metric, for messages.
        source: where its number is found.
        pick: which row counts, if the source has rows.
        starts_over: whether each attempt of the run began from nothing.

    Raises:
        ReadingError: there is no finite number; the sentence says where, what was found, and what to mend.
    """
    try:
        if isinstance(source, FileSource):
            return _finite(_read_file_value(source))
        name, rows = read_rows(source, (pick.name,) if isinstance(pick, Best) else ())
        return _finite(_reading_of(pick_row(settle_attempts(rows, starts_over=starts_over), name, pick), name))
    except KnockoutError as error:
        mend = f"mend `metrics.{metric}.from`, then `knockout report`: nothing is trained again"
        told = _at(source, str(error))
        # The message with a log's last lines ends in a line of that log.
        raise ReadingError(f"`{metric}`: {told}{NEW_LINE if NEW_LINE in told else '; '}{mend}") from None


def _at(source: Source, message: str) -> str:
    """Put the file in front of a message that does not name it."""
    return message if str(source.path) in message else f"{source.path}: {message}"


def _finite(reading: Reading) -> Reading:
    if not math.isfinite(reading.value):
        at = "" if reading.step is None else f" at step {reading.step:g}"
        raise ReadingError(f"the number{at} is not finite; the training diverged, or another row is wanted")
    return reading


def _reading_of(row: Row, name: str) -> Reading:
    value = row.values[name]
    over, is_ratio, under = name.partition("/")
    parts = (row.values.get(over), row.values.get(under))
    return Reading(
        value=math.nan if value is None else value,
        step=row.step,
        resolution=row.resolutions.get(name),
        ratio=(parts[0], parts[1]) if is_ratio and parts[0] is not None and parts[1] is not None else None,
    )


def read_rows(source: RowSource, also: tuple[str, ...] = (), *, is_finished: bool = True) -> tuple[str, list[Row]]:
    """Read the rows of a source, in the order of the file.

    Args:
        source: where they are found.
        also: other names that are wanted in the same rows, for sources that are asked for each name.
        is_finished: whether nobody writes the file any more, so that its last line is whole.

    Returns:
        The name that the source's value has in the rows, and the rows; not yet settled by `settle_attempts`.

    Raises:
        ReadingError: they cannot be read.
        SpecError: the pattern of a log is refused.
    """
    rows: list[Row]
    match source:
        case ProgressSource(path=path, name=name):
            rows = read_progress(path)
        case ReportedSource(path=path, name=name):
            rows = read_reported(path, name)
        case LogSource():
            name, rows = _read_log(source)
        case CsvSource(column=name):
            rows = _read_csv_rows(source, (name, *also), is_finished)
        case JsonLinesSource(path=path, key=name, step=step):
            lines = ((f"{path}:{row}", value) for row, value in read_json_lines(path))
            rows = _rows_of_objects(lines, (name, *also), step)
        case TrainerStateSource(path=path, key=name):
            rows = _rows_of_objects(_read_history(path), (name, *also), "step")
        case TensorBoardSource(path=path, tag=name):
            rows = read_scalars(path, (name, *also))
    return name, rows


def read_reported(path: Path, wanted: str = "") -> list[Row]:
    """Read what the helper, or a line of JSON from any language, reports.

    A line with `step` is a row of progress. A line without it tells numbers of the finished training, of which the
    last counts. A line that is no JSON object was cut off when its writer was killed, and is left out. So are values
    that are no numbers.

    Args:
        path: the file.
        wanted: a name whose values must all be numbers.

    Raises:
        ReadingError: the file is missing or cannot be read, or a wanted value is no number.
    """
    rows = []
    for place, value in read_json_lines(path, is_strict=False):
        step = value.pop("step", None)
        numbers = {name: one for name, one in value.items() if one is not None}
        numbers = {name: one for name, one in numbers.items() if name == wanted or to_number(one) is not None}
        empty = {name: None for name, one in value.items() if one is None}
        row = _build_row(f"{path}:{place}", numbers, step)
        rows.append(structs.replace(row, values=row.values | empty))
    return attempts_by_falls(rows)


def _read_log(source: LogSource) -> tuple[str, list[Row]]:
    reader = build_reader(source.pattern)
    name = source.name or _only_name(source.pattern, reader)
    rows = []
    ends = itertools.pairwise((0, *source.attempt_bytes, LARGE_BYTES))
    for attempt, (begin, end) in enumerate(ends):
        follower = LogFollower([reader], attempt)
        rows += [row for piece in _read_pieces(source.path, begin, end) for row in follower.feed(piece)]
        rows += follower.finish()
    if not any(name in row.values for row in rows) and (told := _explain_log(source, name, has_rows=bool(rows))):
        raise ReadingError(told)
    return name, rows


def _explain_log(source: LogSource, name: str, *, has_rows: bool) -> str | None:
    """Say why a log does not tell a name; None if other names are told, so that the nearest can be named."""
    lines = list(clean_lines(_read_tail(source.path)))
    # Only there does a name stand right before its number.
    several = explain_ambiguous(name, lines) if source.pattern == f"{PRESET}{KEY_VALUE}" else None
    return several or (None if has_rows else explain_absent(str(source.path), source.pattern, lines))


def _read_pieces(path: Path, begin: int, end: int) -> Iterator[str]:
    """Yield the text of a log between two places, in bytes; bytes that are no UTF-8 become question marks.

    Raises:
        ReadingError: it cannot be read, or is too large.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with open_plain(path, LARGE_BYTES) as file:
        file.seek(begin)
        while content := file.read(min(PIECE_BYTES, end - file.tell())):
            yield decoder.decode(content)


def _read_tail(path: Path) -> str:
    with open_plain(path, LARGE_BYTES) as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        return file.read(TAIL_BYTES).decode("utf-8", errors="replace")


def _only_name(text: str, reader: object) -> str:
    names = reader.quantities if isinstance(reader, Pattern) else ()
    if len(names) == 1:
        return names[0]
    told = f"has {listed(f'`{name}`' for name in names)}" if names else "takes the names from the lines"
    raise ReadingError(f'"{text}" {told}; say which number is meant with `name:`')


def _read_csv_rows(source: CsvSource, names: tuple[str, ...], is_finished: bool) -> list[Row]:
    table = read_csv(source.path, is_finished=is_finished)
    columns = {name: table.column(name) for name in names}
    steps = table.column(source.step) if source.step else None
    rows = []
    for place, row in enumerate(table.rows):
        # A training that writes two kinds of rows to one file leaves the columns of the other kind empty.
        filled = {name: cell for name, cells in columns.items() if (cell := cells[place].strip())}
        if filled:
            rows.append(_build_row(f"{source.path}:{row}", filled, steps[place] if steps is not None else None))
    return _count_steps(rows, source.step)


def _rows_of_objects(
    objects: Iterable[tuple[str, Mapping[str, Any]]], names: tuple[str, ...], step_name: str | None
) -> list[Row]:
    """Build the rows of objects, each with its place for messages, that have one of some dotted keys."""
    rows = []
    for place, value in objects:
        filled = {name: found for name in names if (found := _find(value, name)) is not None}
        if filled:
            rows.append(_build_row(place, filled, _find(value, step_name) if step_name else None))
    return _count_steps(rows, step_name)


def _find(value: Mapping[str, Any], key: str) -> Any:
    try:
        return find_key(value, key)
    except KeyError:
        return None


def _build_row(place: str, values: Mapping[str, Any], step: Any) -> Row:
    numbers = {name: require_number(value, place, f"`{name}`") for name, value in values.items()}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    units = {name: unit for name, text in texts.items() if (unit := resolution_of(text)) is not None}
    told = None if step is None else to_number(step)
    return Row(step=told, values=finite_values(numbers), resolutions=units)


def _count_steps(rows: list[Row], step_name: str | None) -> list[Row]:
    """Tell attempts apart by the steps where their name is given; else the order of the file is all that is known."""
    return attempts_by_falls(rows) if step_name else rows


def _read_history(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    state = parse_json(path, read_text(path, SMALL_BYTES))
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise ReadingError(f"{path}: has no list `log_history`, so it is no state of a Trainer; name another file")
    for place, entry in enumerate(history):
        if isinstance(entry, dict):
            yield f"{path}: log_history.{place}", entry


def read_scalars(folder: Path, tags: tuple[str, ...]) -> list[Row]:
    """Read scalars of a folder of TensorBoard's event files, with the package tensorboard; without tags, read all.

    Raises:
        ReadingError: the package is missing, there are no events, or they have no such tag.
    """
    if not folder.exists():
        raise ReadingError(f"{folder}: there is no such folder; the run did not write it, or it has another name")
    module = "tensorboard.backend.event_processing.event_accumulator"
    events = load_extra(module, f"{folder}: to read events of TensorBoard", "tensorboard")
    # Zero keeps all scalars; by default only a sample of them is kept.
    accumulator = events.EventAccumulator(str(folder), size_guidance={events.SCALARS: 0})
    try:
        accumulator.Reload()
        there = list(accumulator.Tags()[events.SCALARS])
        scalars = [(tag, scalar) for tag in tags or there if tag in there for scalar in accumulator.Scalars(tag)]
    except SPOILT as error:
        raise ReadingError(f"{folder}: its events cannot be read: {one_line(str(error), MAX_SHOWN)}") from None
    if tags and tags[0] not in there:
        raise ReadingError(f"{folder}: its events have no scalar `{tags[0]}`{did_you_mean(tags[0], there)}")
    return _join_tags(scalars)


def _join_tags(scalars: list[tuple[str, Any]]) -> list[Row]:
    """Count the attempts of each tag by itself, then put the rows of one attempt and step beside each other."""
    by_tag: dict[str, list[Row]] = {}
    for tag, scalar in scalars:
        by_tag.setdefault(tag, []).append(Row(step=scalar.step, values=finite_values({tag: scalar.value})))
    rows = [row for one in by_tag.values() for row in attempts_by_falls(one)]
    return sorted(rows, key=lambda row: (row.attempt, row.step))


def _read_file_value(source: FileSource) -> Reading:
    parse = PARSERS.get(source.path.suffix)
    if parse is None:
        raise ReadingError(f"{source.path}: a file that ends in {ENDINGS} is wanted; for a table say `csv` or `jsonl`")
    whole = parse(source.path)
    try:
        found = find_key(whole, source.key)
    except KeyError as error:
        raise ReadingError(f"{source.path}: `{source.key}`: {error.args[0]}") from None
    return Reading(
        value=require_number(found, str(source.path), f"`{source.key}`"),
        resolution=resolution_of(found) if isinstance(found, str) else None,
    )


def _parse_json_file(path: Path) -> Any:
    return parse_json(path, read_text(path, SMALL_BYTES))


def _parse_toml(path: Path) -> Any:
    try:
        return tomllib.loads(read_text(path, SMALL_BYTES))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ReadingError(f"{path}: this is no TOML: {one_line(str(error), 2 * MAX_SHOWN)}") from None


def _parse_yaml(path: Path) -> Any:
    """Parse YAML as plain values; an alias is one value in two places, so it cannot grow the memory."""
    text = read_text(path, MAX_YAML_BYTES)
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise ReadingError(f"{path}: this is no plain YAML: {one_line(str(error), 2 * MAX_SHOWN)}") from None


PARSERS: dict[str, Callable[[Path], Any]] = {
    ".json": _parse_json_file,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
}
"""Ending of a file's name -> how its values are read."""
ENDINGS = ".json, .yaml, .yml or .toml"


def find_file(root: Path, text: str) -> Path:
    """Return the one file or folder that a path with `*` and `?` names below a root.

    Several checkpoints hold a `trainer_state.json`, and each state holds those before it. So where only numbers differ
    in the names, the path with the largest numbers is meant.

    Args:
        root: the folder that a relative path begins in.
        text: the path.

    Raises:
        ReadingError: there is none, or there are several with other names.
    """
    path = root / text
    if not any(sign in text for sign in "*?["):
        return path
    base = Path(path.anchor)
    found = sorted(base.glob(str(path.relative_to(base))), key=_by_numbers)
    if not found:
        raise ReadingError(f"{path}: no file has such a name; the run did not write it, or it has another name")
    if len({re.sub(r"\d+", "0", str(one)) for one in found}) > 1:
        shown = listed(str(one.relative_to(root) if one.is_relative_to(root) else one) for one in found[:MAX_NAMED])
        raise ReadingError(f"{path}: {len(found)} files have such a name, such as {shown}; name one of them")
    return found[-1]


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]
