"""What can be wrong with a capture, as sentences, and whether it can pass. No torch."""

import re
from os import fspath

from model.config import Place
from model.endings import OWN_DOING, find_system_error

_HDF5_ERRNO = re.compile(r"\berrno = (\d+)")
"""How HDF5 writes the system's number into its message. h5py keeps the number in some classes of error only."""


class CaptureError(ValueError):
    """A capture that does not fit: which file, dataset and row, what was found, what was wanted."""


class CaptureAwayError(CaptureError):
    """The system cannot give us the file just now. This says nothing about what the file holds; a run can go on later.

    The system's error is its cause.
    """


class CaptureChangedError(CaptureError):
    """A capture is no longer the file that was opened; what is read of it now must not be used."""


def name_error(error: OSError, path: Place) -> OSError:
    """Return an error of the system as one of a capture, which is named as the campaign names it."""
    return OSError(error.errno, hide_place(error.strerror or str(error), path), str(path))


def hide_place(text: str, path: Place) -> str:
    """Put a capture's path as the campaign writes it in place of the one that was opened."""
    return text.replace(fspath(path), str(path))


def system_error_of(error: BaseException) -> OSError | None:
    """Return the system's error behind an error of h5py, or of a plain read; None if what the file holds is wrong."""
    found = find_system_error(error)
    if found is None and (numbers := _HDF5_ERRNO.findall(str(error))):
        found = OSError(int(numbers[-1]), str(error))
    return None if found is None or found.errno in OWN_DOING else found
