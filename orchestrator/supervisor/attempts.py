"""The attempts of a run: each start of its command, and whether it goes on from a checkpoint."""

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.files import LARGE_BYTES, read_plain
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.launch_file import CHECKPOINT, LaunchFile
from orchestrator.supervisor.log import ends_line

TORN = (msgspec.MsgspecError, UnicodeDecodeError)
"""Errors of a line that its writer could not finish."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One start of the command, a line of `attempts.jsonl`."""

    number: int
    """From 1; a supervisor that started no command made no attempt."""
    checkout: str
    log_bytes: int
    """Where its part of the log begins."""
    begun_epoch_seconds: float
    spent_seconds: float = 0.0
    """Seconds of the earlier attempts that this one continues."""
    checkpoint: str | None = None
    """What it continues from; None for a start from nothing."""


def read_attempts(path: Path) -> list[Attempt]:
    """Read the attempts of a run, oldest first; a line that is not whole is left out.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        lines = read_plain(path, LARGE_BYTES).splitlines()
    except FileNotFoundError:
        return []
    return [attempt for line in lines if (attempt := _decode(line)) is not None]


def _decode(line: bytes) -> Attempt | None:
    try:
        return msgspec.json.decode(line, type=Attempt)
    except TORN:
        return None


def append_attempt(path: Path, attempt: Attempt) -> None:
    """Add an attempt, and flush it to the disk.

    Raises:
        OSError: it cannot be written.
    """
    # Half a line of a killed supervisor would spoil this one.
    begin = b"" if ends_line(path) else b"\n"
    with path.open("ab") as file:
        file.write(begin + msgspec.json.encode(attempt) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def find_newest(pattern: str, checkout: Path, folder: RunFolder) -> Path | None:
    """Return the newest file or folder that a glob names; None if there is none.

    Args:
        pattern: the glob, relative to the checkout, or absolute. `**` goes through no link but those of outputs.
        checkout: the folder that the command works in.
        folder: the run folder, whose outputs count as a part of the checkout.

    Raises:
        ValueError: this is no glob.
        OSError: a file cannot be looked at.
    """
    there = [path for root, inside in _split(pattern, checkout, folder) for path in _match(root, inside)]
    # Of two names for one file the first counts, which is the one that the command knows.
    return max(there, key=lambda path: (path.stat().st_mtime_ns, _by_numbers(path.name)), default=None)


def _split(pattern: str, checkout: Path, folder: RunFolder) -> list[tuple[Path, str]]:
    """Return the folders to look in, and the glob inside each. Folders may hold `[` or `*` in their own names."""
    path = Path(pattern)
    if not path.is_absolute():
        return [(checkout, pattern), (folder.outputs, pattern)]
    root = next(root for root in (checkout, folder.path, Path(path.anchor)) if path.is_relative_to(root))
    return [(root, str(path.relative_to(root)))]


def _match(root: Path, inside: str) -> list[Path]:
    exact = root / inside
    return [exact] if exact.exists() else [path for path in root.glob(inside) if path.exists()]


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts `step-9` before `step-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def command_of(launch: LaunchFile, checkpoint: str | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the arguments and the variables of an attempt."""
    if launch.resume is None or checkpoint is None:
        return launch.arguments, dict(launch.environment)
    changed = {name: text.replace(CHECKPOINT, checkpoint) for name, text in launch.resume.environment.items()}
    arguments = tuple(word.replace(CHECKPOINT, checkpoint) for word in launch.resume.arguments)
    return arguments, dict(launch.environment) | changed


def spent_seconds(attempts: Sequence[Attempt], log_modified_epoch_seconds: float | None) -> float:
    """Return the seconds that a run has taken before an attempt that continues it.

    Only the log says when a killed attempt was last seen.

    Args:
        attempts: all earlier ones, oldest first.
        log_modified_epoch_seconds: when the log last grew; None if there is no log.
    """
    if not attempts:
        return 0.0
    last = attempts[-1]
    # A clock that was set back must not take time off.
    return last.spent_seconds + max(0.0, (log_modified_epoch_seconds or 0.0) - last.begun_epoch_seconds)


def build_environment(
    inherited: Mapping[str, str], launch: LaunchFile, added: Mapping[str, str], mark: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a command.

    Args:
        inherited: the variables of the supervisor.
        launch: which of these the command does not see.
        added: the variables of this attempt.
        mark: the mark of the run. It comes last, because nothing else finds all processes of the run.
    """
    seen = {name: value for name, value in inherited.items() if not _is_hidden(name, launch)}
    # The inherited one is the user's own folder, where no run works.
    return seen | {"PWD": launch.checkout} | dict(added) | dict(mark)


def _is_hidden(name: str, launch: LaunchFile) -> bool:
    hidden, shown = (any(fnmatchcase(name, one) for one in patterns) for patterns in (launch.hidden, launch.shown))
    return hidden and not shown
