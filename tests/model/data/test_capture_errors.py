"""The system's number is found behind what h5py raises, in whatever class of error."""

import errno

import pytest

from model.data.capture_errors import system_error_of

STALE = "file read failed: filename = '/a, errno = 2.h5', file descriptor = 3, errno = 116, error message = 'Stale'"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EIO, "Unable to synchronously open file"), errno.EIO),
        (FileNotFoundError(errno.ENOENT, "none"), errno.ENOENT),
        # h5py keeps no number in these; HDF5 writes it into the message.
        (KeyError(f"Unable to synchronously open object ({STALE})"), errno.ESTALE),
        (RuntimeError(f"Unable to synchronously check link existence ({STALE})"), errno.ESTALE),
        (OSError("Unable to synchronously open file (truncated file: eof = 2476)"), None),
        (RuntimeError("Special link traversal failed (too many links)"), None),
        (OSError(errno.EBADF, "the code's own doing"), None),
    ],
)
def test_the_number_of_the_system_is_found(error: Exception, number: int | None) -> None:
    found = system_error_of(error)
    assert (found.errno if found else None) == number
