"""Runs a campaign's baseline once, or stops and resumes it, and returns all that was seen."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct, structs

from orchestrator.checks.launching import Commanded, build_checked_launch
from orchestrator.checks.numbers import RunPlaces, look_at_items, read_metrics, read_rows
from orchestrator.checks.observed import Heard, Observed, arrivals_of, parse_heard
from orchestrator.checks.opened import Opened
from orchestrator.checks.sorting import OWN, Ground, Sorted, sort_opened
from orchestrator.checks.tables import find_tables
from orchestrator.checks.trial import Watched, read_heard, watch_attempt
from orchestrator.code.git import Git, split_zeros
from orchestrator.files import LARGE_BYTES, read_plain
from orchestrator.reading.patterns import clean_lines
from orchestrator.runs.folder import RunFolder
from orchestrator.scripts.trial import Place, throw_away_code
from orchestrator.supervisor.attempts import read_attempts
from orchestrator.supervisor.launch_file import LaunchFile
from orchestrator.supervisor.log import SIGN
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import TaskSpec

MAX_LINES = 20_000
"""Most lines of a log that are looked at, from its end."""
TAIL_LINES = 60
"""Last lines of a log in which the names of missing files are searched."""
PROGRAM_ENDINGS = (".py", ".pyc", ".so", ".R", ".jar", ".zip")
ENVIRONMENTS = (".venv", "venv", "env")
"""Folders of an interpreter beside a campaign file."""
_PATH = re.compile(r"[^\s'\"`:,;()\[\]<>=]*[/.][^\s'\"`:,;()\[\]<>=]+")
_MODULE = re.compile(r"No module named '([\w.]+)'")


class Asked(Struct, frozen=True, kw_only=True):
    """What is checked."""

    root: Path
    """The folder of the campaign file."""
    task: TaskSpec
    params: dict[str, Any]
    metrics: dict[str, MetricSpec] = {}
    devices: tuple[str, ...] = ()
    """The GPUs of one run."""
    limit_seconds: float | None = None


def observe(asked: Asked, place: Place, seed: int) -> Observed:
    """Run the baseline once, in a checkout of its own.

    Raises:
        CodeError: git refuses a checkout.
        SpecError: a parameter cannot be spelled.
        OSError: the run cannot be started.
    """
    with _run_folder(seed) as folder:
        return _attempt(asked, place, seed, folder)


def observe_resumed(asked: Asked, place: Place, seed: int, stop_seconds: float) -> tuple[Observed, Observed]:
    """Run the baseline, ask it to stop after some seconds, and let it go on in a fresh checkout; return both attempts.

    Raises:
        CodeError: git refuses a checkout.
        SpecError: a parameter cannot be spelled.
        OSError: the run cannot be started.
    """
    with _run_folder(seed) as folder:
        first = _attempt(asked, place, seed, folder, stop_seconds)
        return first, (first if first.ran else _attempt(asked, place, seed, folder))


@contextlib.contextmanager
def _run_folder(seed: int) -> Iterator[RunFolder]:
    with tempfile.TemporaryDirectory(prefix="knockout-check-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve() / "checked" / f"check-s{seed}"
        folder.mkdir(parents=True)
        yield RunFolder(folder)


def _attempt(asked: Asked, place: Place, seed: int, folder: RunFolder, stop_seconds: float | None = None) -> Observed:
    with throw_away_code(place, with_new=False) as (copy, scratch):
        # Processes see the real path, and the folder of temporary files may be a link.
        checkout = copy.resolve()
        commanded = Commanded(
            task=asked.task,
            params=asked.params,
            seed=seed,
            root=asked.root,
            folder=folder,
            checkout=checkout,
            scratch=scratch,
            devices=asked.devices,
            limit_seconds=asked.limit_seconds,
        )
        launch = build_checked_launch(commanded)
        before = list_files(top_of(checkout, place), checkout)
        watched = watch_attempt(folder, launch, stop_seconds)
        return _gather(_Ended(asked, place, seed, folder, checkout, launch, watched, before))


class _Ended(Struct, frozen=True):
    """One attempt that is over, with its checkout still there."""

    asked: Asked
    place: Place
    seed: int
    folder: RunFolder
    checkout: Path
    launch: LaunchFile
    watched: Watched
    before: dict[str, object]

    @property
    def top(self) -> Path:
        """The top of the checkout, which the campaign's folder may lie deep in."""
        return top_of(self.checkout, self.place)

    @property
    def places(self) -> RunPlaces:
        return RunPlaces(folder=self.folder, checkout=self.checkout, seed=self.seed)


def top_of(folder: Path, place: Place) -> Path:
    """Return the top of a checkout, by the folder in it that the campaign has."""
    depth = len(PurePosixPath(place.prefix).parts)
    return folder.parents[depth - 1] if depth else folder


def _gather(ended: _Ended) -> Observed:
    asked, folder = ended.asked, ended.folder
    result = folder.read_result()
    content = read_plain(folder.log, LARGE_BYTES)[ended.watched.num_bytes_before :] if folder.log.exists() else b""
    lines, ends = split_log(content, ended.watched.num_bytes_before)
    rows = read_rows(folder)
    attempts = read_attempts(folder.attempts)
    own = {os.path.normpath(name) for name in ended.launch.files}
    written = [name for name in _changed(ended.before, list_files(ended.top, ended.checkout)) if name not in own]
    heard = _hear(ended)
    observed = Observed(
        seed=ended.seed,
        arguments=ended.launch.arguments,
        state=result.state if result else "interrupted",
        reason=result.reason if result else "\n".join(folder.log_tail(5)),
        seconds=ended.watched.end_seconds,
        heard=heard,
        files=_sort(ended, heard, lines, has_ended_well=result is not None and result.state == "done"),
        written=tuple(written),
        lines=lines,
        arrivals=arrivals_of(ends, ended.watched.growth, ended.watched.end_seconds),
        rows=tuple(rows),
        resumed_from=attempts[-1].checkpoint if attempts else None,
    )
    # Numbers of a run that failed would only hide why it failed.
    if not observed.ran:
        return observed
    return structs.replace(
        observed,
        metrics=read_metrics(asked.task, asked.metrics, ended.places),
        items=look_at_items(asked.task, ended.places),
        tables=find_tables(folder.path, ended.checkout, [*written, *_list_outputs(folder)]),
    )


def split_log(content: bytes, begin: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the lines of a log, without those of the supervisor, and where each ends in the file, in bytes.

    Args:
        content: the log from a place on.
        begin: that place.
    """
    lines, ends, place = [], [], begin
    for raw in content.splitlines(keepends=True):
        place += len(raw)
        for line in clean_lines(raw.decode(errors="replace")):
            if not line.startswith(SIGN):
                lines.append(line)
                ends.append(place)
    return tuple(lines[-MAX_LINES:]), tuple(ends[-MAX_LINES:])


def list_files(folder: Path, base: Path | None = None) -> dict[str, object]:
    """Return the files of a checkout, and what changes when one of them is written; links are left out.

    Args:
        folder: the top of the checkout.
        base: the folder in it that paths begin at; None for the top.
    """
    found: dict[str, object] = {}
    for root, folders, names in os.walk(folder):
        # `os.walk` goes only into the folders that are left in this list.
        folders[:] = [name for name in folders if name not in OWN]
        for path in (Path(root) / name for name in names if name not in OWN):
            with contextlib.suppress(OSError):
                if not path.is_symlink():
                    stat = path.stat()
                    found[os.path.relpath(path, base or folder)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def _changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [name for name, stamp in after.items() if before.get(name) != stamp]


def _list_outputs(folder: RunFolder) -> list[str]:
    return list(list_files(folder.outputs))


def _hear(ended: _Ended) -> Heard:
    heard = parse_heard(read_heard(ended.folder))
    inside = (str(ended.checkout), str(ended.asked.root))
    held = [one for one in ended.watched.held if one.path.startswith(inside) or not is_program(one.path)]
    told = (*heard.opened, *held)
    # A folder outside is listed by programs for many reasons; a file there is read for one.
    kept = [one for one in told if one.path.startswith(inside) or one.kind != "read" or not Path(one.path).is_dir()]
    return structs.replace(heard, opened=tuple(dict.fromkeys(kept)))


def is_program(path: str) -> bool:
    """Whether a file that a process has open is a part of a program: every interpreter opens such files."""
    return path.endswith(PROGRAM_ENDINGS) or os.access(path, os.X_OK)


def _sort(ended: _Ended, heard: Heard, lines: tuple[str, ...], *, has_ended_well: bool) -> Sorted:
    asked, checkout = ended.asked, ended.checkout
    opened = list(heard.opened)
    # Some look whether a file is there without opening it, so only their message names it.
    if not has_ended_well:
        opened += [Opened("missing", str(checkout / name)) for name in paths_in(lines[-TAIL_LINES:])]
    missing = {os.path.relpath(one.path, checkout) for one in opened if one.kind == "missing"}
    # What lies above the repository is no part of any checkout.
    inside = {name for name in missing if Path(os.path.normpath(checkout / name)).is_relative_to(ended.top)}
    there = {name for name in inside if not _is_there(checkout / name) and _is_there(asked.root / name)}
    absolute = [one.path for one in asked.task.data.values() if Path(one.path).is_absolute()]
    ground = Ground(
        checkout=str(checkout),
        root=str(asked.root),
        top=str(ended.top),
        root_top=str(top_of(asked.root, ended.place)),
        own=(str(ended.folder.path), *(str(asked.root / name) for name in ENVIRONMENTS)),
        tracked=frozenset(ended.before),
        covered=frozenset(find_covered(ended.place, asked.task.code, ended.before)),
        data=(*ended.launch.data, *absolute),
        outputs=asked.task.outputs,
        there=frozenset(there),
        unknown=frozenset(_find_unknown(ended.place, there)),
    )
    return sort_opened(opened, ground)


def _is_there(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.exists()
    return False


def paths_in(lines: Iterable[str]) -> list[str]:
    """Return what looks like a path in lines of a log: a script that misses a file most often names it there."""
    found: dict[str, None] = {}
    for line in lines:
        found |= dict.fromkeys(match[0].rstrip(".") for match in _PATH.finditer(line))
        if module := _MODULE.search(line):
            path = module[1].replace(".", "/")
            found |= dict.fromkeys((f"{path}.py", f"{path}/__init__.py"))
    return list(found)


def find_covered(place: Place, code: tuple[str, ...], files: Iterable[str]) -> list[str]:
    """Return the files that the pathspecs of `task.code` name."""
    if place.commit:
        return split_zeros(Git(place.root)("ls-files", "-z", "--", *code))
    return [path for path in files if any(_is_named(path, pathspec) for pathspec in code)]


def _is_named(path: str, pathspec: str) -> bool:
    plain = os.path.normpath(pathspec)
    return plain in (".", path) or path.startswith(f"{plain}/") or fnmatchcase(path, plain)


def _find_unknown(place: Place, there: Iterable[str]) -> list[str]:
    """Return the files that git neither tracks nor ignores: those may be code that nobody has added yet."""
    names = sorted(there)
    if not place.commit or not names:
        return []
    listed = split_zeros(
        Git(place.root)(
            "ls-files", "--others", "--exclude-standard", "-z", "--", *(f":(literal){name}" for name in names)
        )
    )
    return [name for name in names if name in listed]
