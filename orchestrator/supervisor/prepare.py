"""Puts all that a command needs in place, and decides whether it goes on or starts over."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import DataError
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.attempts import Attempt, append_attempt, find_newest, read_attempts, spent_seconds
from orchestrator.supervisor.checkout import PlaceError, find_place, place_data, place_outputs, remove, write_files
from orchestrator.supervisor.follow import Progress
from orchestrator.supervisor.launch_file import LaunchFile
from orchestrator.supervisor.log import ends_line


def prepare(folder: RunFolder, launch: LaunchFile, progress: Progress) -> Attempt:
    """Put data, outputs and files in place for the next attempt, and write it down.

    A run goes on if it has an earlier attempt and a checkpoint. Otherwise it starts over: what an earlier attempt wrote
    into the run folder is removed, and its rows of progress are set aside.

    Args:
        folder: the run folder, held by this process.
        launch: how the command is started.
        progress: copies rows that an earlier supervisor could not copy.

    Raises:
        PlaceError: something else is where a link or a file belongs.
        DataError: the checkout, or data of the user's, are not there.
        OSError: a file cannot be read or written.
    """
    checkout = Path(launch.checkout)
    if not checkout.is_dir():
        raise DataError(f"{checkout}: the checkout of the run is not there; run again, so that it is made anew")
    earlier = read_attempts(folder.attempts)
    is_again = bool(earlier) and earlier[-1].checkout == launch.checkout
    place_data(checkout, Path(launch.top or checkout), launch.data)
    place_outputs(checkout, launch.outputs, folder.outputs, is_again=is_again)
    # Before any attempt, a match can only be a file of the code.
    found = find_checkpoint(launch, folder) if earlier else None
    if found is None:
        start_over(folder, launch)
    else:
        progress.catch_up(earlier[-1])
    write_files(checkout, folder.path, launch.files)
    attempt = build_attempt(folder, launch, earlier, found)
    append_attempt(folder.attempts, attempt)
    return attempt


def find_checkpoint(launch: LaunchFile, folder: RunFolder) -> Path | None:
    """Return the checkpoint from which a run goes on; None if there is none.

    Raises:
        PlaceError: what names it is no glob.
        OSError: a file cannot be looked at.
    """
    if launch.resume is None:
        return None
    try:
        return find_newest(launch.resume.when, Path(launch.checkout), folder)
    except ValueError as error:
        raise PlaceError(
            f"resume: `{launch.resume.when}` names no checkpoint ({error}); write a path or a glob"
        ) from None


def start_over(folder: RunFolder, launch: LaunchFile) -> None:
    """Remove what an earlier attempt wrote into the run folder, and set its rows of progress aside.

    Raises:
        PlaceError: a name to be removed is one of the run folder's own files, or lies elsewhere.
        OSError: it cannot be removed.
    """
    for name in launch.fresh:
        place = find_place(folder.path, name)
        if place in folder.kept:
            raise PlaceError(f"`{name}` is a file of Knockout's own; name another one under `fresh`")
        remove(place)
    remove(folder.outputs)
    # The links stay, and their targets are made again.
    place_outputs(Path(launch.checkout), launch.outputs, folder.outputs, is_again=False)
    with suppress(FileNotFoundError):
        folder.set_aside(folder.progress)


def build_attempt(folder: RunFolder, launch: LaunchFile, earlier: Sequence[Attempt], found: Path | None) -> Attempt:
    """Return the attempt that begins now; a torn last line of the log is ended first.

    Raises:
        OSError: the log cannot be read or written.
    """
    log = folder.log
    modified = log.stat().st_mtime if log.exists() else None
    if not ends_line(log):
        with log.open("ab") as file:
            file.write(b"\n")
    return Attempt(
        # Not as `job.lock` counts: a job that is killed while it writes its name there makes the count begin anew.
        number=earlier[-1].number + 1 if earlier else 1,
        checkout=launch.checkout,
        log_bytes=log.stat().st_size if log.exists() else 0,
        begun_epoch_seconds=time.time(),
        spent_seconds=spent_seconds(earlier, modified) if found is not None else 0.0,
        checkpoint=str(found) if found is not None else None,
    )
