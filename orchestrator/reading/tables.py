"""Files that others write, read within bounds: CSV, JSON lines, NPZ and Parquet. Every refusal is a sentence.

Rows are counted as a person finds them: the lines of a text file, the head being row 1; else from 1.
"""

import csv
import importlib
import io
import json
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import explain_os_error
from orchestrator.files import LARGE_BYTES, require_plain
from orchestrator.reading.sources import ReadingError
from orchestrator.wording import did_you_mean, one_line

MAX_TEXT_BYTES = 2**28
"""Most bytes of a table that is text: its cells take several times that in memory."""
MAX_ROWS = 5_000_000
"""Most rows of a table."""
MAX_SHOWN = 60
"""Most characters of a found value that a message shows."""
SPOILT = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)
"""Errors of reading an archive that is cut or spoilt; an encrypted one raises a RuntimeError."""
FLAGS = {"true": 1.0, "false": 0.0}
"""How languages write truth, in small letters."""

Cells = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Named columns of equal length, as they stand in a file.

    Attributes:
        path: the file, for messages.
        columns: name -> cells: text in a CSV file, else values of any kind.
        rows: the row of each cell, as a person counts them.
        there: every name of the file's head, also of columns that were not read.
    """

    path: Path
    columns: dict[str, Cells]
    rows: Sequence[int]
    there: Sequence[str]

    def column(self, name: str) -> Cells:
        """Return the cells of a column.

        Raises:
            ReadingError: there is no such column, or there are several.
        """
        if self.there.count(name) > 1:
            raise ReadingError(f"{self.path}: column `{name}` stands in the head twice; give one of them another name")
        if name not in self.columns:
            raise ReadingError(f"{self.path}: there is no column `{name}`{did_you_mean(name, self.there)}")
        return self.columns[name]

    def refuse(self, place: int, what: str) -> ReadingError:
        """Return an error about a row, named by its place in the columns."""
        return ReadingError(f"{self.path}:{self.rows[place]}: {what}")


@contextmanager
def open_plain(path: Path, limit_bytes: int) -> Iterator[IO[bytes]]:
    """Open a plain file of bounded size; every error of the system inside the block becomes a sentence.

    Raises:
        ReadingError: it is missing, is no plain file, is too large, or cannot be read.
    """
    try:
        require_plain(path, limit_bytes)
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise ReadingError(explain_os_error(error)) from None
    except ValueError as error:
        raise ReadingError(f"{path}: cannot be read: {error}") from None


def missing(path: Path) -> ReadingError:
    """Return an error about a file that is not there."""
    return ReadingError(f"{path}: there is no such file; the run did not write it, or it has another name")


def read_text(path: Path, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a whole file of UTF-8, with or without a byte order mark.

    Raises:
        ReadingError: as `open_plain`, or it is not UTF-8.
    """
    with open_plain(path, limit_bytes) as file:
        content = file.read(limit_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ReadingError(f"{path}:{line}: this is not UTF-8 (byte {content[error.start]:#04x})") from None


def read_csv(path: Path, *, is_finished: bool = True) -> Table:
    """Read a CSV file with a head; a `.tsv` file is separated by tabs.

    A torn last line, which has no end and too few cells, is left out. While the file is still being written, every last
    line without an end is left out: its last number may be cut.

    Args:
        path: the file.
        is_finished: whether nobody writes it any more.

    Raises:
        ReadingError: it cannot be read, has no head, or a row has another number of cells than the head.
    """
    text = read_text(path)
    head, records, rows = _read_records(path, text)
    if records and not text.endswith(("\n", "\r")) and (not is_finished or len(records[-1]) < len(head)):
        records.pop()
    for row, record in zip(rows, records, strict=False):
        if len(record) != len(head):
            raise ReadingError(f"{path}:{row}: found {len(record)} cells, the head names {len(head)} columns")
    columns = zip(*records, strict=True) if records else ((),) * len(head)
    return Table(path, dict(zip(head, columns, strict=True)), rows[: len(records)], head)


def _read_records(path: Path, text: str) -> tuple[list[str], list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
    head: list[str] = []
    records: list[list[str]] = []
    rows: list[int] = []
    try:
        for record in reader:
            if not head:
                head = [name.strip() for name in record]
            elif record:  # an empty line has no cells
                records.append(record)
                rows.append(reader.line_num)
            if len(records) > MAX_ROWS:
                raise ReadingError(f"{path}: has more than {MAX_ROWS:,} rows; write fewer")
    except csv.Error as error:
        raise ReadingError(f"{path}:{reader.line_num}: this is no CSV: {error}") from None
    if not head:
        raise ReadingError(f"{path}: is empty; a line of names, then a line for each row is wanted")
    return head, records, rows


def read_json_lines(path: Path, *, is_strict: bool = True) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield row and object of each line; a torn last line, which has no end, is left out.

    Args:
        path: the file.
        is_strict: whether a line that is no object is refused; else it is left out.

    Raises:
        ReadingError: it cannot be read, or a line is no JSON object.
    """
    text = read_text(path)
    lines = text.split("\n")
    if len(lines) > MAX_ROWS:
        raise ReadingError(f"{path}: has more than {MAX_ROWS:,} rows; write fewer")
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        value, problem = _parse_object(line)
        is_torn = row == len(lines)
        if value is not None:
            yield row, value
        elif is_strict and not is_torn:
            raise ReadingError(f"{path}:{row}: {problem}, found `{one_line(line, MAX_SHOWN)}`")


def _parse_object(line: str) -> tuple[dict[str, Any] | None, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None, "this is no JSON; one object a line is wanted"
    return (value, "") if isinstance(value, dict) else (None, 'one object a line is wanted, such as {"step": 1}')


def parse_json(path: Path, text: str) -> Any:
    """Parse a whole JSON file; `NaN` and `Infinity` are taken, as Python writes them.

    Raises:
        ReadingError: it is no JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ReadingError(f"{path}:{error.lineno}: this is no JSON: {error.msg}; is the file whole?") from None
    except (ValueError, RecursionError) as error:
        raise ReadingError(f"{path}: this is no JSON that can be read: {one_line(str(error), MAX_SHOWN)}") from None


def find_key(value: Any, dotted: str) -> Any:
    """Return what stands at a dotted key of nested mappings and lists; a key that has dots itself is found too.

    Example: `results.0.accuracy` of {"results": [{"accuracy": 0.9}]} is 0.9.

    Raises:
        KeyError: there is nothing; its words name the part that is missing and what is there instead.
    """
    if isinstance(value, dict) and dotted in value:
        return value[dotted]
    names = dotted.split(".")
    # The longest name first, so that `eval.loss` is found where a library writes it as one key.
    for end in range(len(names) - 1, 0, -1):
        head, rest = ".".join(names[:end]), ".".join(names[end:])
        if (inner := _step_into(value, head)) is not None:
            return find_key(inner, rest)
    if (found := _step_into(value, dotted)) is not None:
        return found
    there = list(map(str, value)) if isinstance(value, dict) else [str(place) for place in range(_length(value))]
    raise KeyError(f"there is no `{names[0]}`{did_you_mean(names[0], there)}" if there else f"there is no `{names[0]}`")


def _step_into(value: Any, name: str) -> Any:
    if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return value.get(name) if isinstance(value, dict) else None


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def to_number(value: Any) -> float | None:
    """Return a value as a number: truth is 1 or 0, and text may hold a number; None if it is none."""
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return _to_float(value)
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() in FLAGS:
        return FLAGS[text.lower()]
    # Python takes `1_000` for a number, and no other program does.
    return None if "_" in text else _to_float(text)


def require_number(value: Any, place: str, what: str) -> float:
    """Return a value as a number, as `to_number` does.

    Args:
        value: what was found.
        place: file and row, for the message.
        what: the column or key, for the message.

    Raises:
        ReadingError: it is no number.
    """
    number = to_number(value)
    if number is None:
        raise ReadingError(f"{place}: {what} holds `{one_line(str(value), MAX_SHOWN)}`, a number is wanted")
    return number


def _to_float(value: Any) -> float | None:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond the range of floating-point numbers
        return math.inf
    except (ValueError, TypeError):
        return None


def read_npz(path: Path, names: Sequence[str] | None) -> Table:
    """Read arrays with one axis of an NPZ file; nothing is unpickled, and sizes are checked before they are believed.

    Args:
        path: the file.
        names: the arrays to read; None reads all.

    Raises:
        ReadingError: it cannot be read, or an array is of a kind that no table has.
    """
    try:
        with open_plain(path, LARGE_BYTES) as file, zipfile.ZipFile(file) as archive:
            infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = [name for name in infos if names is None or name in names]
            if sum(infos[name].file_size for name in wanted) > LARGE_BYTES:
                raise ReadingError(f"{path}: would unpack to more than {LARGE_BYTES:,} bytes; write fewer")
            columns: dict[str, Cells] = {name: _read_array(path, archive, infos[name]) for name in wanted}
    except SPOILT as error:
        raise ReadingError(f"{path}: is cut, or no NPZ file: {one_line(str(error), MAX_SHOWN)}") from None
    return _build_table(path, columns, list(infos))


def _read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as member:
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, kind = read_header[np.lib.format.read_magic(member)](member)
        # An array of objects would be unpickled, and that can execute code.
        if kind.kind not in "biufU":
            raise ReadingError(f"{path}: `{name}` is of type {kind}; numbers, truth or text are wanted")
        if len(shape) != 1:
            raise ReadingError(f"{path}: `{name}` has the shape {shape}; one number for each item is wanted")
        # `np.load` would first allocate what the header declares.
        if kind.itemsize * shape[0] != info.file_size - member.tell():
            raise ReadingError(f"{path}: `{name}` says {shape[0]:,} items, and holds another number; it is cut")
        return np.frombuffer(member.read(), dtype=kind)


def read_parquet(path: Path, names: Sequence[str] | None) -> Table:
    """Read columns of a Parquet file, with the package pyarrow.

    Raises:
        ReadingError: pyarrow is missing, or the file cannot be read.
    """
    parquet = load_extra("pyarrow.parquet", f"{path}: to read Parquet", "parquet")
    try:
        with open_plain(path, LARGE_BYTES) as plain:
            file = parquet.ParquetFile(plain)
            if file.metadata.num_rows > MAX_ROWS:
                raise ReadingError(f"{path}: has more than {MAX_ROWS:,} rows; write fewer")
            there = list(file.schema_arrow.names)
            read = file.read(columns=[name for name in there if names is None or name in names])
        columns: dict[str, Cells] = {name: read.column(name).to_pylist() for name in read.column_names}
    except SPOILT as error:
        raise ReadingError(f"{path}: is cut, or no Parquet file: {one_line(str(error), MAX_SHOWN)}") from None
    return _build_table(path, columns, there)


def _build_table(path: Path, columns: dict[str, Cells], there: list[str]) -> Table:
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) > 1:
        told = ", ".join(f"{len(cells):,} of `{name}`" for name, cells in columns.items())
        raise ReadingError(f"{path}: its columns differ in length: {told}")
    number = lengths.pop() if lengths else 0
    if number > MAX_ROWS:
        raise ReadingError(f"{path}: has more than {MAX_ROWS:,} rows; write fewer")
    return Table(path, columns, range(1, number + 1), there)


def load_extra(module: str, purpose: str, extra: str) -> Any:
    """Import a package that only some users need.

    Raises:
        ReadingError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ReadingError(f"{purpose}, {package} is needed; `pip install 'knockout[{extra}]'` brings it") from None
