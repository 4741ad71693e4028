"""`knockout init`: looks at a script and writes a campaign file that a person then trims. Writes nothing else."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, structs

from orchestrator.errors import UsageError
from orchestrator.files import UNREADABLE, is_there, read_plain
from orchestrator.scripts.draft import (
    FILL_IN,
    Draft,
    Found,
    build_command,
    campaign_name,
    put_seed,
    read_words,
    sort_options,
    take_arguments,
)
from orchestrator.scripts.imports import as_pathspecs, parse, reached_modules
from orchestrator.scripts.look import Look, look
from orchestrator.scripts.prints import find_metrics, find_patterns
from orchestrator.scripts.text import render
from orchestrator.scripts.trial import TRIAL_SECONDS, Place, find_place
from orchestrator.task.templates import SEED_VARIABLE
from orchestrator.wording import listed

PROGRAMS = {
    ".sh": ("bash",),
    ".bash": ("bash",),
    ".r": ("Rscript",),
    ".jl": ("julia",),
    ".pl": ("perl",),
    ".lua": ("lua",),
    ".js": ("node",),
}
"""Suffix of a script -> what runs it."""
LOCK_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "pixi.lock")
"""Files that fix the versions of packages: they belong to what a run executes."""
_HELPERS_SCORES = re.compile(r"^\s*(import|from) knockout\b.*\.scores\(", re.MULTILINE | re.DOTALL)
_WORKERS = re.compile(r"\binit_process_group\b|\bLOCAL_RANK\b")
"""What a script says that a launcher starts."""
_HELPERS_SEED = re.compile(r"^\s*(import|from) knockout\b.*\.seed\b", re.MULTILINE | re.DOTALL)
INTERPRETERS = (".venv/bin/python", "venv/bin/python")


class InitOptions(Struct, frozen=True, kw_only=True):
    """How `knockout init` goes about it."""

    arguments: tuple[str, ...] = ()
    """What a person usually writes behind the script."""
    start: tuple[str, ...] = ()
    """What a person usually writes before the script, such as `torchrun --nproc_per_node=2`; empty for Python alone."""
    is_static: bool = False
    """Whether only the syntax tree is read, and nothing is run."""
    seconds: float = TRIAL_SECONDS
    """Longest time that the script may run."""


class Written(Struct, frozen=True, kw_only=True):
    """The campaign file that was written."""

    file: Path
    num_parameters: int
    num_left_out: int
    notes: tuple[str, ...]
    """A sentence for each thing that a person must know or do."""


class _Begun(Struct, frozen=True, kw_only=True):
    """A script whose command has its beginning."""

    script: str
    start: tuple[str, ...]
    """The interpreter and the script."""
    code: tuple[str, ...]
    text: str


def init_campaign(script: Path, file: Path, options: InitOptions) -> Written:
    """Look at a script and write a campaign file for it.

    Args:
        script: the script; it lies in the folder of the campaign file, or below it.
        file: the campaign file, which must not exist.
        options: how.

    Raises:
        UsageError: something is in the way, or the script cannot be read.
        OSError: the file cannot be written.
    """
    refuse_existing(file)
    root = _absolute(file).parent
    path = _path_in(root, script)
    place = find_place(root)
    draft, notes = _look_at(place, path, options)
    # Exclusive: a file that appeared meanwhile is not ours to replace.
    with file.open("x", encoding="utf-8") as opened:
        opened.write(render(draft))
    return Written(
        file=file,
        num_parameters=len(draft.kept),
        num_left_out=len(draft.left),
        notes=(*notes, *_notes_on(draft, place)),
    )


def refuse_existing(file: Path) -> None:
    """Refuse to write over a campaign file, or into a folder that is not there."""
    if os.path.lexists(file):
        raise UsageError(f"{file}: is there already, and `init` writes over nothing; name another one with -f FILE")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: the folder {file.absolute().parent} is not there; make it, or name another file")


def _absolute(path: Path) -> Path:
    """Return a path without `..`; a link in it stays, as the person wrote it."""
    return Path(os.path.normpath(path.absolute()))


def _path_in(root: Path, script: Path) -> str:
    """Return the path of a script from the campaign's folder."""
    if not is_there(script):
        raise UsageError(f"{script}: there is no such file; name the script that trains, such as train.py")
    if script.is_dir():
        raise UsageError(f"{script}: this is a folder; name the script in it that trains")
    path = _absolute(script)
    if not path.is_relative_to(root):
        raise UsageError(
            f"{script}: it lies outside of {root}, the folder of the campaign file; put that file beside the script: "
            f"-f {path.parent / 'experiments.yaml'}"
        )
    return path.relative_to(root).as_posix()


def _look_at(place: Place, path: str, options: InitOptions) -> tuple[Draft, list[str]]:
    text = _read_text(place.root / path, path)
    # `#!/usr/bin/env python3` makes a file without a suffix a script of Python.
    if Path(path).suffix == ".py" or ("python" in text.partition("\n")[0] and text.startswith("#!")):
        return _look_at_python(place, path, options, text)
    program = options.start or PROGRAMS.get(Path(path).suffix.lower())
    if program is None and not os.access(place.root / path, os.X_OK):
        raise UsageError(
            f"{path}: nothing says which program runs it; give it a suffix such as .py, .sh or .R, or make it "
            "executable"
        )
    start = (*program, path) if program else (f"./{path}",)
    begun = _Begun(script=path, start=start, code=(path,), text=text)
    found = structs.replace(read_words(options.arguments), arguments=())
    draft = _draft(place, begun, found, frozenset())
    hint = (
        f"{path} is no Python, so its parameters are not known; name them behind `--`, such as "
        f"`knockout init {path} -- --lr=0.1`, or write them into the command"
    )
    return draft, [*([] if found.options else [hint]), *_untracked(place, begun.code)]


def _read_text(path: Path, shown: str) -> str:
    try:
        return read_plain(path).decode(errors="replace")
    except UNREADABLE as error:
        words = getattr(error, "strerror", None) or error
        raise UsageError(f"{shown}: cannot be read: {words}; name the script that trains") from None


def _look_at_python(place: Place, path: str, options: InitOptions, text: str) -> tuple[Draft, list[str]]:
    try:
        tree = parse(place.root / path)
    except SyntaxError as error:
        raise UsageError(
            f"{path}:{error.lineno}: this is no Python of this version: {error.msg}; mend that line first"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: this is no Python that can be read: {error}") from None
    modules = reached_modules(place.root, path, tree)
    interpreter = find_interpreter(place.root, path)
    found = look(
        Look(
            place=place,
            script=path,
            modules=tuple(modules),
            interpreter=interpreter,
            arguments=options.arguments,
            is_static=options.is_static,
            seconds=options.seconds,
        )
    )
    found, given = take_arguments(found)
    paths = tuple(module.path for module in modules)
    begun = _Begun(script=path, start=(*(options.start or (interpreter,)), path), code=(*paths, *found.code), text=text)
    draft = _draft(place, begun, found, given)
    patterns = find_patterns(module.tree for module in modules)
    # Items are better evidence than what is printed, and only a run tells their columns.
    metrics = () if _HELPERS_SCORES.search(text) else find_metrics(patterns)
    draft = structs.replace(draft, patterns=patterns, metrics=metrics)
    return draft, [*found.notes, *_launcher_note(path, text, options), *_untracked(place, paths)]


def _launcher_note(script: str, text: str, options: InitOptions) -> list[str]:
    """Say how a script that wants several processes is named."""
    if options.start or not _WORKERS.search(text):
        return []
    return [
        f"{script} works with several processes; if you start it by torchrun, write these words too: "
        f"`knockout init torchrun --standalone --nproc_per_node=2 {script}`"
    ]


def find_interpreter(root: Path, script: str) -> str:
    """Return the interpreter of an environment beside the script or the campaign file, else the one on PATH."""
    beside = Path(script).parent
    places = [folder / name for folder in (beside, Path()) for name in INTERPRETERS]
    there = (place.as_posix() for place in places if (root / place).is_file())
    return next(there, "python" if shutil.which("python") or not shutil.which("python3") else "python3")


def _draft(place: Place, begun: _Begun, found: Found, given: frozenset[str]) -> Draft:
    kept, left, seed = sort_options(found.options)
    is_in_file = bool(found.files) and seed is not None and not seed.word
    if seed is not None and is_in_file:
        kept = (put_seed(seed), *kept)
    script = begun.script
    # Git knows nothing of an untracked file, so no run would have it.
    listed_code = [
        path for path in begun.code if not place.commit or path in place.tracked or path == script or "*" in path
    ]
    locks = [name for name in LOCK_FILES if name in place.tracked]
    return Draft(
        script=script,
        campaign=campaign_name(place.root.name),
        command=build_command(begun.start, found, given, kept, None if is_in_file else seed),
        style=found.style,
        code=tuple(dict.fromkeys((*as_pathspecs(listed_code, script), *locks))),
        files=found.files,
        kept=kept,
        left=left,
        seed=seed.name if seed else "",
        # An option is the plainer way, and two ways may contradict each other.
        reads_seed=seed is None and (SEED_VARIABLE in begun.text or bool(_HELPERS_SEED.search(begun.text))),
    )


def _untracked(place: Place, code: Sequence[str]) -> list[str]:
    """Say which files a run would lack."""
    missing = [path for path in code if place.commit and path not in place.tracked]
    if not missing:
        return []
    return [f"git does not track {listed(missing)}, so no run would have it; run `git add` and commit"]


def _notes_on(draft: Draft, place: Place) -> list[str]:
    """Return what a person must do before the campaign can run."""
    notes = []
    if not draft.seed and not draft.reads_seed:
        notes.append(
            f"{draft.script} has no option for a seed, so runs of one configuration would not differ as they should; "
            "let it read $KNOCKOUT_SEED and write `reads: [seed]`"
        )
    needed = [option.name for option in draft.kept if option.default == FILL_IN]
    if needed or any(FILL_IN in word for word in draft.command):
        what = listed(needed) if needed else "an argument of the command"
        notes.append(f"the script needs a value that is not known: put yours in the place of {FILL_IN} ({what})")
    return notes
