"""Find the recording session of each chosen burst, as its capture declares it. No torch.

Bursts of one session share a place, a temperature and an oscillator's drift, so they are not independent.

Letters: N bursts in the file, n chosen bursts.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from model.config import CaptureConfig, Place
from model.data.captures import Bursts, CaptureError, open_capture
from model.data.own_storage import find_own_dataset

MAX_NAME_BYTES = 256
"""Longest name of a session in a file."""


def find_sessions(bursts: Bursts, capture: CaptureConfig) -> NDArray[np.str_] | None:
    """Return the session of each burst as `<device>/<session>`, unicode [n]; None if the capture declares none.

    Args:
        bursts: the chosen bursts of the capture.
        capture: its `sessions` are half-open ranges of packets, or a data set of the file with one value a burst.

    Raises:
        CaptureError: the file has no such data set, or it does not hold one whole number or text a burst.
    """
    if capture.session_ranges:
        names_n = [_range_name(packet, capture) for packet in bursts.packets.tolist()]
    elif isinstance(capture.sessions, str):
        with open_capture(bursts.path) as file:
            names_n = _read_names(bursts.path, file, capture.sessions)[bursts.rows].tolist()
    else:
        return None
    # The device is part of the name: two devices that were recorded at once still are two strata.
    return np.array([f"{device}/{name}" for device, name in zip(bursts.devices, names_n, strict=True)], dtype=np.str_)


def _range_name(packet: int, capture: CaptureConfig) -> str:
    start, stop = next(range_ for range_ in capture.session_ranges if range_[0] <= packet < range_[1])
    return f"{start}-{stop}"


def _read_names(path: Place, file: Any, name: str) -> NDArray[np.str_]:
    """Return the session of each row of an open file, unicode [N]. h5py has no types, hence Any."""
    dataset = find_own_dataset(path, file, name)
    if dataset is None:
        there = ", ".join(f"`{key}`" for key in file) or "nothing"
        raise CaptureError(f"{path}: has no dataset `{name}` for `sessions`, it has {there}; name one of them")
    num_rows = file["data"].shape[0]
    if dataset.shape not in ((1, num_rows), (num_rows, 1), (num_rows,)):
        raise CaptureError(
            f"{path}: `{name}` has shape {dataset.shape}, `data` has {num_rows} rows; "
            f"`sessions` needs one value a row: [1, {num_rows}], [{num_rows}, 1] or [{num_rows}]"
        )
    if h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.itemsize <= MAX_NAME_BYTES:
        return np.ravel(dataset.asstr(errors="replace")[()]).astype(np.str_)
    if dataset.dtype.kind not in "iuf":
        raise CaptureError(f"{path}: `{name}` holds {dataset.dtype}; `sessions` needs whole numbers or short texts")
    value_N = np.ravel(dataset[()])
    wrong = np.flatnonzero(~(np.isfinite(value_N) & (value_N == np.floor(value_N))))
    if len(wrong):
        what = f"{path}: `{name}` is {value_N[wrong[0]]} at row {wrong[0]} (counted from 0)"
        raise CaptureError(f"{what}; `sessions` needs whole numbers or short texts")
    return value_N.astype(np.int64).astype(np.str_)
