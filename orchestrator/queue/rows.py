"""The queue's two tables, and their rows as values."""

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table, TypeDecorator
from sqlalchemy.engine import Dialect, Row

from orchestrator.processes import Process
from orchestrator.runs.states import RunState


class Words(TypeDecorator[str]):
    """Text of a job's log: what no database takes, NUL and halves of surrogate pairs, is written as a sign for it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what can be stored."""
        return None if value is None else value.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


METADATA = MetaData()
RUNS = Table(
    "runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("experiment", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("profile", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reason", Words, nullable=False, default=""),
    Column("failure", String),
    Column("attempt", Integer, nullable=False, default=0),
    Column("losses", Integer, nullable=False, default=0),
    Column("epochs_at_loss", Integer, nullable=False, default=0),
    Column("host", String),
    Column("pid", Integer),
    Column("born", String),
)
WORKERS = Table(
    "workers",
    METADATA,
    Column("host", String, primary_key=True),
    Column("pid", Integer, primary_key=True),
    Column("born", String, primary_key=True),
    Column("heartbeat", Float, nullable=False),
    Column("is_asked_to_stop", Boolean, nullable=False, default=False),
)


class QueuedRun(Struct, frozen=True, kw_only=True):
    """A row of the queue; the fields are the table's columns, in their order."""

    id: str
    position: int = 0
    experiment: str
    seed: int
    profile: str
    state: RunState
    reason: str = ""
    failure: str | None = None
    attempt: int = 0
    """How often it was claimed."""
    losses: int = 0
    """How often in a row its worker or machine went away before another epoch was finished."""
    epochs_at_loss: int = 0
    host: str | None = None
    pid: int | None = None
    born: str | None = None

    @property
    def worker(self) -> Process | None:
        """The process that claimed it last."""
        if self.host is None or self.pid is None or self.born is None:
            return None
        return Process(self.host, self.pid, self.born)


def waiting_run(run_id: str, experiment: str, seed: int, profile: str) -> QueuedRun:
    """Return the row of a run that waits and was never claimed."""
    return QueuedRun(id=run_id, experiment=experiment, seed=seed, profile=profile, state=RunState.QUEUED)


class Heartbeat(Struct, frozen=True, kw_only=True):
    """What a worker is told when its heart beats."""

    held: frozenset[str]
    """The runs that are still its own."""
    is_asked_to_stop: bool


def read_row(row: Row[Any]) -> QueuedRun:
    """Read a row of the table of runs.

    Raises:
        ValueError: another version wrote it, or it is spoilt; says what is wrong with it.
    """
    return msgspec.convert(dict(zip(QueuedRun.__struct_fields__, row, strict=True)), QueuedRun)


def read_worker(host: object, pid: object, born: object, age: Any) -> tuple[Process, float] | None:
    """Read a worker and the seconds since its last heartbeat; None if the row is spoilt and names no process."""
    try:
        return msgspec.convert({"host": host, "pid": pid, "born": born}, Process), float(age)
    except (TypeError, ValueError):
        return None
