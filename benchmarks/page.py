"""Print a benchmark's lines, and write them between two marks of a file."""

import sys
from collections.abc import Iterable
from pathlib import Path

Marks = tuple[str, str]


def publish(lines: Iterable[str], path: Path | None, marks: Marks) -> None:
    """Print lines as they come, and write them between the marks of a file if one is named.

    The file is checked before the measurement, and read again after it, because somebody may edit it in the meantime.
    """
    if path is not None:
        around_marks(path, marks)
    table = []
    for line in lines:
        print(line, flush=True)
        table.append(line)
    if path is not None:
        before, after = around_marks(path, marks)
        path.write_text("\n".join([before, *table, after]), encoding="utf-8")


def around_marks(path: Path, marks: Marks) -> tuple[str, str]:
    """Return a file's text before and after its marks, including the marks; exit if it lacks them."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"{path}: cannot be read and written ({error}); name a file that holds the marks")
    begin, end = marks
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{path}: needs one line `{begin}` and one `{end}` to put the tables between")
    return text[: text.index(begin) + len(begin)], text[text.index(end) :]
