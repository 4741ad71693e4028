"""Makes the queue's database again from the run folders: they are the truth, it is a view of them."""

import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct
from sqlalchemy.exc import DatabaseError, OperationalError

from model.run_folder import Result, RunFolder
from orchestrator.errors import RunError
from orchestrator.evidence import UNREADABLE
from orchestrator.layout import Layout
from orchestrator.states import RunState
from orchestrator.store import QueuedRun, Store


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What came of a rebuild."""

    rows: tuple[QueuedRun, ...]
    unreadable: tuple[str, ...]
    """A sentence for each folder that is no run folder, or a broken one."""

    def sentences(self) -> list[str]:
        """Say it to a person."""
        states = [row.state.value for row in self.rows]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        lines = [f"the queue is made again from {len(states)} run folders" + (f": {counts}" if counts else "")]
        return lines + [f"left out: {sentence}" for sentence in self.unreadable]


class _Names(Struct, frozen=True):
    """What a row needs of `config.json`, whatever version wrote the rest."""

    experiment: str
    seed: int
    profile: str


class _Origin(Struct, frozen=True):
    """What the order of the rows needs of `provenance.json`."""

    started: str


def rebuild(layout: Layout) -> Rebuilt:
    """Put a new database in the place of the old one, once it is complete.

    Raises:
        RunError: there are no run folders, or a living `run` holds runs.
    """
    if not layout.runs.is_dir():
        raise RunError(f"{layout.runs}: there are no run folders to make the queue from; `knockout run` starts some")
    _refuse_held(layout.database)
    rebuilt = read_rows(layout)
    with tempfile.TemporaryDirectory(dir=layout.results, prefix="rebuild-") as folder:
        complete = Path(folder) / layout.database.name
        store = Store(complete)
        store.add(rebuilt.rows)
        store.close()
        # Asked again: reading thousands of folders takes long enough for a `run` to begin.
        _refuse_held(layout.database)
        for ending in ("-wal", "-shm"):
            # The old file's log must not be replayed into the new one.
            layout.database.with_name(layout.database.name + ending).unlink(missing_ok=True)
        complete.replace(layout.database)
    return rebuilt


def _refuse_held(database: Path) -> None:
    if not database.exists():
        return
    try:
        store = Store(database)
        try:
            held = store.held()
        finally:
            store.close()
    except OperationalError as error:
        raise RunError(
            f"{database}: the queue cannot be opened ({error.orig}); end what uses it, then rebuild"
        ) from None
    except DatabaseError:
        # A broken database is what a rebuild is for.
        return
    if held:
        who = f"process {held[0].pid} on {held[0].host}"
        raise RunError(f"{database}: {held[0].id} is held by {who}; wait until that `knockout run` ends, then rebuild")


def read_rows(layout: Layout) -> Rebuilt:
    """Read every run folder into a row; the first started comes first."""
    rows: list[tuple[str, str, QueuedRun]] = []
    unreadable: list[str] = []
    for path in sorted(layout.runs.iterdir()):
        try:
            rows.append(_read_row(layout.run(path.name)))
        except UNREADABLE as error:
            unreadable.append(f"{path}: this run folder cannot be read: {error}")
    return Rebuilt(
        rows=tuple(row for _, _, row in sorted(rows, key=lambda entry: entry[:2])), unreadable=tuple(unreadable)
    )


def _read_row(folder: RunFolder) -> tuple[str, str, QueuedRun]:
    """Return when a run was started, its id, and its row.

    Raises:
        UNREADABLE: a file is missing or broken, or the folder has another run's name.
    """
    names = msgspec.json.decode(folder.config.read_bytes(), type=_Names)
    started = msgspec.json.decode(folder.provenance.read_bytes(), type=_Origin).started
    run_id = folder.path.name
    if run_id.rpartition("-")[0] != f"{names.experiment}-s{names.seed}":
        raise ValueError(f"its config.json is of experiment {names.experiment}, seed {names.seed}")
    result = folder.read_result() or _interrupted(folder)
    row = QueuedRun(
        id=run_id,
        position=0,
        experiment=names.experiment,
        seed=names.seed,
        profile=names.profile,
        state=RunState(result.state),
        reason=result.reason,
        failure=result.failure,
    )
    return started, run_id, row


def _interrupted(folder: RunFolder) -> Result:
    epochs = len(folder.read_epochs())
    when = "after an epoch" if epochs else "before its first epoch"
    return Result(state=RunState.INTERRUPTED.value, reason=f"stopped {when}; run again to go on", epochs=epochs)
