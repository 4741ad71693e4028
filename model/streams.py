"""Independent, named random streams from one seed: more draws from one stream change no other stream."""

import hashlib

import torch
from torch import Generator


def stream_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a named stream, e.g. `stream_seed(0, "augment", "noise", 3)`."""
    # A hash and no sum: with seed + epoch, seed 0 in epoch 2 would have the stream of seed 1 in epoch 1.
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int, device: torch.device | None = None) -> Generator:
    """Return a generator of a named stream on a device, the CPU by default."""
    return torch.Generator(device or "cpu").manual_seed(stream_seed(seed, *names))
