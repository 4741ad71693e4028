"""The errors of captures, and which of them can pass by themselves. No torch."""

import re
from os import fspath

from model.config import Place
from model.endings import OWN_DOING, find_system_error

_HDF5_ERRNO = re.compile(r"\berrno = (\d+)")
"""The system's error number in a message of HDF5. h5py keeps the number only in some classes of error."""


class CaptureError(ValueError):
    """A capture that does not fit. The text names file, dataset and row, what is there and what is needed."""


class CaptureAwayError(CaptureError):
    """The system cannot give us the file now. A run can go on later, since this says nothing about the file's content.

    The system's error is the cause of this one.
    """


class CaptureChangedError(CaptureError):
    """A capture is no longer the file that was opened; its content must not be used now."""


def name_error(error: OSError, path: Place) -> OSError:
    """Return a copy of a system error that names the capture as the campaign names it."""
    return OSError(error.errno, hide_place(error.strerror or str(error), path), str(path))


def hide_place(text: str, path: Place) -> str:
    """Replace the opened path in a text by the path as the campaign writes it."""
    return text.replace(fspath(path), str(path))


def system_error_of(error: BaseException) -> OSError | None:
    """Return the system error behind an error of h5py or of a plain read; None if the file's content is wrong."""
    found = find_system_error(error)
    if found is None and (numbers := _HDF5_ERRNO.findall(str(error))):
        found = OSError(int(numbers[-1]), str(error))
    return None if found is None or found.errno in OWN_DOING else found
