"""Makes the queue's database again from the run folders, which hold everything that the queue needs."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.errors import QueueError, QueueLockedError, RunError
from orchestrator.queue.reconcile import held_rows
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.queue.tables import drop_tables
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Paths, sqlite_url
from orchestrator.runs.results import find_holder, has_job, read_result
from orchestrator.runs.states import RunState


class Rebuilt(Struct, frozen=True, kw_only=True):
    """The rows of a rebuilt queue, and what was left out."""

    rows: tuple[QueuedRun, ...]
    unreadable: tuple[str, ...]
    """A sentence for each folder that is no run folder, or is broken."""

    def sentences(self) -> list[str]:
        """Return the outcome as lines for a person."""
        states = [row.state.value for row in self.rows]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        lines = [f"the queue is made again from {len(states)} run folders" + (f": {counts}" if counts else "")]
        return lines + [f"left out: {sentence}" for sentence in self.unreadable]


class _Names(Struct, frozen=True):
    """The fields of `config.json` that a row needs; other fields may be of any version."""

    experiment: str
    seed: int
    profile: str


class _Origin(Struct, frozen=True):
    """The field of `provenance.json` that the order of the rows needs."""

    started: str


def rebuild(paths: Paths) -> Rebuilt:
    """Replace the old database by a new one, once that is complete.

    Raises:
        RunError: there are no run folders, or somebody works on a run.
        QueueError: the database is locked, or cannot be replaced.
    """
    _refuse_held(paths, list_folders(paths))
    rebuilt = read_rows(paths)
    # Both ways check again: while thousands of folders are read, another command may have started a run.
    if paths.has_own_database:
        _replace_file(paths, rebuilt)
    else:
        _refuse_held(paths, list_folders(paths))
        store = _open_any_version(paths)
        store.replace_all(rebuilt.rows)
        store.close()
    return rebuilt


def _open_any_version(paths: Paths) -> Store:
    """Open a shared database; tables of another version are dropped."""
    try:
        return open_store(paths)
    except QueueLockedError:
        raise
    except QueueError:
        drop_tables(paths.database_url)
        return open_store(paths)


def _replace_file(paths: Paths, rebuilt: Rebuilt) -> None:
    try:
        _write_file(paths, rebuilt)
    except OSError as error:
        raise QueueError(
            f"{paths.database}: the queue cannot be replaced: {error.strerror}; move it away, or give the user who "
            "runs Knockout the right to write it, and rebuild"
        ) from None


def _write_file(paths: Paths, rebuilt: Rebuilt) -> None:
    # The new queue is written beside the old one. If the rebuild is killed on the way, the old queue is still there.
    with tempfile.TemporaryDirectory(dir=paths.results, prefix="rebuild-") as folder:
        complete = Path(folder) / paths.database.name
        store = Store(sqlite_url(complete))
        store.add(rebuilt.rows)
        store.close()
        _refuse_held(paths, list_folders(paths))
        # SQLite would replay the old file's log into the new one.
        for log in paths.database_logs:
            log.unlink(missing_ok=True)
        # In the same folder, so that the replacement is one atomic rename.
        complete.replace(paths.database)


def list_folders(paths: Paths) -> list[Path]:
    """Return everything in the folder of run folders, sorted by name.

    Raises:
        RunError: there are no run folders, or they cannot be listed.
    """
    try:
        return sorted(paths.runs.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            f"{paths.runs}: there are no run folders to make the queue from; `knockout run` starts some"
        ) from None
    except OSError as error:
        raise RunError(
            f"{paths.runs}: the run folders cannot be listed: {error.strerror}; give the user who runs "
            "Knockout the right to read there"
        ) from None


def _refuse_held(paths: Paths, folders: Sequence[Path]) -> None:
    """Refuse a rebuild while a worker or a job works on any run."""
    jobs = [path.name for path in folders if has_job(paths.run(path.name))]
    held = [(row.id, f"process {row.pid} on {row.host}") for row in _read_held(paths)]
    for run_id, who in [*held, *((job, "its job") for job in jobs)]:
        raise RunError(f"{paths.runs / run_id} is held by {who}; `knockout stop` lets it save and end, then rebuild")


def _read_held(paths: Paths) -> list[QueuedRun]:
    if not paths.has_queue:
        return []
    try:
        store = open_store(paths)
    except QueueLockedError:
        raise
    except QueueError:
        # Rebuilding is the remedy for a queue that is broken or of another version.
        return []
    try:
        return held_rows(store, paths)
    except QueueLockedError:
        raise
    except QueueError:
        return []
    finally:
        store.close()


def read_rows(paths: Paths) -> Rebuilt:
    """Read every run folder into a row; the run that was queued first comes first."""
    rows: list[tuple[str, str, QueuedRun]] = []
    unreadable: list[str] = []
    for path in list_folders(paths):
        try:
            rows.append(_read_row(paths.run(path.name)))
        except NotADirectoryError:
            unreadable.append(f"{path}: this is a file, and no run folder")
        except OSError as error:
            file = Path(error.filename or path).name
            unreadable.append(f"{path}: this run folder cannot be read: {file}: {error.strerror}")
        except (ValueError, RunError) as error:
            unreadable.append(f"{path}: this run folder cannot be read: {error}")
    # The key is time and id alone, because rows cannot be compared with each other.
    return Rebuilt(
        rows=tuple(row for _, _, row in sorted(rows, key=lambda entry: entry[:2])), unreadable=tuple(unreadable)
    )


def _read_row(folder: RunFolder) -> tuple[str, str, QueuedRun]:
    """Return when a run was queued, its id, and its row.

    Raises:
        OSError: a file is missing or cannot be read, `job.lock` among them.
        ValueError: a file is broken, or the folder has another run's name.
        RunError: the order or the result cannot be read.
    """
    # Called for its errors only: if the lock cannot be read, nobody knows whether a job is at work.
    find_holder(folder)
    names = msgspec.json.decode(folder.config.read_bytes(), type=_Names)
    queued = _read_time(folder)
    run_id = folder.path.name
    # A folder that somebody copied under the name of another run must not count as that run.
    if run_id.rpartition("-")[0] != f"{names.experiment}-s{names.seed}":
        raise ValueError(f"its config.json is of experiment {names.experiment}, seed {names.seed}")
    result = read_result(folder) or _unfinished(folder)
    row = QueuedRun(
        id=run_id,
        experiment=names.experiment,
        seed=names.seed,
        profile=names.profile,
        state=RunState(result.state),
        reason=result.reason,
        failure=result.failure,
    )
    return queued, run_id, row


def _read_time(folder: RunFolder) -> str:
    """Return when a run was queued; without an order, when it was started."""
    if folder.order.exists():
        return read_order(folder).queued
    return msgspec.json.decode(folder.provenance.read_bytes(), type=_Origin).started


def _unfinished(folder: RunFolder) -> Result:
    """Return the state of a run without a result: queued before it was started, interrupted afterwards."""
    if not folder.provenance.exists():
        return Result(state=RunState.QUEUED.value, reason="", epochs=0)
    epochs = len(folder.read_epochs())
    if folder.attempts.exists():
        # A script's rows are no checkpoints, so they do not say from where it goes on.
        reason = "stopped; it goes on from its last checkpoint, or starts over where it has none"
        return Result(state=RunState.INTERRUPTED.value, reason=reason, epochs=epochs)
    when = f"after epoch {epochs}" if epochs else "before its first epoch"
    return Result(state=RunState.INTERRUPTED.value, reason=f"stopped {when}; it goes on from there", epochs=epochs)
