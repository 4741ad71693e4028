"""Whether roles that must not share bursts share some by content, whatever the files are called. No torch.

A copy under another name, a subset, another compression or another dtype of the same bursts is found: bursts are
compared by the hash of their samples as float32. A burst that was scaled or shifted is another one.

`python -m model.data.shared_bursts` reads a `Question` as JSON from its standard input, and prints what it found as a
JSON string, or null.

Shapes: n bursts of a capture.
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
from model.train.run_folder import write_atomically

FORMAT = 1
"""Raised with every change that gives other hashes."""
HASH_BYTES = 16
BLOCK_BYTES = 32 * 2**20
"""Bursts are read and hashed in blocks of this size."""
MIN_SAMPLES = 32
"""Fewer samples of two bursts can be equal by chance; so many are compared where the files have them."""

Hashes = NDArray[np.uint8]
"""Hash of each burst of a capture, [n, `HASH_BYTES`]."""


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to compare.

    `sha256` has the hash of each capture file, by its path in `data`; paths are relative to `data_folder`. Hashes of
    bursts are remembered in the folder `remembered`, by the hash of their file.
    """

    data: DataConfig
    data_folder: str
    sha256: dict[str, str]
    remembered: str


def find_shared_bursts(question: Question) -> str | None:
    """Say which roles share bursts that they must not share, with an example; None if there are none.

    Raises:
        CaptureError: a capture is missing, does not fit, or changes while it is read.
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
    """Yield pairs of (role, capture) that must not share a burst, those that are reported first."""
    for held_out, others in HELD_OUT:
        for role in others:
            for name in getattr(data, held_out):
                yield from (((held_out, name), (role, other)) for other in getattr(data, role))
    for role in ONCE:
        yield from (((role, one), (role, other)) for one, other in combinations(getattr(data, role), 2))


def _demand(role: str, other_role: str) -> str:
    return f"`{role}` must not name a burst twice" if role == other_role else f"what is used to {role} must be unseen"


def _open_parts(data: DataConfig, folder: Path) -> dict[str, Bursts]:
    """Open every capture, with as many samples as are compared."""
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
    """Hash the bursts of a capture, or take what is remembered of a file with this content."""
    capture = question.data.captures[name]
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
    """Read remembered hashes; None where there are none that can be used."""
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
        # A zero has two signs, which compare as equal.
        for place, iq_2S in zip(places, read_bursts(part, places) + np.float32(0), strict=True):
            digest = hashlib.blake2b(iq_2S.astype("<f4", copy=False).data.cast("B"), digest_size=HASH_BYTES).digest()
            hashes[place] = np.frombuffer(digest, dtype=np.uint8)
    return hashes


def main() -> int:
    """Answer on standard output; 2 is a capture that does not fit, said in a sentence."""
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
