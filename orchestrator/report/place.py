"""Writes the files of a report, and keeps the link to the newest one."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.files import write_atomically
from orchestrator.runs.paths import refuse_report


def write_files(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write the files of a report, each whole or not at all. A file that has this content already is left as it is.

    Raises:
        RunError: one cannot be written.
    """
    try:
        for name, data in content.items():
            if not _has_content(folder / name, data):
                write_atomically(folder / name, data)
    except OSError as error:
        raise refuse_report(folder, error) from None


def point_latest(link: Path, folder: Path) -> None:
    """Let a link lead to the newest report, in one step, so that it leads to a report at every moment.

    A folder or a file that somebody put in its place stays as it is. So does a link that cannot be replaced.
    """
    # A new link is renamed over the old one: a rename is atomic, removing and making is not.
    fresh = link.with_name(f".{link.name}.{folder.name}")
    if os.path.lexists(link) and not link.is_symlink():
        return
    with contextlib.suppress(OSError):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name, target_is_directory=True)
        fresh.replace(link)


def describe_latest(link: Path, folder: Path) -> str | None:
    """Return a sentence if a link does not lead to the newest report, and None if it does."""
    if os.path.realpath(link) == os.path.realpath(folder):
        return None
    what = "is a link" if link.is_symlink() else "is no link, but a file or folder of somebody's"
    return f"{link} {what} and does not lead to the newest report, {folder.name}; move it away"


def _has_content(path: Path, data: bytes) -> bool:
    """Whether a file has this content already, for example because another command wrote the same report."""
    try:
        return path.is_file() and path.read_bytes() == data
    except OSError:
        return False
