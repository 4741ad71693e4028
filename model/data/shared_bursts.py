"""Find bursts with the same content in roles that must not share any, whatever the files are called. No torch.

Bursts are compared by the hash of their samples as float32. So a copy is found under another name, in a subset, and
with another compression or dtype. A scaled or shifted burst counts as another burst.

`python -m model.data.shared_bursts` reads a `Question` as JSON from its standard input. It prints a JSON string that
names shared bursts, or null.

Letters: n bursts of a capture.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from model.config import CapturePlace, DataConfig
from model.config.data import HELD_OUT, ONCE
from model.data.captures import Bursts, CaptureError, open_bursts, read_bursts
from model.data.unchanged import stamp_captures
from model.files import write_atomically

FORMAT = 1
"""Version of the hashes; every change that gives other hashes raises it."""
HASH_BYTES = 16
BLOCK_BYTES = 32 * 2**20
"""Size of the blocks of bursts that are read and hashed."""
MIN_SAMPLES = 32
"""Least samples that are compared, if the files have them: fewer samples may be equal by chance."""

Hashes = NDArray[np.uint8]
"""Hash of each burst of a capture, [n, `HASH_BYTES`]."""


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The captures to compare.

    `sha256` maps each capture's path in `data` to the hash of the file; paths are relative to `data_folder`. The folder
    `remembered` keeps the hashes of bursts, by the hash of their file.
    """

    data: DataConfig
    data_folder: str
    sha256: dict[str, str]
    remembered: str


def find_shared_bursts(question: Question) -> str | None:
    """Return a sentence about two roles that wrongly share bursts, with an example; None if none do.

    Raises:
        CaptureError: a capture is missing, does not fit, or changes during reading.
    """
    data, folder = question.data, Path(question.data_folder)
    stamps = stamp_captures(data, folder)
    parts = _open_parts(data, folder)
    hashes = {name: _hashes_of(question, name, part) for name, part in parts.items()}
    stamps.require_unchanged()
    places = {name: {row.tobytes(): place for place, row in enumerate(rows)} for name, rows in hashes.items()}
    for (role, name), (other_role, other) in _apart(data):
        shared = sorted(places[name][found] for found in places[name].keys() & places[other].keys())
        if shared:
            key = parts[name].keys[shared[0]]
            other_key = parts[other].keys[places[other][hashes[name][shared[0]].tobytes()]]
            return (
                f"`{role}: {name}` and `{other_role}: {other}` share {len(shared)} bursts by content, for example "
                f"{key} of {parts[name].path} and {other_key} of {parts[other].path} (device/packet); "
                f"{_demand(role, other_role)}: give one of them other bursts under `data.captures`"
            )
    return None


def _apart(data: DataConfig) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield pairs of (role, capture) that must not share a burst; the first pair that does is reported."""
    for held_out, others in HELD_OUT:
        for role in others:
            for name in getattr(data, held_out):
                yield from (((held_out, name), (role, other)) for other in getattr(data, role))
    for role in ONCE:
        yield from (((role, one), (role, other)) for one, other in combinations(getattr(data, role), 2))


def _demand(role: str, other_role: str) -> str:
    return f"`{role}` must not name a burst twice" if role == other_role else f"what is used to {role} must be unseen"


def _open_parts(data: DataConfig, folder: Path) -> dict[str, Bursts]:
    """Open every capture with the samples that are compared."""
    parts = {
        name: open_bursts(
            CapturePlace(folder, data.captures[name].path),
            data.captures[name],
            samples=data.samples,
            default_sample_rate_hz=data.sample_rate_hz,
        )
        for name in data.used
    }
    samples = min(max(data.samples, MIN_SAMPLES), *(part.length for part in parts.values()))
    return {name: replace(part, samples=samples) for name, part in parts.items()}


def _hashes_of(question: Question, name: str, part: Bursts) -> Hashes:
    """Return the hashes of a capture's bursts, from the cache if a file with this content was hashed before."""
    capture = question.data.captures[name]
    # By the content of the file and not by its name: a renamed capture is not read again, a changed one is.
    key = json.dumps(
        [FORMAT, question.sha256[capture.path], capture.devices, capture.packets, part.samples, question.data.layout]
    )
    path = Path(question.remembered) / f"{hashlib.sha256(key.encode()).hexdigest()}.npy"
    remembered = _recall(path, len(part))
    if remembered is not None:
        return remembered
    hashes = _hash_bursts(part)
    content = BytesIO()
    np.save(content, hashes, allow_pickle=False)
    with suppress(OSError):
        write_atomically(path, content.getvalue())
    return hashes


def _recall(path: Path, num_bursts: int) -> Hashes | None:
    """Read cached hashes; None if there are no usable ones."""
    try:
        found = np.load(BytesIO(path.read_bytes()), allow_pickle=False) if path.is_file() else None
    except (OSError, ValueError, EOFError):
        return None
    is_whole = isinstance(found, np.ndarray) and found.shape == (num_bursts, HASH_BYTES) and found.dtype == np.uint8
    return found if is_whole else None


def _hash_bursts(part: Bursts) -> Hashes:
    hashes = np.empty((len(part), HASH_BYTES), dtype=np.uint8)
    num_rows = max(1, BLOCK_BYTES // (2 * part.samples * 4))
    for start in range(0, len(part), num_rows):
        places = np.arange(start, min(start + num_rows, len(part)))
        # Adding 0 turns -0.0 into 0.0: the two are equal numbers with different bytes.
        for place, iq_2S in zip(places, read_bursts(part, places) + np.float32(0), strict=True):
            digest = hashlib.blake2b(iq_2S.astype("<f4", copy=False).data.cast("B"), digest_size=HASH_BYTES).digest()
            hashes[place] = np.frombuffer(digest, dtype=np.uint8)
    return hashes


def main() -> int:
    """Print the answer; return 2 after a sentence about a capture that does not fit, else 0."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        answer = find_shared_bursts(question)
    except CaptureError as error:
        print(f"model.data.shared_bursts: {error}", file=sys.stderr)
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
