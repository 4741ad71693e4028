"""Read the chosen rows and leading samples of bursts from a capture file. No torch.

The layout `rffi-hdf5` has two datasets. `data` [N, 2L] holds the L real parts and then the L imaginary parts of each
burst. `label` [1, N], [N, 1] or [N] holds the transmitter, counted from 1, usually as float.

The layout `shards` has one `.npy` file a capture, float32 [N, 2, L], rows device by device and packets in order. The
configuration says which devices and packets they are; `model.data.shards` makes them.

`model.data.plain_rows` reads shards, and `data` that lie in one piece in their file. h5py reads chunked `data`.

Letters: N bursts in the file, L samples in a burst of the file, n chosen bursts, S leading samples that are used.
B is the bursts of a batch.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from os import fspath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from model.config import CaptureConfig, Place
from model.data.capture_errors import (
    CaptureAwayError,
    CaptureChangedError,
    CaptureError,
    name_error,
    system_error_of,
)
from model.data.own_storage import find_own_dataset
from model.data.plain_rows import (
    UNTOUCHED,
    PlainRows,
    check_shard,
    find_plain_rows,
    open_shard,
    require_row,
    unreadable,
)
from model.data.unchanged import Stamp, is_shard, stamp_file

__all__ = [
    "Bursts",
    "CaptureAwayError",
    "CaptureChangedError",
    "CaptureError",
    "open_bursts",
    "open_capture",
    "read_bursts",
    "read_into",
    "read_sample_rate",
]

BLOCK_BYTES = 8 * 2**20
"""Most bytes of one read. A long run of rows is read in blocks, so a big file needs no more memory than a small one."""

CHUNK_CACHE_BYTES = 4 * BLOCK_BYTES
"""A compressed chunk usually holds both halves of a row; the cache keeps a block's chunks for its second half."""

MAX_LABEL = 2**31 - 1

LABELS_AT_ONCE = 2**20
MAX_NAMES = 20
"""Most datasets of a file that an error message names."""

MAX_ROWS = 10**8
"""Most bursts of a file. Labels are kept in memory, and even a small file can claim any number of them."""


@dataclass(frozen=True, eq=False)
class Bursts:
    """Chosen bursts of one opened capture, grouped by device, in packet order within a device.

    Attributes:
        path: the capture file; as text, it is as the campaign names it.
        rows: row of each burst in the file, int64 [n].
        devices: device of each burst, counted from 0, int64 [n].
        packets: index of each burst among the rows of its device, int64 [n].
        sample_rate_hz: sample rate of the capture.
        samples: leading samples of each burst that are used.
        length: samples of each burst in the file.
    """

    path: Place
    rows: NDArray[np.int64]
    devices: NDArray[np.int64]
    packets: NDArray[np.int64]
    sample_rate_hz: float
    samples: int
    length: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> NDArray[np.str_]:
        """Identify each burst within its capture as `<device>/<packet>`, unicode [n]."""
        pairs = zip(self.devices, self.packets, strict=True)
        return np.array([f"{device}/{packet}" for device, packet in pairs], dtype=np.str_)


def open_bursts(path: Place, capture: CaptureConfig, *, samples: int, default_sample_rate_hz: float) -> Bursts:
    """Select the bursts of a device range and a packet range; reads labels and shapes, no data.

    Args:
        path: the capture file at `capture.path`; messages name a `CapturePlace` as the campaign writes it.
        capture: half-open ranges over devices, counted from 0, and over each device's rows in file order. A shard
            holds exactly the bursts of these ranges.
        samples: leading samples of each burst that will be used.
        default_sample_rate_hz: used if the file has no attribute `sample_rate`; a shard never has one.

    Raises:
        CaptureError: the file is missing, is no such capture, or lacks chosen samples, devices or packets.
    """
    num_devices, num_packets = (stop - start for start, stop in (capture.devices, capture.packets))
    if is_shard(path):
        shape = open_shard(path).shape
        check_shard(path, shape, (num_devices, num_packets), samples)
        length = shape[2]
        rows, sample_rate_hz = np.arange(num_devices * num_packets), default_sample_rate_hz
    else:
        with open_capture(path) as file:
            num_rows, length = _check_data(path, file, samples)
            labels = _read_labels(path, file, num_rows)
            sample_rate_hz = _read_sample_rate(path, file, default_sample_rate_hz)
        rows = np.concatenate([_device_rows(path, labels, device, capture) for device in range(*capture.devices)])
    return Bursts(
        path=path,
        rows=rows,
        devices=np.repeat(np.arange(*capture.devices, dtype=np.int64), num_packets),
        packets=np.tile(np.arange(*capture.packets, dtype=np.int64), num_devices),
        sample_rate_hz=sample_rate_hz,
        samples=samples,
        length=length,
    )


def read_bursts(bursts: Bursts, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read the bursts at `indices` of a selection, in that order.

    Args:
        bursts: a selection made by `open_bursts`.
        indices: positions in the selection, [n].

    Returns:
        float32 [n, 2, S]: I at index 0, Q at index 1.

    Raises:
        CaptureError: the file is no longer such a capture, or a burst holds NaN, infinity or only zeros.
    """
    iq_n2S = np.empty((len(indices), 2, bursts.samples), dtype=np.float32)
    read_into(bursts, indices, iq_n2S, np.arange(len(indices)))
    return iq_n2S


def read_into(
    bursts: Bursts, indices: NDArray[np.int64], x_B2S: NDArray[np.float32], places: NDArray[np.int64]
) -> None:
    """Read the bursts at `indices` [n] of a selection into a batch, each to its place of `places` [n].

    Raises:
        CaptureError: as `read_bursts`.
    """
    rows = bursts.rows[indices]
    plain = _plain_rows(bursts.path, stamp_file(bursts.path), bursts.samples)
    if plain is not None:
        _read_plain(plain, bursts, rows, x_B2S, places)
    else:
        with open_capture(bursts.path) as file:
            _check_data(bursts.path, file, bursts.samples)
            _read_chunks(file["data"], bursts, rows, x_B2S, places)
    _check_values(bursts.path, rows, x_B2S, places)


@lru_cache(maxsize=64)
def _plain_rows(path: Place, stamp: Stamp, samples: int) -> PlainRows | None:
    """Find where a capture's rows lie, if in one piece. The answer is cached by `stamp`, because every batch asks."""
    if is_shard(path):
        return open_shard(path)
    with open_capture(path) as file:
        _, length = _check_data(path, file, samples)
        return find_plain_rows(path, file["data"], length)


@contextmanager
def open_capture(path: Place) -> Iterator[Any]:
    """Open a capture for reading. h5py has no types, hence Any."""
    stamp_file(path)
    try:
        # This driver reads one file, whatever the environment says. No lock, because some file systems have none. A
        # write in the meantime shows in the file's stamp.
        with h5py.File(fspath(path), "r", driver="sec2", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES) as file:
            yield file
    except CaptureError:
        raise
    # h5py raises any of these for damage.
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        found = system_error_of(error)
        raise unreadable(path, error) from (name_error(found, path) if found is not None else None)


def _dataset(path: Place, file: Any, name: str, kinds: str) -> Any:
    """Return a dataset of real numbers by name; `kinds` are numpy's letters of the accepted dtypes."""
    dataset = find_own_dataset(path, file, name)
    if dataset is None:
        there = ", ".join(f"`{key}`" for key in islice(file, MAX_NAMES)) or "nothing"
        raise CaptureError(f"{path}: has no dataset `{name}`, it has {there}; layout rffi-hdf5 needs `{name}`")
    if dataset.dtype.kind not in kinds:
        raise CaptureError(
            f"{path}: `{name}` holds {dataset.dtype}, it must hold real numbers"
            + ("; store the L real parts and then the L imaginary parts of each burst" * (name == "data"))
        )
    return dataset


def _check_data(path: Place, file: Any, samples: int) -> tuple[int, int]:
    """Check the shape of `data`; return the number of rows N and the samples in a row L."""
    dataset = _dataset(path, file, "data", kinds="iuf")
    shape = dataset.shape
    if shape is None or len(shape) != 2:
        raise CaptureError(f"{path}: `data` has shape {shape}, it must be [N, 2L], one burst a row")
    num_rows, width = shape
    require_row(path, width * dataset.dtype.itemsize)
    if num_rows > MAX_ROWS:
        raise CaptureError(f"{path}: `data` has {num_rows} rows, at most {MAX_ROWS} are read of a file; cut it up")
    if width % 2:
        raise CaptureError(
            f"{path}: `data` has shape {shape}, its width is odd; a row is L real parts and then L imaginary parts"
        )
    if not 1 <= samples <= width // 2:
        raise CaptureError(
            f"{path}: `data` has {width // 2} samples a burst, `samples` asks for {samples}; "
            f"set `samples` to 1 to {width // 2}"
        )
    return num_rows, width // 2


def _read_labels(path: Place, file: Any, num_rows: int) -> NDArray[np.int32]:
    """Return the device of each row, counted from 0, int32 [N]."""
    dataset = _dataset(path, file, "label", kinds="iuf")
    if dataset.shape not in ((1, num_rows), (num_rows, 1), (num_rows,)):
        raise CaptureError(
            f"{path}: `label` has shape {dataset.shape}, `data` has {num_rows} rows; "
            f"`label` must be [1, {num_rows}], [{num_rows}, 1] or [{num_rows}]"
        )
    labels, num_wrong, first_wrong = np.empty(num_rows, dtype=np.int32), 0, ""
    for start in range(0, num_rows, LABELS_AT_ONCE):
        rows = slice(start, start + LABELS_AT_ONCE)
        block = np.ravel(dataset[:, rows] if dataset.shape == (1, num_rows) else dataset[rows]).astype(np.float64)
        wrong = np.flatnonzero(~((block >= 1) & (block <= MAX_LABEL) & (block == np.floor(block))))
        if len(wrong):
            first_wrong = first_wrong or f"{block[wrong[0]]} at row {start + wrong[0]}"
            num_wrong += len(wrong)
        else:
            labels[rows] = block - 1
    if num_wrong:
        raise CaptureError(
            f"{path}: `label` is {first_wrong} (counted from 0), "
            f"it must be a whole number from 1 to {MAX_LABEL}; {num_wrong} of {num_rows} labels are wrong"
        )
    return labels


def read_sample_rate(path: Place, default_hz: float) -> float:
    """Return the sample rate of a capture in Hz; it is read again only after the file changed.

    Raises:
        CaptureError: the file is missing or is no capture, or its rate is not a number above 0.
    """
    return default_hz if is_shard(path) else _sample_rate(path, stamp_file(path), default_hz)


@lru_cache(maxsize=64)
def _sample_rate(path: Place, stamp: Stamp, default_hz: float) -> float:
    with open_capture(path) as file:
        return _read_sample_rate(path, file, default_hz)


def _read_sample_rate(path: Place, file: Any, default_hz: float) -> float:
    stated = np.asarray(default_hz)
    if "sample_rate" in file.attrs:
        attribute = file.attrs.get_id("sample_rate")
        # Check the shape before reading, because an attribute can have any size.
        is_one = attribute.shape is not None and math.prod(attribute.shape) == 1
        stated = np.asarray(file.attrs["sample_rate"] if is_one else f"of shape {attribute.shape}")
    if stated.size != 1 or stated.dtype.kind not in "iuf":
        raise CaptureError(f"{path}: attribute `sample_rate` is {stated}, it must be one number, in hertz")
    rate_hz = float(stated.item())
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise CaptureError(f"{path}: the sample rate is {rate_hz} Hz, it must be a finite number above 0")
    return rate_hz


def _device_rows(path: Place, labels: NDArray[np.int32], device: int, capture: CaptureConfig) -> NDArray[np.int64]:
    """Return the rows of one device that lie in the packet range."""
    rows = np.flatnonzero(labels == device)
    if not len(rows):
        raise CaptureError(
            f"{path}: `label` has no device {device} (counted from 0), it has {_describe_devices(labels)}; "
            f"`devices` asks for [{capture.devices[0]}, {capture.devices[1]}], the last one not included"
        )
    if len(rows) < capture.packets[1]:
        raise CaptureError(
            f"{path}: device {device} (counted from 0) has {len(rows)} packets; "
            f"`packets` asks for [{capture.packets[0]}, {capture.packets[1]}], the last one not included"
        )
    return rows[slice(*capture.packets)]


def _describe_devices(labels: NDArray[np.int32]) -> str:
    present = np.unique(labels)
    if not len(present):
        return "no device at all"
    runs = np.split(present, np.flatnonzero(np.diff(present) > 1) + 1)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _check_rows(bursts: Bursts, rows: NDArray[np.int64], num_rows: int) -> None:
    if len(rows) and rows.max() >= num_rows:
        raise CaptureError(
            f"{bursts.path}: has {num_rows} rows, row {rows.max()} was there when the capture was opened; {UNTOUCHED}"
        )


def _read_plain(
    plain: PlainRows, bursts: Bursts, rows: NDArray[np.int64], x_B2S: NDArray[np.float32], places: NDArray[np.int64]
) -> None:
    num_rows, _, length = plain.shape
    _check_rows(bursts, rows, num_rows)
    if bursts.samples > length:
        raise CaptureError(
            f"{bursts.path}: has {length} samples a burst, {bursts.samples} were there when the capture was opened; "
            f"{UNTOUCHED}"
        )
    plain.read_into(rows, x_B2S, places)


def _read_chunks(
    data: Any, bursts: Bursts, rows: NDArray[np.int64], x_B2S: NDArray[np.float32], places: NDArray[np.int64]
) -> None:
    """Read rows through h5py, each once, adjacent rows in one read."""
    _check_rows(bursts, rows, data.shape[0])
    # Sorted rows let adjacent ones share one read; `number_of` undoes the sorting.
    distinct, number_of = np.unique(rows, return_inverse=True)
    iq_n2S = np.empty((len(distinct), *x_B2S.shape[1:]), dtype=np.float32)
    for start, stop in _blocks(distinct, bursts.samples * data.dtype.itemsize):
        _read_block(data, int(distinct[start]), data.shape[1] // 2, iq_n2S[start:stop])
    x_B2S[places] = iq_n2S[number_of]


def _blocks(rows: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut increasing row numbers into gapless runs of at most `BLOCK_BYTES`; yield [start, stop) positions."""
    most = max(1, BLOCK_BYTES // row_bytes)
    edges = [0, *(np.flatnonzero(np.diff(rows) > 1) + 1).tolist(), len(rows)]
    for first, last in pairwise(edges):
        for start in range(first, last, most):
            yield start, min(start + most, last)


def _read_block(data: Any, first_row: int, length: int, iq_n2S: NDArray[np.float32]) -> None:
    """Fill `iq_n2S` from consecutive rows: one hyperslab of real parts, one of imaginary parts."""
    rows = slice(first_row, first_row + len(iq_n2S))
    # A double too large for float32 becomes infinity; `_check_values` reports its row.
    with np.errstate(over="ignore"):
        for half in (0, 1):
            iq_n2S[:, half] = data[rows, half * length : half * length + iq_n2S.shape[2]]


def _check_values(path: Place, rows: NDArray[np.int64], x_B2S: NDArray[np.float32], places: NDArray[np.int64]) -> None:
    # One fast pass over each burst: its energy is finite and above 0 if no sample is spoilt and not all are zero. An
    # overflow of the sum also fails this test, so a failing burst is checked sample by sample.
    flat_BX = x_B2S.reshape(len(x_B2S), 2 * x_B2S.shape[2])
    with np.errstate(over="ignore", invalid="ignore"):
        energy_n = np.array([flat_BX[place] @ flat_BX[place] for place in places])
    if not (np.isfinite(energy_n) & (energy_n > 0)).all():
        _refuse_spoilt(path, rows, x_B2S[places])


def _refuse_spoilt(path: Place, rows: NDArray[np.int64], iq_n2S: NDArray[np.float32]) -> None:
    spoilt = ~np.isfinite(iq_n2S).all(axis=(1, 2))
    silent = ~iq_n2S.any(axis=(1, 2))
    for bad, what in (
        (spoilt, "NaN, or a number that float32 cannot hold, among"),
        (silent, "nothing but zeros in"),
    ):
        if bad.any():
            raise CaptureError(
                f"{path}: has {what} the first {iq_n2S.shape[2]} samples of row {rows[bad].min()} "
                f"(counted from 0); mend or remove the burst, {bad.sum()} of {len(rows)} bursts read are so"
            )
