"""Normalisation of tokens.

Letters: V width of what is normalised.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
