"""What every transform is called with. B bursts, L samples."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Conditions:
    """What a transform must know beside the bursts: their sample rate, and the epoch of training, counted from 1."""

    sample_rate_hz: float
    epoch: int = 1


class Transform(Protocol):
    """One thing that happens to bursts.

    Each draws from the stream it is given and from nothing else, for all bursts at once, on the stream's device, which
    is that of the bursts. What it draws depends on the shape of the bursts alone, never on their samples.
    """

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return the changed bursts, complex [B, L]."""


def uniform(low: float, high: float, shape: tuple[int, ...], stream: Generator) -> Tensor:
    """Draw float32 numbers of U(low, high)."""
    return torch.rand(shape, generator=stream, device=stream.device) * (high - low) + low
