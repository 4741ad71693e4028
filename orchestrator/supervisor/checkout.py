"""Puts data, outputs and files into a checkout, and takes outputs that are no links out of it.

Nothing of the user's is replaced or removed. What stands in the way is named, and the run is refused.
"""

import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.errors import DataError, RunError
from orchestrator.files import write_atomically


class PlaceError(RunError):
    """A file or link has no place in the checkout; the same command would find the same again."""


def is_folder(output: str) -> bool:
    """Whether an output is a folder: it ends with a slash, or its name has no ending. `out` is one, `net.pt` is none.

    A folder is there before the command starts, because few scripts make a folder through a link without a target.
    """
    return output.endswith("/") or not Path(output).suffix


def find_place(root: Path, name: str) -> Path:
    """Return the path of a name inside a folder. Links on the way to it may not lead out of the folder.

    Raises:
        PlaceError: it would lie elsewhere.
    """
    place = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts or place == root:
        raise PlaceError(f"`{name}` must lie inside {root}; name a path in it, without `..`")
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise PlaceError(f"`{name}` lies outside of {root}, because a folder on the way is a link; name another path")
    return place


def place_data(checkout: Path, top: Path, data: Mapping[str, str]) -> None:
    """Link the user's data into the checkout.

    If a folder of the checkout has the same name, as with tracked scripts beside ignored data, its missing entries are
    linked one by one.

    Args:
        checkout: the folder that the command works in.
        top: the folder around it in which data may lie too: a script may read `../data`.
        data: path from the checkout -> absolute path of the user's file or folder.

    Raises:
        DataError: the data are not there.
        PlaceError: something else has the name.
        OSError: the checkout cannot be written.
    """
    for name, text in data.items():
        target = Path(text)
        if not target.is_absolute():
            raise PlaceError(f"data `{name}`: `{text}` is no absolute path; name the whole path")
        if not target.exists():
            raise DataError(f"{target}: the data `{name}` are not there; put them back, and run again to go on")
        # As text: `..` behind a link would lead elsewhere, and the script says it as text too.
        inside = os.path.relpath(os.path.normpath(checkout / name), top)
        _link_or_fill(find_place(top, inside), target)


def _link_or_fill(place: Path, target: Path) -> None:
    if place.is_symlink() or not place.exists():
        _link(place, target)
    elif place.is_dir() and target.is_dir():
        for entry in sorted(target.iterdir()):
            _link_or_fill(place / entry.name, entry)
    # A tracked file lies in both places. The checkout's own counts, so the two may not differ.
    elif not (place.is_file() and target.is_file() and filecmp.cmp(place, target, shallow=False)):
        raise _occupied(place, target)


def _link(place: Path, target: Path) -> None:
    # A link that leads nowhere exists by its name alone.
    if os.path.lexists(place):
        if not place.is_symlink() or place.readlink() != target:
            raise _occupied(place, target)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def _occupied(place: Path, target: Path) -> PlaceError:
    return PlaceError(
        f"{place}: something else is there, so no link to {target} can be; give one of them another name, or take it "
        "out of the code"
    )


def place_outputs(checkout: Path, outputs: Iterable[str], kept: Path, *, is_again: bool) -> None:
    """Make each output in the checkout a link into the run folder.

    Args:
        checkout: the folder that the command works in.
        outputs: paths in the checkout.
        kept: the folder of the run that keeps outputs.
        is_again: whether an earlier attempt worked in the same checkout. Then what is no link is an output of that
            attempt, and is kept.

    Raises:
        PlaceError: something else has the name.
        OSError: the checkout or the run folder cannot be written.
    """
    names = tuple(outputs)
    if is_again:
        collect_outputs(checkout, names, kept)
    for name in names:
        place, target = find_place(checkout, name), find_place(kept, name)
        # A file's own target stays absent: a script may ask whether its checkpoint is there.
        (target if is_folder(name) else target.parent).mkdir(parents=True, exist_ok=True)
        _link(place, target)


def collect_outputs(checkout: Path, outputs: Iterable[str], kept: Path) -> None:
    """Move outputs that are no links any more into the run folder; a command that renames onto a link replaces it.

    Raises:
        OSError: they cannot be moved.
    """
    for name in outputs:
        place, target = find_place(checkout, name), find_place(kept, name)
        if place.exists() and not place.is_symlink():
            remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(place, target)


def write_files(checkout: Path, run_folder: Path, files: Mapping[str, str]) -> None:
    """Write the files that a command reads. A name that is a link becomes a file; what the link names stays.

    Args:
        checkout: where relative paths lie.
        run_folder: where absolute paths must lie.
        files: path -> text.

    Raises:
        PlaceError: a file would lie elsewhere, or a folder has its name.
        OSError: a file cannot be written.
    """
    for name, text in files.items():
        # Whole files at once: a command that is started again must not read half of one.
        place = _find_file(checkout, run_folder, name)
        if place.is_dir() and not place.is_symlink():
            raise PlaceError(f"{place}: a folder is there, and a file is to be written; give the file another name")
        write_atomically(place, text.encode())


def _find_file(checkout: Path, run_folder: Path, name: str) -> Path:
    if not Path(name).is_absolute():
        return find_place(checkout, name)
    if not Path(name).is_relative_to(run_folder):
        raise PlaceError(f"`{name}` must lie inside {run_folder} or be relative to the checkout; name such a path")
    return find_place(run_folder, str(Path(name).relative_to(run_folder)))


def remove(path: Path) -> None:
    """Remove a file, link or folder if it is there. Links inside a folder are removed, and what they name stays.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
