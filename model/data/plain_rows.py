"""Read, without HDF5, bursts that lie in one piece in their file: shards and uncompressed captures. No torch.

Letters: N bursts in the file, L samples in a burst of the file, n chosen rows, B bursts of a batch. S is the leading
samples that are used.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.config import Place
from model.data.capture_errors import CaptureAwayError, CaptureError, hide_place, name_error, system_error_of
from model.data.unchanged import REMAKE, stamp_file

SHARD_DTYPE = np.dtype("<f4")
PLAIN_DTYPES = (np.dtype("<f4"), np.dtype("<f8"))
HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<descr>[ -&(-~]{1,9})', 'fortran_order': (?P<order>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,15}, )*(?:\d{1,15},?)?)\), \} *\n",
    re.DOTALL,
)
"""The head of a `.npy` file, version 1.0, as numpy writes it. numpy's own reader would evaluate its text."""
MAX_HEADER_BYTES = 256
MAX_ROW_BYTES = 2**30
"""Most bytes of a burst in a file, because a row is read whole."""

UNTOUCHED = "do not replace a capture while it is used"


@dataclass(frozen=True)
class PlainRows:
    """Uncompressed bursts [N, 2, L], one after the other in a file."""

    path: Place
    dtype: np.dtype[Any]
    offset: int
    """Bytes before the first row."""
    shape: tuple[int, int, int]

    @property
    def end(self) -> int:
        """Least size of the file in bytes."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def read_into(self, rows: NDArray[np.int64], x_B2S: NDArray[np.float32], places: NDArray[np.int64]) -> None:
        """Read the leading samples of `rows` [n], each to its place of a batch, in the order of the file.

        If the file is cut short in the meantime, this raises; a memory map would kill the process.

        Raises:
            CaptureAwayError: the system cannot read the file now.
            CaptureError: the file ends before a row does.
        """
        try:
            self._read(rows, x_B2S, places)
        except OSError as error:
            raise unreadable(self.path, error) from name_error(error, self.path)

    def _read(self, rows: NDArray[np.int64], x_B2S: NDArray[np.float32], places: NDArray[np.int64]) -> None:
        row_2L, samples = np.empty(self.shape[1:], self.dtype), x_B2S.shape[2]
        # Rows of the wanted type and length go straight into the batch. Others go through one row of memory.
        is_as_wanted = self.dtype == x_B2S.dtype and self.shape[2] == samples
        # A double too large for float32 becomes infinity, which is reported with its row.
        with Path(self.path).open("rb", buffering=0) as file, np.errstate(over="ignore"):
            # Forwards through the file: reading in a random order is slow on a disk.
            for number in np.argsort(rows):
                burst_2S = x_B2S[places[number]]
                target: Any = burst_2S if is_as_wanted else row_2L
                file.seek(self.offset + int(rows[number]) * row_2L.nbytes)
                if file.readinto(target) != row_2L.nbytes:
                    raise CaptureError(f"{self.path}: ends before row {rows[number]} does; {UNTOUCHED}")
                if not is_as_wanted:
                    burst_2S[:] = row_2L[:, :samples]


def find_plain_rows(path: Place, data: Any, length: int) -> PlainRows | None:
    """Find where the rows of an HDF5 `data` lie, if uncompressed and in one piece; None if only h5py can read it.

    h5py itself refuses a file that ends before its data do.
    """
    # HDF5 has no offset for chunked data, which lie in several pieces.
    offset = data.id.get_offset()
    if offset is None or data.dtype not in PLAIN_DTYPES:
        return None
    return PlainRows(path, data.dtype, offset, (data.shape[0], 2, length))


def open_shard(path: Place) -> PlainRows:
    """Check a shard and find its rows, float32 [N, 2, L].

    Raises:
        CaptureAwayError: the file is missing, or the system cannot read it now.
        CaptureError: the file is cut short, or is no shard.
    """
    stamp_file(path)
    try:
        with Path(path).open("rb") as file:
            header = HEADER.match(file.read(MAX_HEADER_BYTES))
    except OSError as error:
        raise unreadable(path, error, "shard") from name_error(error, path)
    if header is None:
        raise CaptureError(f"{path}: does not begin as a shard does; {REMAKE}")
    offset, descr, order = header.end(), header["descr"].decode(), header["order"].decode()
    shape = [int(size) for size in header["shape"].rstrip(b",").split(b", ") if size]
    if descr != SHARD_DTYPE.str or order == "True" or len(shape) != 3 or shape[1] != 2 or min(shape) < 1:
        found = f"{descr} {shape}{' in Fortran order' * (order == 'True')}"
        raise CaptureError(f"{path}: holds {found}, a shard is {SHARD_DTYPE.str} [bursts, 2, samples]; {REMAKE}")
    require_row(path, 2 * shape[2] * SHARD_DTYPE.itemsize)
    rows, num_bytes = PlainRows(path, SHARD_DTYPE, offset, (shape[0], 2, shape[2])), Path(path).stat().st_size
    if num_bytes != rows.end:
        raise CaptureError(f"{path}: has {num_bytes} bytes, {shape} float32 need {rows.end}; {REMAKE}")
    return rows


def unreadable(path: Place, error: Exception, kind: str = "capture") -> CaptureError:
    """Return the capture error for an error of the system or of h5py."""
    found = system_error_of(error)
    if found is not None and found.errno is not None:
        reason = os.strerror(found.errno)
        return CaptureAwayError(f"{path}: the {kind} cannot be read: {reason}; run again when it can")
    said = hide_place(str(error), path)
    return CaptureError(f"{path}: cannot be read as HDF5 ({said}); check that it was copied completely, as one file")


def require_row(path: Place, num_bytes: int) -> None:
    """Refuse a burst that alone would fill the memory.

    Raises:
        CaptureError: it is longer than `MAX_ROW_BYTES`.
    """
    if num_bytes > MAX_ROW_BYTES:
        raise CaptureError(f"{path}: a burst has {num_bytes} bytes, at most {MAX_ROW_BYTES} are read; cut the bursts")


def check_shard(path: Place, shape: tuple[int, ...], ranges: tuple[int, int], samples: int) -> None:
    """Refuse a shard that does not hold exactly the bursts of the configuration.

    Raises:
        CaptureError: it has more or fewer bursts, or fewer samples.
    """
    if shape[0] != ranges[0] * ranges[1]:
        raise CaptureError(
            f"{path}: holds {shape[0]} bursts, `devices` and `packets` ask for {ranges[0]} x {ranges[1]}; "
            "a shard holds what its manifest says, no more and no less"
        )
    if samples > shape[2]:
        raise CaptureError(
            f"{path}: has {shape[2]} samples a burst, `samples` asks for {samples}; set `samples` to 1 to {shape[2]}"
        )
