"""Which files of a repository a script runs: what it imports, over all of them, by their syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from msgspec import Struct

from orchestrator.files import UNREADABLE, read_plain
from orchestrator.scripts.syntax import calls, executed_file

MAX_FILES = 2000
"""Most files that are read."""
MAX_LISTED = 12
"""Most files that are named one by one; beyond it, folders are named."""


class Module(Struct, frozen=True):
    """One file that a script runs, and its tree."""

    path: str
    """From the campaign's folder."""
    tree: ast.Module


def parse(path: Path) -> ast.Module:
    """Read the syntax tree of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no Python of this version, or too large; SyntaxError is none of ours to say.
    """
    return ast.parse(read_plain(path))


def reached_modules(root: Path, script: str, tree: ast.Module) -> list[Module]:
    """Return the script and the files that it imports from this folder, in the order of their discovery.

    Args:
        root: the campaign's folder.
        script: path of the script in it.
        tree: the script's tree.
    """
    found = {script: Module(script, tree)}
    waiting = [script]
    # Python looks beside the script first; a package is also found from the folder that commands start in.
    bases = tuple(dict.fromkeys((PurePosixPath(script).parent, PurePosixPath())))
    while waiting and len(found) < MAX_FILES:
        module = found[waiting.pop(0)]
        for path in _imported_files(root, module, bases):
            if path not in found and (parsed := _try_to_parse(root / path)) is not None:
                found[path] = Module(path, parsed)
                waiting.append(path)
    return list(found.values())


def _try_to_parse(path: Path) -> ast.Module | None:
    try:
        return parse(path)
    except (SyntaxError, *UNREADABLE):
        return None


def _imported_files(root: Path, module: Module, bases: tuple[PurePosixPath, ...]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        for names, base in _imported(node, PurePosixPath(module.path), bases):
            yield from _files_of(root, base, names)
    for call in calls(module.tree):
        path = executed_file(call)
        if path and (root / path).is_file():
            yield path


def _imported(
    node: ast.AST, own: PurePosixPath, bases: tuple[PurePosixPath, ...]
) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Yield the parts of each module that a line imports, and the folder to look in."""
    match node:
        case ast.Import(names=aliases):
            yield from ((alias.name.split("."), base) for alias in aliases for base in bases)
        case ast.ImportFrom(module=name, names=aliases, level=level):
            parts = name.split(".") if name else []
            places = bases if level == 0 else (own.parents[level - 1],) if level <= len(own.parents) else ()
            yield from (([*parts, alias.name], base) for alias in aliases for base in places)


def _files_of(root: Path, base: PurePosixPath, parts: list[str]) -> Iterator[str]:
    """Yield the packages on the way to a module, and the module; a name that a module holds ends the way."""
    folder = base
    for part in parts:
        for path in (folder / part / "__init__.py", folder / f"{part}.py"):
            if (root / path).is_file():
                yield str(path)
        # A name inside a module leads to no file, and nor does what follows it.
        folder /= part


def as_pathspecs(paths: list[str], script: str) -> list[str]:
    """Return files as git pathspecs: one by one, or as folders where there are many."""
    if len(paths) <= MAX_LISTED:
        return paths
    tops = (PurePosixPath(path).parts for path in paths)
    specs = dict.fromkeys(parts[0] if len(parts) == 1 else f"{parts[0]}/*.py" for parts in tops)
    return [script, *(spec for spec in specs if spec != script)]
