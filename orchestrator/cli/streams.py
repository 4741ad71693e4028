"""Standard output and error whose failure ends no training: a reader may go away, or a disk may be full.

Text that the terminal cannot show is written as its codes. While trainings go on, a separate thread writes. So a reader
who takes nothing, such as a stopped terminal, delays no training.
"""

import errno
import io
import os
import queue
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

NUM_WAITING = 256
"""Most pieces of progress that wait for a slow reader; further pieces are not shown."""
LAST_SECONDS = 2.0
"""Most seconds that writing the waiting pieces may take once the trainings have ended."""
BUFFER_BYTES = 2**16
ELSEWHERE = "and `knockout status` shows how"
NOBODY_READS = "nobody reads it"
STANDARD = (0, 1, 2)
STDOUT, STDERR = 1, 2


class Stream(io.TextIOBase):
    """A standard stream that raises no error: `error` holds the first one."""

    encoding: str = "utf-8"

    def __init__(
        self, stream: TextIO, on_end: Callable[[OSError], None] = lambda error: None, patience: float | None = None
    ) -> None:
        self._stream, self._on_end, self._patience = stream, on_end, patience
        self._descriptor = _descriptor_of(stream)
        self.encoding = stream.encoding or "utf-8"
        self._pending, self._swap = bytearray(), threading.Lock()
        self._queue: queue.Queue[bytes | None] | None = None
        self.error: OSError | None = None
        """The error after which nothing is written any more."""
        self.has_shown_progress = False

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.error is None and self._stream.isatty()

    def writable(self) -> bool:
        """Return True: it takes text even after an error."""
        return True

    def write(self, text: str) -> int:
        """Take text."""
        shown = text.encode(self.encoding, "backslashreplace")
        if self._descriptor is None:
            self._stream.write(shown.decode(self.encoding))
        elif self.error is None:
            with self._swap:
                self._pending += shown
            if len(self._pending) > BUFFER_BYTES or (b"\n" in shown and self.isatty()):
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Write the pending text; while progress is shown, another thread does it."""
        if self._descriptor is None:
            self._stream.flush()
            return
        with self._swap:
            piece, self._pending = bytes(self._pending), bytearray()
        if not piece:
            return
        if self._queue is None:
            self._write(piece)
        else:
            try:
                self._queue.put_nowait(piece)
            except queue.Full:
                return  # the reader does not take the earlier text; trainings do not wait for it

    def _write(self, piece: bytes) -> None:
        try:
            while piece and self.error is None:
                piece = piece[_write_some(self._descriptor or STDOUT, piece, self._patience) :]
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        self.error = error
        self._on_end(error)

    @contextmanager
    def showing_progress(self) -> Iterator[None]:
        """Show progress inside the block: writing does not delay the caller."""
        if self._descriptor is None:
            yield
            return
        self.flush()
        self.has_shown_progress, waiting = True, queue.Queue[bytes | None](NUM_WAITING)
        thread = threading.Thread(target=self._write_all, args=(waiting,), daemon=True)
        thread.start()
        self._queue = waiting
        try:
            yield
        finally:
            self.flush()
            self._queue = None
            self._finish(waiting, thread)

    def _write_all(self, waiting: "queue.Queue[bytes | None]") -> None:
        while (piece := waiting.get()) is not None:
            self._write(piece)

    def _finish(self, waiting: "queue.Queue[bytes | None]", thread: threading.Thread) -> None:
        with suppress(queue.Full):
            waiting.put(None, timeout=LAST_SECONDS)
            thread.join(LAST_SECONDS)
        if thread.is_alive() and self.error is None:
            self._end(OSError(errno.ETIMEDOUT, NOBODY_READS))
            with suppress(queue.Empty):
                waiting.get_nowait()  # makes room for the sign to end
            waiting.put(None)


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None  # a stream in memory


def _write_some(descriptor: int, piece: bytes, patience: float | None) -> int:
    if patience is not None and not select.select([], [descriptor], [], patience)[1]:
        raise OSError(errno.ETIMEDOUT, NOBODY_READS)
    try:
        return os.write(descriptor, piece)
    except BlockingIOError:
        # Another program that shares this terminal has set it to non-blocking.
        select.select([], [descriptor], [])
        return 0


class Streams:
    """Replaces the standard streams for the time of a command by streams that raise no error."""

    def __init__(self) -> None:
        _fill_closed()
        self._before = (sys.stdout, sys.stderr)
        # Standard error gets short text, and a stuck reader must not keep the command from ending.
        self.err = Stream(sys.stderr or _open_again(STDERR), patience=LAST_SECONDS)
        self.out = Stream(sys.stdout or _open_again(STDOUT), self._tell)

    def __enter__(self) -> "Streams":
        self._before = (sys.stdout, sys.stderr)
        for stream in filter(None, self._before):
            stream.flush()
        sys.stdout, sys.stderr = cast(TextIO, self.out), cast(TextIO, self.err)
        return self

    def __exit__(self, *error: object) -> None:
        self.out.flush()
        self.err.flush()
        sys.stdout, sys.stderr = self._before

    def _tell(self, error: OSError) -> None:
        """Print once that the output has ended. A reader who closed a pipe knows it, and is not told."""
        if self.out.has_shown_progress:
            self.err.write(f"knockout: nothing more is shown here: {_describe(error)}; trainings go on, {ELSEWHERE}\n")
        elif error.errno != errno.EPIPE:
            self.err.write(f"knockout: the output cannot be written: {_describe(error)}\n")
        self.err.flush()

    def status(self, status: int) -> int:
        """Return the exit status of a command: 2 if printing was its only task and the output was lost."""
        self.out.flush()
        error = self.out.error
        is_lost = error is not None and error.errno != errno.EPIPE and not self.out.has_shown_progress
        return (status or 2) if is_lost else status


def _describe(error: OSError) -> str:
    return error.strerror or str(error)


def is_read() -> bool:
    """Whether the output can still be written."""
    out: object = sys.stdout
    return not isinstance(out, Stream) or out.error is None


@contextmanager
def showing_progress() -> Iterator[None]:
    """Show progress inside the block, if the standard output belongs to a command."""
    out: object = sys.stdout
    if isinstance(out, Stream):
        with out.showing_progress():
            yield
    else:
        yield


def _fill_closed() -> None:
    """Open the standard descriptors that the caller has closed. Else the next file opened would get their numbers."""
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _open_again(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", closefd=False)
