"""What a refusal of a database means is told by its code, never by its words."""

import sqlite3
from typing import Any

import psycopg
import pytest

from orchestrator.errors import FaultKind
from orchestrator.queue.troubles import Remedy, classify_refusal, describe_trouble, find_remedy, is_refusal

NONSENSE = "database is locked, malformed, readonly and full"
"""Words that must not be believed."""


def of_sqlite(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError(NONSENSE)
    code: Any = getattr(sqlite3, name)
    error.sqlite_errorcode = code
    return error


def of_server(state: str | None) -> psycopg.Error:
    return psycopg.OperationalError(NONSENSE) if state is None else psycopg.errors.lookup(state)(NONSENSE)


@pytest.mark.parametrize(
    ("name", "remedy", "kind"),
    [
        ("SQLITE_BUSY", Remedy.LOCKED, FaultKind.PASSES),
        ("SQLITE_BUSY_RECOVERY", Remedy.LOCKED, FaultKind.PASSES),
        ("SQLITE_LOCKED_SHAREDCACHE", Remedy.LOCKED, FaultKind.PASSES),
        ("SQLITE_PROTOCOL", Remedy.LOCKED, FaultKind.PASSES),
        ("SQLITE_IOERR_READ", Remedy.DISK, FaultKind.PASSES),
        ("SQLITE_IOERR_FSYNC", Remedy.DISK, FaultKind.PASSES),
        ("SQLITE_IOERR_LOCK", Remedy.NO_LOCKS, FaultKind.PASSES),
        ("SQLITE_IOERR_SHMMAP", Remedy.NO_LOCKS, FaultKind.PASSES),
        ("SQLITE_FULL", Remedy.FULL, FaultKind.INTERRUPTS),
        ("SQLITE_READONLY_DBMOVED", Remedy.NOT_WRITABLE, FaultKind.INTERRUPTS),
        ("SQLITE_CANTOPEN_ISDIR", Remedy.NOT_WRITABLE, FaultKind.INTERRUPTS),
        ("SQLITE_PERM", Remedy.NOT_WRITABLE, FaultKind.INTERRUPTS),
        ("SQLITE_CORRUPT_INDEX", Remedy.BROKEN, FaultKind.INTERRUPTS),
        ("SQLITE_NOTADB", Remedy.BROKEN, FaultKind.INTERRUPTS),
        ("SQLITE_SCHEMA", Remedy.BROKEN, FaultKind.INTERRUPTS),
        ("SQLITE_TOOBIG", Remedy.UNKNOWN, FaultKind.INTERRUPTS),
    ],
)
def test_each_code_of_sqlite_has_its_remedy(name: str, remedy: Remedy, kind: FaultKind) -> None:
    error = of_sqlite(name)
    assert (is_refusal(error), find_remedy(error), classify_refusal(error)) == (True, remedy, kind)


@pytest.mark.parametrize(
    ("state", "remedy", "kind"),
    [
        (None, Remedy.UNREACHED, FaultKind.PASSES),
        ("08006", Remedy.UNREACHED, FaultKind.PASSES),
        ("57P01", Remedy.UNREACHED, FaultKind.PASSES),
        ("57014", Remedy.SLOW, FaultKind.PASSES),
        ("25P03", Remedy.SLOW, FaultKind.PASSES),
        ("40P01", Remedy.LOCKED, FaultKind.PASSES),
        ("55P03", Remedy.LOCKED, FaultKind.PASSES),
        ("53300", Remedy.CROWDED, FaultKind.PASSES),
        ("53100", Remedy.FULL, FaultKind.PASSES),
        ("58030", Remedy.DISK, FaultKind.PASSES),
        ("25006", Remedy.NOT_WRITABLE, FaultKind.PASSES),
        ("28P01", Remedy.UNREACHED, FaultKind.INTERRUPTS),
        ("3D000", Remedy.UNREACHED, FaultKind.INTERRUPTS),
        ("42501", Remedy.NOT_WRITABLE, FaultKind.INTERRUPTS),
        ("42P01", Remedy.BROKEN, FaultKind.INTERRUPTS),
        ("XX001", Remedy.BROKEN, FaultKind.INTERRUPTS),
    ],
)
def test_each_state_of_a_server_has_its_remedy(state: str | None, remedy: Remedy, kind: FaultKind) -> None:
    error = of_server(state)
    assert (is_refusal(error), find_remedy(error), classify_refusal(error)) == (True, remedy, kind)


@pytest.mark.parametrize(
    "error", [of_server("42601"), of_server("22003"), of_server("23505"), of_sqlite("SQLITE_ERROR")]
)
def test_a_mistake_of_ours_is_no_refusal(error: Exception) -> None:
    assert not is_refusal(error)


def test_a_mistake_in_python_is_no_refusal() -> None:
    assert not is_refusal(TypeError(NONSENSE))
    assert not is_refusal(sqlite3.ProgrammingError(NONSENSE))


def test_the_sentence_holds_the_first_line_of_what_was_said() -> None:
    told = describe_trouble("knockout.db", "canceling statement\nCONTEXT: x", Remedy.FULL)
    assert told == "knockout.db: the queue cannot be used: canceling statement; free some space and run again"
    told = describe_trouble("knockout.db", " \n", Remedy.FULL)
    assert told == "knockout.db: the queue cannot be used: it said nothing; free some space and run again"
