"""`launch.json`: how the command of a run is started. Whoever starts the supervisor writes it. Frozen and closed."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from orchestrator.closed import Config, Positive
from orchestrator.errors import RunError
from orchestrator.files import UNREADABLE, read_plain, write_json

LAUNCH_FORMAT = 1
CHECKPOINT = "@KNOCKOUT_CHECKPOINT@"
"""Stands for the path of the newest checkpoint in the arguments and variables of `Resume`."""
AGAIN = "queue the run again with `knockout queue add`"

Word = Annotated[str, Meta(min_length=1)]
SignalName = Literal["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"]


class Resume(Config, frozen=True, kw_only=True):
    """How a stopped run goes on. The caller has put its arguments in; the supervisor puts the checkpoint in."""

    when: Word
    """Path or glob of the checkpoint, in the checkout or absolute; the newest match counts."""
    arguments: Annotated[tuple[str, ...], Meta(min_length=1)]
    """The whole command if a checkpoint is there; `CHECKPOINT` stands for its path."""
    environment: dict[str, str] = {}
    """Variables that differ from those of a start from nothing; `CHECKPOINT` stands for the path here too."""


class ProgressFile(Config, frozen=True, kw_only=True):
    """A file with rows of progress that the command writes."""

    kind: Literal["csv", "jsonl", "tensorboard", "trainer_state", "reported"]
    """`reported` is the file of the helper `import knockout`."""
    path: Word
    """Relative to the checkout, or absolute."""
    step: str = ""
    """The column that counts steps."""


class Progress(Config, frozen=True, kw_only=True):
    """Where rows of progress are found. Only readers know what a pattern means."""

    patterns: tuple[str, ...] = ()
    """Patterns of lines in the log."""
    step: str = ""
    """The name in a pattern that counts steps."""
    files: tuple[ProgressFile, ...] = ()


class LaunchFile(Config, frozen=True, kw_only=True):
    """One command as a run, on the machine that starts it."""

    format: int = LAUNCH_FORMAT
    checkout: Word
    """Absolute path of the folder that the command works in."""
    top: str = ""
    """Absolute path of the folder around it that may hold data too, such as the worktree; empty if there is none."""
    arguments: Annotated[tuple[str, ...], Meta(min_length=1)]
    """The whole command of a start from nothing."""
    environment: dict[str, str] = {}
    """Variables beside those of the supervisor."""
    hidden: tuple[Word, ...] = ()
    """Patterns of variables of the supervisor that the command does not see: `SLURM_*`."""
    shown: tuple[Word, ...] = ()
    """Patterns of those that it sees all the same."""
    files: dict[Word, str] = {}
    """Path of a file -> its text; a relative path lies in the checkout, an absolute one in the run folder."""
    data: dict[Word, Word] = {}
    """Path in the checkout -> absolute path of the user's file or folder, which is linked there."""
    outputs: tuple[Word, ...] = ()
    """Paths in the checkout that become links into the run folder; see `checkout.is_folder`."""
    fresh: tuple[Word, ...] = ()
    """Names in the run folder that a start from nothing must not find, such as the helper's files."""
    preload: str = ""
    """Path of the socket of a process that forks the command, with modules imported; empty if it starts by itself."""
    resume: Resume | None = None
    """Without it, a stopped run starts over."""
    stop_signal: SignalName = "SIGTERM"
    grace_seconds: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds between the request to stop and the end of all processes."""
    run_seconds: Positive | None = None
    """Seconds of all attempts that count after which the run is too slow."""
    progress: Progress = Progress()


def write_launch(path: Path, launch: LaunchFile) -> None:
    """Write `launch.json`.

    Raises:
        OSError: it cannot be written.
    """
    write_json(path, launch)


def read_launch(path: Path) -> LaunchFile:
    """Read `launch.json`.

    Raises:
        RunError: it is missing or broken, or another version wrote it.
    """
    try:
        launch = msgspec.json.decode(read_plain(path), type=LaunchFile)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file, so nothing says what to start; {AGAIN}") from None
    except UNREADABLE as error:
        raise RunError(f"{path}: cannot be read: {error}; {AGAIN}") from None
    if launch.format != LAUNCH_FORMAT:
        raise RunError(f"{path}: this is format {launch.format}, wanted is {LAUNCH_FORMAT}; {AGAIN}")
    if not Path(launch.checkout).is_absolute():
        raise RunError(f"{path}: `checkout` is `{launch.checkout}`, wanted is an absolute path; {AGAIN}")
    return launch
