"""Answers that are kept in the user's cache, under a hash of the question, the command and the code that answers."""

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from orchestrator.files import UNREADABLE, content_hash, find_cache, read_plain, write_atomically

ANSWER_BYTES = 2**26
"""Most bytes of an answer that is kept."""
MAX_FILES = 5000
"""Most files of the code that are looked at; with more, no answer is kept."""
MAX_KEPT = 500
"""Most answers that are kept; the oldest go first."""
SETTLED_SECONDS = 2.5
"""Two changes of a file within this time may leave the same stamp on the coarsest file systems."""
_VARIABLE = re.compile(rb"\$\{(?P<name>[A-Za-z_]\w*)")


def find_key(words: Sequence[str], question: bytes, folder: Path, code: Iterable[str]) -> str | None:
    """Return the key of an answer; None if it cannot be kept, since the code has just changed or is too large.

    Args:
        words: the command.
        question: what it reads from its standard input.
        folder: the working folder of the command, which holds the code.
        code: git pathspecs of the code.
    """
    files = list(islice(_files_of(folder, words, code), MAX_FILES + 1))
    # Stamps and not contents: a campaign asks at every command, and must not read the whole code each time.
    stamps = [(str(path), *_stamp(path)) for path in sorted(files)]
    newest_ns = max((stamp[-1] for stamp in stamps), default=0)
    # A file of this moment may change once more without a new stamp.
    if len(files) > MAX_FILES or newest_ns > time.time_ns() - SETTLED_SECONDS * 1e9:
        return None
    # A path in the question may hold a variable, and the answer depends on its value.
    names = sorted({found["name"].decode() for found in _VARIABLE.finditer(question)})
    variables = [(name, os.environ.get(name)) for name in names]
    parts = [sys.version, str(folder.resolve()), list(words), variables, stamps]
    return content_hash(json.dumps(parts).encode("ascii") + b"\n" + question)


def _files_of(folder: Path, words: Sequence[str], code: Iterable[str]) -> Iterator[Path]:
    named = (word for word in words if not word.startswith("-"))
    yield from (path for word in named if (path := folder / word).is_file())
    for pathspec in code:
        place = folder / pathspec.rpartition(")")[2]
        if place.is_dir():
            # Byte code follows from the sources, and Python may write it at any moment.
            yield from (path for path in place.rglob("*.*") if path.suffix != ".pyc" and path.is_file())
        elif place.is_file():
            yield place


def _stamp(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_kept(key: str | None) -> bytes | None:
    """Return a kept answer; None if there is none."""
    folder = _folder()
    if key is None or folder is None:
        return None
    try:
        return read_plain(folder / key, ANSWER_BYTES)
    except UNREADABLE:
        return None


def keep(key: str | None, answer: bytes) -> None:
    """Keep an answer. A cache that cannot be written costs the time of another question, and nothing else."""
    folder = _folder()
    if key is None or folder is None:
        return
    with suppress(OSError):
        write_atomically(folder / key, answer)
        # Each edit of the code leaves the answers of the code before it.
        by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in by_age[:-MAX_KEPT]:
            path.unlink(missing_ok=True)


def _folder() -> Path | None:
    cache = find_cache()
    return cache / "knockout" / "answers" if cache is not None else None
