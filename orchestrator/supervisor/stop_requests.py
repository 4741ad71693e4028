"""Requests to stop, which come as signals, and a wait that ends early when one comes or the command ends."""

import os
import select
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
HEARD = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask the supervisor to stop. A second one ends the command at once."""


class StopRequests:
    """Counts the requests to stop, from `__enter__` on. It listens in the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> "StopRequests":
        self._read_end, self._write_end = os.pipe()
        for end in (self._read_end, self._write_end):
            os.set_blocking(end, False)
        self._wake_before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in HEARD:
            self._before[number] = signal.signal(number, self._take)
        # The end of a child is only to end a wait, so its handler does nothing.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wake_before)
        os.close(self._read_end)
        os.close(self._write_end)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def wait(self, seconds: float, also: int | None = None) -> None:
        """Wait so long, or until a request comes, a child ends, or the file descriptor `also` is readable."""
        waited = [self._read_end] if also is None else [self._read_end, also]
        if self._read_end in select.select(waited, [], [], seconds)[0]:
            os.read(self._read_end, select.PIPE_BUF)
