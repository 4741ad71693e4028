"""The mean power of bursts. B bursts, L samples."""

import torch
from torch import Tensor


def mean_power(x_BL: Tensor) -> Tensor:
    """Return the mean power [B, 1] of each burst, complex [B, L]."""
    return torch.view_as_real(x_BL).square().sum(-1).mean(dim=1, keepdim=True)


def normalize_rms(x_B2L: Tensor) -> Tensor:
    """Scale each burst [B, 2, L] to a mean power of 1."""
    power_B11 = x_B2L.square().sum(1, keepdim=True).mean(2, keepdim=True)
    # A burst of zeros has power 0. The small term keeps it at 0; without it the result would be NaN.
    return x_B2L * torch.rsqrt(power_B11 + 1e-10)
