"""An error of the system that can pass ends a job so that it can go on."""

import errno

import pytest

from model.endings import AWAY, NO_SPACE, find_system_error, status_of


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ETIMEDOUT", "ENOLCK", "EAGAIN", "EACCES", "EROFS"])
def test_an_error_that_can_pass_is_not_the_jobs_own_doing(name: str) -> None:
    assert status_of(OSError(getattr(errno, name), "away")) == AWAY


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_full_disk_has_a_status_of_its_own(name: str) -> None:
    assert status_of(OSError(getattr(errno, name), "full")) == NO_SPACE


def test_an_error_of_the_code_has_no_such_status() -> None:
    assert status_of(ValueError("wrong")) is None
    assert status_of(OSError(errno.EBADF, "closed")) is None
    assert status_of(OSError("without a number")) is None


def test_an_error_that_hides_the_systems_one_is_looked_through() -> None:
    cause = OSError(errno.EIO, "away")
    error = RuntimeError("unexpected position")
    error.__context__ = cause
    assert find_system_error(error) is cause
