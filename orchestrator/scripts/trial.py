"""Runs a command of the user's for a short time, in a copy of the code that is thrown away, and ends all of it.

A script may pass the place where we wanted to leave it, and begin to train. So each trial has a time limit, a session
and a mark of its own. The mark finds its processes wherever they went.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from orchestrator.code import worktrees
from orchestrator.code.git import Git, split_zeros
from orchestrator.errors import CodeError
from orchestrator.processes import MARK, Process, find_members, run_mark, signal_group
from orchestrator.reading.helper import place_helper

NO_LOCK = "no.lock"
"""Name of a lock that a trial never makes: its processes are found by their mark alone."""
TRIAL_SECONDS = 60.0
"""Longest wait for a script: the imports of some take half a minute."""
MAX_OUTPUT_BYTES = 2**22
"""Most bytes that are read of what a trial printed."""
SWEEPS = 100
"""Most looks for processes that are left; each new one is ended in the next look."""
SURROUNDINGS = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "WANDB_MODE": "disabled"}
"""Variables of a trial: it writes no byte code, and a tracker that it starts sends nothing."""
MAX_COPY_BYTES = 64 * 2**20
MAX_COPY_FILES = 4000
"""Most that is copied of a folder outside git."""
MAX_FILE_BYTES = 2**20
"""Largest file that is copied: code and settings are small, data are not."""
SKIPPED = {
    "__pycache__",
    "node_modules",
    "venv",
    "env",
    "site-packages",
    "wandb",
    "lightning_logs",
    "mlruns",
    "outputs",
}
"""Folders without code; so are all whose name begins with a dot."""


class Place(Struct, frozen=True, kw_only=True):
    """The campaign's folder, and what git knows of it."""

    root: Path
    commit: str = ""
    """What `HEAD` is; empty where no commit is."""
    prefix: str = ""
    """The folder inside the repository, ending in `/`; empty at the top."""
    tracked: frozenset[str] = frozenset()
    """Paths from the campaign's folder that git tracks."""


class TooLargeError(Exception):
    """A folder outside git holds more than is copied for a trial."""


def find_place(root: Path) -> Place:
    """Look at the repository around a folder; without one, only the folder itself is told."""
    git = Git(root)
    try:
        commit = git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if commit is None:
            return Place(root=root)
        prefix = git("rev-parse", "--show-prefix")
        tracked = frozenset(split_zeros(git("ls-files", "-z", "--", ".")))
    except CodeError:
        return Place(root=root)
    return Place(root=root, commit=commit, prefix=prefix, tracked=tracked)


@contextlib.contextmanager
def throw_away_code(place: Place, *, with_new: bool = True) -> Iterator[tuple[Path, Path]]:
    """Yield a copy of the code that may be spoilt, and an empty folder beside it; both are removed.

    In a repository it is a worktree of the commit, with the user's uncommitted changes on top. Elsewhere it is a copy.
    No ignored file is in it, so no data are.

    Args:
        place: the campaign's folder.
        with_new: whether files that git does not track yet are there too; no run would have them.

    Raises:
        CodeError: git refuses.
        OSError: the copy cannot be written.
        TooLargeError: a folder outside git is too large to be copied.
    """
    with tempfile.TemporaryDirectory(prefix="knockout-init-", ignore_cleanup_errors=True) as name:
        code, scratch = Path(name) / "copy", Path(name) / "scratch"
        scratch.mkdir()
        if not place.commit:
            _copy_folder(place.root, code)
            yield code, scratch
            return
        git = Git(place.root)
        try:
            worktrees.add_whole(git, place.commit, code)
            _lay_over(git, place, code / place.prefix, with_new=with_new)
            yield code / place.prefix, scratch
        finally:
            worktrees.remove(git, code)


def _lay_over(git: Git, place: Place, target: Path, *, with_new: bool) -> None:
    """Copy what is changed or new in the user's folder; files that the user removed are removed."""
    changed = git("diff", "--name-only", "--relative", "--no-renames", "-z", place.commit, "--", ".")
    new = git("ls-files", "--others", "--exclude-standard", "-z", "--", ".") if with_new else ""
    for path in dict.fromkeys((*split_zeros(changed), *split_zeros(new))):
        source = place.root / path
        # A new file that is large is data that nobody has told git to ignore.
        if source.is_file() and source.stat().st_size <= MAX_FILE_BYTES:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / path)
        elif not os.path.lexists(source):
            (target / path).unlink(missing_ok=True)


def _copy_folder(root: Path, target: Path) -> None:
    num_bytes = num_files = 0
    target.mkdir()
    for folder, names, files in os.walk(root):
        # `os.walk` goes only into the folders that are left in this list.
        names[:] = sorted(name for name in names if name not in SKIPPED and not name.startswith("."))
        for name in files:
            source = Path(folder) / name
            if not source.is_file() or source.is_symlink() or source.stat().st_size > MAX_FILE_BYTES:
                continue
            num_bytes, num_files = num_bytes + source.stat().st_size, num_files + 1
            if num_bytes > MAX_COPY_BYTES or num_files > MAX_COPY_FILES:
                raise TooLargeError
            copied = target / source.relative_to(root)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copied)


class Trial(Struct, frozen=True, kw_only=True):
    """How a trial went."""

    status: int | None
    """Exit status; None if the time ran out."""
    output: str
    last_error: str
    """The last line of its stderr."""
    num_swept: int
    """Processes that were still there and were ended; one of them is the command, if the time ran out."""


def run_trial(command: Sequence[str], folder: Path, scratch: Path, seconds: float = TRIAL_SECONDS) -> Trial:
    """Run a command and end all of its processes.

    Args:
        command: an argument list; never a shell.
        folder: where it runs; what it writes there is thrown away by the caller.
        scratch: a folder of this trial alone, which marks its processes and takes its output.
        seconds: the time limit.

    Raises:
        OSError: the command cannot be started.
    """
    out, err = scratch / "stdout", scratch / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(os.environ, scratch),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            with interrupted_by_any_signal():
                status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # Also after Ctrl-C: nothing of the trial may outlive this call.
            num_swept = sweep(scratch)
            # Where marks cannot be read, at least its group ends.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    errors = _read(err).splitlines()
    return Trial(status=status, output=_read(out), last_error=errors[-1] if errors else "", num_swept=num_swept)


@contextlib.contextmanager
def interrupted_by_any_signal() -> Iterator[None]:
    """Make a closed terminal, and `kill`, end this process as Ctrl-C does: the trial's session would outlive it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # A signal that is ignored, as by `nohup`, stays so.
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)


def _environment(own: Mapping[str, str], scratch: Path) -> dict[str, str]:
    # A script that imports the helper finds it in a run, so here too.
    folders = [str(place_helper(scratch / "helper")), *([own["PYTHONPATH"]] if own.get("PYTHONPATH") else [])]
    return {**own, **SURROUNDINGS, "PYTHONPATH": os.pathsep.join(folders), MARK: run_mark(scratch)}


def sweep(scratch: Path) -> int:
    """End every process that carries the mark of a folder; return how many there were."""
    ended: set[Process] = set()
    for _ in range(SWEEPS):
        left = find_members(scratch, scratch / NO_LOCK, None)
        if not left:
            break
        for one in left:
            with contextlib.suppress(PermissionError):
                signal_group(one, signal.SIGKILL)
        ended.update(left)
        # A killed process keeps its environment until the system has taken it down.
        time.sleep(0.01)
    return len(ended)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_OUTPUT_BYTES).decode(errors="replace")
