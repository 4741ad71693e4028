"""Where reports are written: asked at the start of a command that needs it only at its end, hours later."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.files import write_atomically
from orchestrator.runs.paths import refuse_report


def write_files(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write the files of a report, each whole or not at all; those that are there already stay as they are.

    Raises:
        RunError: one cannot be written.
    """
    try:
        for name, data in content.items():
            if not _holds(folder / name, data):
                write_atomically(folder / name, data)
    except OSError as error:
        raise refuse_report(folder, error) from None


def point_latest(link: Path, folder: Path) -> None:
    """Let a link lead to the newest report, in one step, so that there always is one.

    What somebody put there by hand, a folder or a file, stays as it is; so does a link that cannot be replaced.
    """
    fresh = link.with_name(f".{link.name}.{folder.name}")
    if os.path.lexists(link) and not link.is_symlink():
        return
    with contextlib.suppress(OSError):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name, target_is_directory=True)
        fresh.replace(link)


def describe_latest(link: Path, folder: Path) -> str | None:
    """Say that a link does not lead to the newest report; None where it does."""
    if os.path.realpath(link) == os.path.realpath(folder):
        return None
    what = "is a link" if link.is_symlink() else "is no link, but a file or folder of somebody's"
    return f"{link} {what} and does not lead to the newest report, {folder.name}; move it away"


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has this content already, as where somebody else wrote the same report."""
    try:
        return path.is_file() and path.read_bytes() == data
    except OSError:
        return False
