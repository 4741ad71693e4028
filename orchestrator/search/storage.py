"""The database in which Optuna keeps trials: opens it, locks it, and explains its refusals."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from orchestrator.errors import QueueError, QueueLockedError
from orchestrator.queue.database import (
    DRIVERS,
    LOCK_SECONDS,
    connect_bounded,
    database_name,
    listen_for_refusals,
    make_file,
)
from orchestrator.queue.troubles import TRIALS, describe_trouble, find_remedy, is_refusal
from orchestrator.runs.paths import Paths
from orchestrator.search.open import storage_file
from orchestrator.search.sampler import DIRECTIONS
from orchestrator.task.metric_spec import Direction

HOLD_SECONDS = 60.0
"""Longest wait for another search of the same folder to release the lock."""
HOLD_POLL_SECONDS = 0.02


@contextlib.contextmanager
def hold(paths: Paths) -> Iterator[None]:
    """Lock this folder against other searches.

    Raises:
        QueueLockedError: another search holds the lock for too long.
        QueueError: the lock cannot be taken.
    """
    # Two searches that ask at once would both see a free slot, and the same point as missing.
    # The system releases a file lock when its process ends, so a killed search blocks nobody.
    path = paths.searches_lock
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise QueueError(_describe_lock(paths, error)) from None
    with file:
        # A lock that waits has no time limit, so this one is tried again and again.
        deadline = time.monotonic() + HOLD_SECONDS
        while not _lock(file.fileno(), paths):
            if time.monotonic() >= deadline:
                raise QueueLockedError(
                    f"{path}: another search has held this for {HOLD_SECONDS:g} s; let it go on, or end it"
                )
            time.sleep(HOLD_POLL_SECONDS)
        yield


def _lock(file: int, paths: Paths) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise QueueError(_describe_lock(paths, error)) from None
    return True


def _describe_lock(paths: Paths, error: OSError) -> str:
    return (
        f"{paths.searches_lock}: this cannot be locked, so that searches would be in each other's way: "
        f"{error.strerror}; give the user who runs Knockout the right to write it, on a file system that has locks"
    )


class KeptStudy(NamedTuple):
    """A study of Optuna with the storage that keeps it."""

    study: optuna.Study
    storage: RDBStorage

    def trial(self, frozen: FrozenTrial) -> Trial:
        """Return a trial that can be noted on, reported on and constrained."""
        # Optuna changes only the trial that `ask` returned, and another process may have asked for this one.
        # A storage tells the id of a trial by its number; of a study it is private.
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return Trial(self.study, self.storage.get_trial_id_from_study_id_trial_number(study_id, frozen.number))


def open_storage_study(paths: Paths, given_url: str | None, name: str, better: Direction = "higher") -> KeptStudy:
    """Open the study of a search. Make it if there is none. From then on its storage raises our errors.

    Raises:
        QueueError: the trials cannot be kept there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = given_url or paths.searches_url
    if storage_file(url) == paths.database.resolve():
        what = f"the trials cannot be kept in {paths.database}: it is the queue's own, and `knockout rebuild` makes it"
        raise QueueError(f"{what} again without them; name another database with --storage, or none")
    try:
        storage = RDBStorage(*_arguments(url))
        listen_for_refusals(storage.engine, content=TRIALS)
        study = optuna.create_study(storage=storage, study_name=name, direction=DIRECTIONS[better], load_if_exists=True)
        return KeptStudy(study, storage)
    except (optuna.exceptions.OptunaError, SQLAlchemyError, ImportError, ValueError) as error:
        raise QueueError(_describe_refusal(url, error)) from None


def _arguments(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL for Optuna's storage, and arguments that limit every wait of a database that we know."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Optuna's own error says what is wrong with this URL.
        return url, {}
    driver = DRIVERS.get(parsed.drivername)
    if driver == "sqlite":
        make_file(parsed)
        return url, {"connect_args": {"timeout": LOCK_SECONDS}}
    if driver is None:
        return url, {}
    server: URL = parsed.set(drivername=driver)
    limits = {"creator": connect_bounded(server), "pool_pre_ping": True, "pool_timeout": LOCK_SECONDS}
    return server.render_as_string(hide_password=False), limits


def _describe_refusal(url: str, error: BaseException) -> str:
    """Say why trials cannot be kept, by the database's own error if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        original = getattr(cause, "orig", None)
        if isinstance(original, Exception) and is_refusal(original):
            return describe_trouble(database_name(make_url(url)), str(original), find_remedy(original), TRIALS)
        cause = cause.__cause__ or cause.__context__
    # The other lines are the SQL statement and a link.
    said = str(error).partition("\n")[0]
    return f"the trials cannot be kept at {url.partition('@')[2] or url}: {said}"
