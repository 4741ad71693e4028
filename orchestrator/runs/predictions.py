"""`predictions.npz`, read within bounds: sizes and types are checked before anything is unpacked."""

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.files import LARGE_BYTES, require_plain
from orchestrator.reading.sources import ReadingError
from orchestrator.stats.item_pairs import RunItems

SPOILT = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)
"""Errors of reading a missing, cut or spoilt file; an encrypted archive raises a RuntimeError."""
FIELDS = {"key": "U", "device": "iu", "label": "iu", "logits": "f"}
"""Array of a capture -> numpy's kinds of values that it may hold: text, integers, floating-point numbers."""
SESSION = {"session": "U"}
"""The array that a capture has beside these if its sessions were declared before the run."""


@dataclass(frozen=True)
class Predictions:
    """The outputs of a model for the bursts of one capture: B bursts, C classes."""

    keys_B: NDArray[np.str_]
    devices_B: NDArray[np.int64]
    labels_B: NDArray[np.int64]
    logits_BC: NDArray[np.float32]
    session_B: NDArray[np.str_] | None = None
    """The recording session of each burst, a name within the capture; None if the run knew of none."""

    def __post_init__(self) -> None:
        lengths = [len(values) for values in (self.keys_B, self.devices_B, self.labels_B, self.logits_BC)]
        if self.session_B is not None and len(self.session_B) != len(self.keys_B):
            counts = f"{len(self.session_B):,} of session, {len(self.keys_B):,} of key"
            raise ValueError(f"predictions.npz holds arrays that do not go together: {counts}")
        if len(set(lengths)) > 1 or self.logits_BC.ndim != 2 or self.logits_BC.shape[1] == 0:
            names = ", ".join(f"{length:,} of {name}" for name, length in zip(FIELDS, lengths, strict=True))
            raise ValueError(f"predictions.npz holds arrays that do not go together: {names}")

    def find_correct(self) -> NDArray[np.bool_]:
        """Return for each burst (B) whether its highest logit is that of its label."""
        correct_B: NDArray[np.bool_] = self.logits_BC.argmax(axis=1) == self.labels_B
        return correct_B


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Return capture -> predictions of a run; empty if the file is missing.

    Raises:
        SPOILT: it cannot be read, or is no file of predictions.
    """
    try:
        require_plain(path, LARGE_BYTES)
    except FileNotFoundError:
        return {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        _require_bounds(archive)
        arrays = {info.filename.removesuffix(".npy"): _read_array(archive, info) for info in archive.infolist()}
    captures = dict.fromkeys(name.rpartition("/")[0] for name in arrays)
    return {capture: _build_predictions(capture, arrays) for capture in captures}


def _build_predictions(capture: str, arrays: Mapping[str, NDArray[Any]]) -> Predictions:
    for field in FIELDS:
        if f"{capture}/{field}" not in arrays:
            raise ValueError(f"predictions.npz has no array `{capture}/{field}`")
    keys, devices, labels, logits = (arrays[f"{capture}/{field}"] for field in FIELDS)
    session_B = arrays.get(f"{capture}/session")
    return Predictions(keys_B=keys, devices_B=devices, labels_B=labels, logits_BC=logits, session_B=session_B)


def _require_bounds(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that declares more bytes than any run writes; `zipfile` never unpacks more than declared."""
    total = sum(info.file_size for info in archive.infolist())
    if total > LARGE_BYTES:
        raise ValueError(f"predictions.npz would unpack to {total:,} bytes, at most {LARGE_BYTES:,} are read")


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array whose header declares exactly the bytes that follow."""
    with archive.open(info) as member:
        # `np.load` would first allocate what the header declares.
        # Here the declared size is compared with the real one before that.
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"predictions.npz has `{info.filename}` in version {version} of its format")
        shape, is_fortran, kind = read_header[version](member)
        _require_kind(info.filename, kind)
        num_bytes = kind.itemsize * math.prod(shape)
        if min(shape, default=0) < 0 or num_bytes != info.file_size - member.tell():
            raise ValueError(f"predictions.npz says {num_bytes:,} bytes of `{info.filename}`, and holds another number")
        values = np.frombuffer(member.read(), dtype=kind)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _require_kind(name: str, kind: "np.dtype[Any]") -> None:
    field = name.removesuffix(".npy").rpartition("/")[2]
    kinds = {**FIELDS, **SESSION}
    if field not in kinds:
        raise ValueError(f"predictions.npz has an array `{name}` that no run writes")
    # An array of objects would be unpickled, and that can execute code.
    if kind.kind not in kinds[field]:
        raise ValueError(f"predictions.npz has `{name}` of type {kind}, which no run writes")


def items_of_predictions(
    split: str, predictions: Mapping[str, Predictions], sessions: Sequence[tuple[int, int]] = ()
) -> RunItems:
    """Return the items of `predictions.npz`: the column `correct` is 1 or 0, and each device is a stratum.

    Args:
        split: the capture.
        predictions: capture -> what the run wrote of it.
        sessions: half-open ranges of a device's bursts, each of which is a cluster. They replace the sessions that the
            run wrote.

    Raises:
        ReadingError: the file has no such split, or a burst lies in no session.
    """
    if split not in predictions:
        there = ", ".join(f"`{name}`" for name in predictions) or "none"
        raise ReadingError(f"items of `{split}`: predictions.npz has no such part; it has {there}")
    found = predictions[split]
    correct_B = found.find_correct().astype(np.float64)
    cluster_B = _find_sessions(split, found, sessions) if sessions else found.session_B
    return RunItems(found.keys_B, found.devices_B.astype(np.str_), cluster_B, {"correct": correct_B})


def _find_sessions(split: str, found: Predictions, sessions: Sequence[tuple[int, int]]) -> NDArray[np.str_]:
    """Return `<device>/<first>-<end>` of each burst (B), by the packet at the end of its key."""
    clusters = []
    for key, device in zip(found.keys_B.tolist(), found.devices_B.tolist(), strict=True):
        packet = key.rpartition("/")[2]
        inside = [(start, stop) for start, stop in sessions if packet.isdecimal() and start <= int(packet) < stop]
        if not inside:
            what = f"items of `{split}`: burst `{key}` lies in none of the {len(sessions)} sessions"
            raise ReadingError(f"{what}; give every burst one, then `knockout report`: nothing is trained again")
        clusters.append(f"{device}/{inside[0][0]}-{inside[0][1]}")
    return np.array(clusters, dtype=np.str_)
