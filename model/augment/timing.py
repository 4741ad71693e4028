"""The place of a burst in the recorded window. B bursts, L samples."""

import torch
from torch import Generator, Tensor

from model.augment.transform import Conditions, uniform
from model.config import CropConfig, RollConfig


class Crop:
    """A contiguous part of the burst at the window's start, then zeros: a receiver that starts late and records less.

    The part's length is U(min_fraction, 1) of the burst, rounded to samples, at least one. Every place where it fits
    is equally likely.
    """

    def __init__(self, config: CropConfig) -> None:
        self.min_fraction = config.min_fraction

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return the parts, complex [B, L], padded with zeros."""
        batch, samples = x_BL.shape
        kept_B1 = (uniform(self.min_fraction, 1.0, (batch, 1), stream) * samples).round().clamp(min=1)
        left_B1 = samples - kept_B1
        # A random number near 1, times the number of places, may round up to that number, which is no place.
        start_B1 = torch.minimum((uniform(0.0, 1.0, (batch, 1), stream) * (left_B1 + 1)).floor(), left_B1)
        place_L = torch.arange(samples, device=x_BL.device)
        index_BL = (place_L + start_B1.long()).clamp_(max=samples - 1)
        return x_BL.gather(1, index_BL).masked_fill_(place_L >= kept_B1, 0.0)


class Roll:
    """A circular shift in time by a whole number of samples."""

    def __init__(self, config: RollConfig) -> None:
        self.max_fraction = config.max_fraction

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return shifted bursts, complex [B, L]."""
        batch, samples = x_BL.shape
        shift_B1 = (uniform(0.0, self.max_fraction, (batch, 1), stream) * samples).long()
        # `torch.roll` shifts all bursts alike. Here each burst has its own shift.
        index_BL = (torch.arange(samples, device=x_BL.device) - shift_B1) % samples
        return x_BL.gather(1, index_BL)
