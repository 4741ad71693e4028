"""Endings and errors are classified by class and number; what nobody knows interrupts."""

import errno
import signal
import sqlite3

import pytest

from orchestrator import errors
from orchestrator.errors import FaultKind, kind_of_errno, kind_of_sqlite, kind_of_sqlstate, kind_of_status


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ETIMEDOUT", "ENOLCK", "EAGAIN"])
def test_an_error_of_a_file_system_that_ends_by_itself_passes(name: str) -> None:
    assert kind_of_errno(getattr(errno, name)) is FaultKind.PASSES


@pytest.mark.parametrize("number", [None, errno.EACCES, errno.EROFS, errno.ENOSPC, 9999])
def test_an_error_that_nobody_knows_interrupts(number: int | None) -> None:
    assert kind_of_errno(number) is FaultKind.INTERRUPTS


def test_an_error_that_only_code_brings_about_is_the_runs_own() -> None:
    assert kind_of_errno(errno.EBADF) is FaultKind.OWN_DOING


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGBUS, signal.SIGHUP, signal.SIGXCPU])
def test_a_signal_from_outside_interrupts(number: signal.Signals) -> None:
    assert kind_of_status(-number) is FaultKind.INTERRUPTS


@pytest.mark.parametrize("status", [1, errors.REFUSED, 3, -signal.SIGSEGV, -signal.SIGABRT])
def test_an_ending_that_the_code_brings_about_is_the_runs_own(status: int) -> None:
    assert kind_of_status(status) is FaultKind.OWN_DOING


@pytest.mark.parametrize("status", [errors.AWAY, errors.CHANGED, errors.HELD, errors.NO_SPACE, errors.INTERRUPTED])
def test_a_job_can_say_that_it_goes_on(status: int) -> None:
    assert kind_of_status(status) is FaultKind.INTERRUPTS


def test_another_programs_lock_passes_and_a_broken_database_does_not() -> None:
    for code in ("BUSY_SNAPSHOT", "BUSY", "LOCKED", "NOMEM", "IOERR", "PROTOCOL"):
        assert kind_of_sqlite(getattr(sqlite3, f"SQLITE_{code}")) is FaultKind.PASSES
    assert kind_of_sqlite(sqlite3.SQLITE_CORRUPT) is FaultKind.INTERRUPTS
    assert kind_of_sqlite(None) is FaultKind.INTERRUPTS


@pytest.mark.parametrize("state", [None, "08006", "57P01", "40P01", "55P03", "53300"])
def test_a_server_that_is_away_or_busy_passes(state: str | None) -> None:
    assert kind_of_sqlstate(state) is FaultKind.PASSES


@pytest.mark.parametrize("state", ["42P01", "28P01", "3D000"])
def test_what_a_server_refuses_for_good_does_not_pass(state: str) -> None:
    assert kind_of_sqlstate(state) is FaultKind.INTERRUPTS
