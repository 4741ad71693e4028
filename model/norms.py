"""Normalisation of tokens.

Letters: V width of what is normalised.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.gating import silu_gated

NORM_EPS = 1e-5
"""Under the root of the mean square, in every norm of the model."""


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension; any shape in, the same shape out."""
        # Under autocast the weight follows the tokens; PyTorch warns and takes a slow path where types differ.
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), NORM_EPS)


class GatedRMSNorm(RMSNorm):
    """RMSNorm of the heads' outputs, times a SiLU gate."""

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Normalise `x` [..., V] and gate it with `gate` [..., V]."""
        normed = super().forward(x)
        return normed if gate is None else silu_gated(normed, gate)
