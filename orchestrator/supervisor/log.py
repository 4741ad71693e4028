"""The log of a run: what the command writes is read as it grows, and the supervisor's own sentences are added."""

import codecs
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 2**16
"""Most bytes of a log that are read at a time, so that a log of any size needs no memory."""
TAIL_LINES = 40
"""Last lines of the log that decide what an end means, and stand in the reason of a failure."""
TAIL_BYTES = 2**14
"""Most bytes of these."""
MAX_LINE_CHARACTERS = 1000
"""Most characters of one of these: of a progress bar the end is the newest."""
SIGN = "[knockout]"
"""Begins each line of the supervisor's own, so that no pattern takes it for one of the command's."""


class LogReader:
    """Reads a log from a place on, in pieces of text.

    A character may lie across two pieces. Bytes that are no UTF-8 become question marks.
    """

    def __init__(self, path: Path, begin_bytes: int) -> None:
        self._path, self._place = path, begin_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read_new(self) -> Iterator[str]:
        """Yield what the log has grown by.

        Raises:
            OSError: the log cannot be read.
        """
        with self._path.open("rb") as file:
            # A command that empties its log goes on at its beginning.
            self._place = min(self._place, file.seek(0, os.SEEK_END))
            file.seek(self._place)
            while piece := file.read(PIECE_BYTES):
                self._place += len(piece)
                yield self._decoder.decode(piece)


def open_log(path: Path) -> BinaryIO:
    """Open a log so that the command and the supervisor both write at its end.

    Raises:
        OSError: it cannot be written.
    """
    return path.open("ab", buffering=0)


def write_sentences(log: BinaryIO, path: Path, sentences: Sequence[str]) -> None:
    """Add the supervisor's own lines to the log; not while the command runs, which may have written half a line.

    Raises:
        OSError: the log cannot be written.
    """
    if sentences:
        begin = "" if ends_line(path) else "\n"
        log.write((begin + "".join(f"{SIGN} {sentence}\n" for sentence in sentences)).encode("utf-8", "replace"))


def read_tail(path: Path, begin_bytes: int, num_lines: int = TAIL_LINES) -> tuple[str, ...]:
    """Return the last lines of one attempt's part of the log, without those of the attempts before.

    Raises:
        OSError: the log cannot be read.
    """
    with path.open("rb") as file:
        start = max(begin_bytes, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        lines = file.read(TAIL_BYTES).decode(errors="replace").splitlines()
    # The first line is incomplete if reading began inside it.
    whole = lines[1:] if start > begin_bytes and len(lines) > 1 else lines
    return tuple(line[-MAX_LINE_CHARACTERS:] for line in whole[-num_lines:])


def ends_line(path: Path) -> bool:
    """Whether a file is empty or missing, or its last line has an end."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
