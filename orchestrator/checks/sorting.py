"""Sorts the files of a run: code, data, outputs, and what lies where no run may reach. Pure."""

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from orchestrator.checks.opened import Opened

SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/tmp", "/usr", "/bin", "/lib", "/lib64", "/var", "/run", "/opt", "/snap")
"""Folders of the system, where no data of a study lie."""
CACHES = (".cache", ".config", ".local", ".conda", ".keras", ".torch", ".triton", ".nv", ".matplotlib")
"""Folders of the home that programs fill by themselves."""
PYCACHE = "__pycache__"
OWN = (".git", PYCACHE, ".pytest_cache", ".mypy_cache", ".ipynb_checkpoints")
"""Folders that tools fill beside code."""


class Ground(Struct, frozen=True, kw_only=True):
    """Where files lie, as whole paths, and what git and the campaign file say of them."""

    checkout: str
    """The campaign's folder in the checkout of the run."""
    root: str
    """The same folder in the user's own checkout."""
    top: str = ""
    """The top of the run's checkout; empty where it is the campaign's folder."""
    root_top: str = ""
    """The same of the user's own."""
    own: tuple[str, ...] = ()
    """Folders of the run itself, and of programs: what is opened there says nothing."""
    tracked: frozenset[str] = frozenset()
    """Paths, from the campaign's folder, of the files that the checkout began with."""
    covered: frozenset[str] = frozenset()
    """Those that `task.code` names."""
    data: tuple[str, ...] = ()
    """Paths of `task.data`, from the campaign's folder or whole."""
    outputs: tuple[str, ...] = ()
    """Paths of `task.outputs`."""
    there: frozenset[str] = frozenset()
    """Paths, from the campaign's folder, that are in the user's own checkout and not in that of the run."""
    unknown: frozenset[str] = frozenset()
    """Those of `there` that git neither tracks nor ignores."""


class Sorted(Struct, frozen=True, kw_only=True):
    """What a run read and wrote, sorted. Paths are from the campaign's folder, or whole where they lie elsewhere."""

    code: tuple[str, ...] = ()
    """Files of the checkout that are read."""
    uncovered: tuple[str, ...] = ()
    """Those that `task.code` does not name."""
    data: tuple[str, ...] = ()
    """Files that are read and lie in no checkout."""
    wanted: tuple[str, ...] = ()
    """Files that the run looked for in vain, and that are in the user's own checkout."""
    astray: tuple[str, ...] = ()
    """Code that the run read in the user's own checkout, and not in its own: patches would have no effect there."""
    untracked: tuple[str, ...] = ()
    """Files as in `wanted` that git neither tracks nor ignores: they may be code."""
    outside: tuple[str, ...] = ()
    """Files that the run wrote outside of its own folders, where other runs write too."""
    spoilt: tuple[str, ...] = ()
    """Data that the run wrote to."""


def sort_opened(opened: Iterable[Opened], ground: Ground) -> Sorted:
    """Sort what a run opened."""
    found: dict[str, dict[str, None]] = {name: {} for name in Sorted.__struct_fields__}
    for one in opened:
        path = source_of(one.path)
        for name, shown in _places(one, path, ground):
            found[name].setdefault(shown)
    if found["code"]:
        found["uncovered"] = {path: None for path in found["code"] if path not in ground.covered}
    return Sorted(**{name: tuple(sorted(paths)) for name, paths in found.items()})


def source_of(path: str) -> str:
    """Return the source file of byte code; any other path stays."""
    pure = PurePosixPath(path)
    if pure.parent.name != PYCACHE:
        return path
    return str(pure.parent.parent / f"{pure.name.partition('.')[0]}.py")


def _places(one: Opened, path: str, ground: Ground) -> list[tuple[str, str]]:
    if _is_in(path, ground.top or ground.checkout):
        return _inside(one, os.path.relpath(path, ground.checkout), ground)
    if any(_is_in(path, folder) for folder in ground.own):
        return []
    # A script may name the user's own checkout by its whole path.
    if _is_in(path, ground.root_top or ground.root):
        return _in_root(one, os.path.relpath(path, ground.root), ground)
    return [] if _is_of_others(path, ground) else _elsewhere(one, path, ground)


def _inside(one: Opened, name: str, ground: Ground) -> list[tuple[str, str]]:
    if _is_named(name, ground.data):
        return [("spoilt", name)] if one.kind == "write" else []
    if name == "." or _is_named(name, ground.outputs) or set(PurePosixPath(name).parts) & set(OWN):
        return []
    if one.kind == "read":
        return [("code", name)] if name in ground.tracked else []
    if one.kind == "missing" and name in ground.there:
        return [("untracked" if name in ground.unknown else "wanted", name)]
    return []


def _in_root(one: Opened, name: str, ground: Ground) -> list[tuple[str, str]]:
    if name == "." or set(PurePosixPath(name).parts) & set(OWN):
        return []
    if one.kind == "write":
        return [("outside", os.path.normpath(f"{ground.root}/{name}"))]
    if one.kind == "missing" or _is_named(name, ground.data):
        return []
    return [("astray" if name in ground.tracked else "data", name)]


def _elsewhere(one: Opened, path: str, ground: Ground) -> list[tuple[str, str]]:
    if one.kind == "write":
        return [("spoilt" if _is_named(path, ground.data) else "outside", path)]
    return [] if one.kind == "missing" or _is_named(path, ground.data) else [("data", path)]


def _is_of_others(path: str, ground: Ground) -> bool:
    if any(_is_in(path, folder) for folder in SYSTEM):
        return True
    # `~/.cache/...`, and a home's own folder, which programs look through.
    parts = PurePosixPath(path).parts
    return any(part in CACHES for part in parts) or "site-packages" in parts


def _is_in(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def _is_named(path: str, names: Iterable[str]) -> bool:
    return any(_is_in(path, name) for name in names)


def group_data(paths: Sequence[str], tracked: Iterable[str]) -> tuple[str, ...]:
    """Return the files and folders to name as data: files of one folder together, unless code lies there too.

    Args:
        paths: files and folders that are read.
        tracked: paths that git tracks.
    """
    code_folders = {str(parent) for path in tracked for parent in PurePosixPath(path).parents}
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(_head(path, code_folders), []).append(path)
    named = [_common(group) for group in groups.values()]
    # What lies in a folder that is named already needs no line of its own.
    inside = {one for one in named for other in named if one != other and _is_in(one, other)}
    return tuple(dict.fromkeys(one for one in named if one not in inside))


def _head(path: str, code_folders: set[str]) -> str:
    """Return the highest folder on a path that holds no code; the path itself if there is none."""
    pure = PurePosixPath(path)
    if pure.is_absolute():
        return str(pure.parent)
    folders = [str(parent) for parent in reversed(pure.parents) if parent.name not in ("", "..")]
    return next((folder for folder in folders if folder not in code_folders), path)


def _common(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else os.path.commonpath(paths)


def group_outputs(paths: Sequence[str], tracked: Iterable[str]) -> tuple[str, ...]:
    """Return the files and folders to name as outputs: a folder that holds no code is named as a whole."""
    code_folders = {str(parent) for path in tracked for parent in PurePosixPath(path).parents}
    heads = dict.fromkeys(_head(path, code_folders) for path in paths)
    # A folder with a dot in its name would be taken for a file.
    return tuple(f"{head}/" if head not in paths and PurePosixPath(head).suffix else head for head in heads)


def name_of(path: str, taken: Iterable[str] = ()) -> str:
    """Return a name for data, from the last part of their path; it is none of those taken."""
    stem = PurePosixPath(path).name.partition(".")[0]
    name = "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in stem).strip("_") or "data"
    names = set(taken)
    numbered = (f"{name}_{number}" for number in range(2, len(names) + 3))
    return name if name not in names else next(one for one in numbered if one not in names)
