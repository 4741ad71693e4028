"""The interface of every transform. B bursts, L samples."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Conditions:
    """What a transform knows besides the bursts: their sample rate, and the epoch, counted from 1."""

    sample_rate_hz: float
    epoch: int = 1


class Transform(Protocol):
    """One change of bursts.

    A transform draws only from the given stream, for all bursts at once, on the device of the bursts. Its draws depend
    on the shape of the bursts, never on their samples.
    """

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return the changed bursts, complex [B, L]."""


def uniform(low: float, high: float, shape: tuple[int, ...], stream: Generator) -> Tensor:
    """Draw float32 numbers of U(low, high)."""
    return torch.rand(shape, generator=stream, device=stream.device) * (high - low) + low
