"""Puts what a benchmark prints between two marks of a file."""

import sys
from collections.abc import Iterable
from pathlib import Path

Marks = tuple[str, str]


def publish(lines: Iterable[str], path: Path | None, marks: Marks) -> None:
    """Print lines as they come, and put them between the marks of a file if one is named."""
    around = around_marks(path, marks) if path else None
    table = []
    for line in lines:
        print(line, flush=True)
        table.append(line)
    if path is not None and around is not None:
        path.write_text("\n".join([around[0], *table, around[1]]), encoding="utf-8")


def around_marks(path: Path, marks: Marks) -> tuple[str, str]:
    """Return what a file has before and after its marks, the marks included; end where it has none."""
    text, (begin, end) = path.read_text(encoding="utf-8"), marks
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{path}: needs one line `{begin}` and one `{end}` to put the tables between")
    return text[: text.index(begin) + len(begin)], text[text.index(end) :]
