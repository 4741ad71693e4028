"""A run that something interrupted is tried again, later each time, and not for ever."""

import errno
import signal

import pytest

from orchestrator.errors import AWAY, CHANGED, HELD, INTERRUPTED, NO_SPACE, UNKNOWN_STATUS, DataError
from orchestrator.launch.settle import WAITS_SECONDS, Retry, is_passing_error, is_passing_status, plan_retry


def test_each_try_in_a_row_waits_longer_until_there_is_none() -> None:
    retry, waits = None, []
    while (retry := plan_retry(retry, 3, 100.0)) is not None:
        waits.append(retry.due_at - 100.0)
    assert waits == list(WAITS_SECONDS) == sorted(WAITS_SECONDS)


def test_a_finished_epoch_begins_the_count_anew() -> None:
    last = Retry(tries=len(WAITS_SECONDS), num_epochs=3, due_at=0.0)
    assert plan_retry(last, 3, 0.0) is None
    assert plan_retry(last, 4, 0.0) == Retry(tries=1, num_epochs=4, due_at=WAITS_SECONDS[0])


@pytest.mark.parametrize("status", [AWAY, HELD, UNKNOWN_STATUS, -signal.SIGKILL, -signal.SIGBUS, -signal.SIGHUP])
def test_what_may_be_over_soon_is_tried_again(status: int) -> None:
    assert is_passing_status(status)


@pytest.mark.parametrize(
    "status",
    [INTERRUPTED, -signal.SIGTERM, -signal.SIGINT, NO_SPACE, CHANGED, 1, -signal.SIGSEGV],
    ids=["asked", "asked", "asked", "full", "changed", "crash", "crash"],
)
def test_what_a_person_asked_for_or_must_mend_is_not(status: int) -> None:
    assert not is_passing_status(status)


def test_an_error_that_passes_is_found_below_a_sentence() -> None:
    error = DataError("LocD.h5: the capture cannot be read")
    error.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    assert is_passing_error(error)
    assert is_passing_error(OSError(errno.EIO, "Input/output error"))
    assert not is_passing_error(OSError(errno.EACCES, "Permission denied"))
    assert not is_passing_error(ValueError("wrong"))
