"""The command as a process that `preload.py` forks: it finds modules imported, and else differs in nothing."""

import json
import os
import re
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.processes import MARK, STANDBY_MARK
from orchestrator.supervisor.stop_requests import StopRequests

SERVER = Path(__file__).with_name("preload.py")
ROOM = STANDBY_MARK.ljust(400, "-")
"""Mark of a process that forks: long enough that each child writes its own run's mark over it."""
START_SECONDS = 300.0
"""Longest wait for a process. The first one waits for the imports too."""
POLL_SECONDS = 0.1
FLAGS = re.compile(r"-[BEIOPSbdqsu]+")
"""Words of Python that stand for themselves."""


class Split(Struct, frozen=True):
    """The command of a Python script in two parts."""

    python: tuple[str, ...]
    """The interpreter and its flags."""
    words: tuple[str, ...]
    """The script, or `-m` and a module, and its arguments."""


def split_python(arguments: Sequence[str]) -> Split | None:
    """Split a command that a fork can stand for; None for `python -c`, or flags that take a value."""
    number = next((place for place, word in enumerate(arguments) if place and not FLAGS.fullmatch(word)), None)
    if number is None or (arguments[number].startswith("-") and arguments[number : number + 1] != ("-m",)):
        return None
    words = tuple(arguments[number:])
    if words[0] == "-m" and len(words) < 2:
        return None
    return Split(python=tuple(arguments[:number]), words=words)


class _Answer(Struct, frozen=True):
    pid: int | None = None
    status: int | None = None


class PreloadedCommand:
    """A running command that was forked. It leads a session and a group of its own.

    The process that forked it keeps its number until `close`.
    """

    def __init__(self, place: str, request: Mapping[str, object], stop: StopRequests) -> None:
        """Ask for it.

        Args:
            place: the socket of the process that forks.
            request: words, folder, log and environment.
            stop: a request to stop ends the wait for it.

        Raises:
            OSError: nobody answers there.
        """
        self._rest, self._is_open = b"", True
        self._status: int | None = None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connection.settimeout(START_SECONDS)
            self._connection.connect(place)
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            self.pid = self._await_number(stop)
        except BaseException:
            self._connection.close()
            raise

    def _await_number(self, stop: StopRequests) -> int:
        deadline = time.monotonic() + START_SECONDS
        while self._is_open and not stop.count and time.monotonic() < deadline:
            stop.wait(POLL_SECONDS, self.fileno())
            for answer in self._hear():
                if answer.pid is not None:
                    return answer.pid
        raise ConnectionError("nobody forked the command")

    def fileno(self) -> int:
        """Return the file descriptor that is readable once it has ended."""
        return self._connection.fileno()

    def status(self) -> int | None:
        """Return its exit status, or minus the number of the signal that ended it; None while it runs."""
        for answer in self._hear():
            self._status = answer.status if answer.status is not None else self._status
        if self._status is None and not self._is_open:
            # The process that forked it is gone, and the system has killed its children with it.
            self._status = -signal.SIGKILL
        return self._status

    def _hear(self) -> list[_Answer]:
        lines: list[bytes] = []
        while self._is_open and select.select([self._connection], [], [], 0.0)[0]:
            try:
                content = self._connection.recv(4096)
            except OSError:
                content = b""
            self._is_open = bool(content)
            *whole, self._rest = (self._rest + content).split(b"\n")
            lines += whole
        return [msgspec.json.decode(line, type=_Answer) for line in lines]

    def signal_group(self, number: int) -> None:
        """Send a signal to the command and to what it started in its group; also if the command itself has ended."""
        # Without the process that forked it, its number may be another one's by now.
        if self._is_open:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return

    def close(self) -> None:
        """End what is left of the group."""
        self.signal_group(signal.SIGKILL)
        self._connection.close()


def build_request(
    arguments: Sequence[str], folder: str, log: Path, environment: Mapping[str, str]
) -> dict[str, object]:
    """Return what a preloaded process is asked for; `arguments` is a command that `split_python` takes."""
    split = split_python(arguments)
    assert split is not None
    return {"words": split.words, "folder": folder, "log": str(log), "environment": dict(environment)}


def server_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process that forks: that of a command, without what names its run."""
    own = {name: value for name, value in variables.items() if not is_of_one_run(name)}
    return own | {MARK: ROOM}


def is_of_one_run(name: str) -> bool:
    """Whether a variable may differ from run to run, since Python and its libraries do not read it at their start."""
    return name.startswith("KNOCKOUT_") or name in ("CUDA_VISIBLE_DEVICES", "PWD")
