"""What layers add to the residual stream, and what training leaves out of it.

Letters: B bursts, T tokens, D width of a token. Chances are drawn from PyTorch's global stream, which the trainer seeds
for each epoch; a chance of 0 draws nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualSum(nn.Module):
    """Adds a layer's output to the residual stream; in training with dropout, or for some bursts not at all.

    `dropout` is the chance of each number, `skip` that of a whole burst: stochastic depth (Huang et al. 2016, arXiv
    1603.09382). What stays is scaled by one over its chance to stay, so that evaluation needs no scale.
    """

    def __init__(self, *, dropout: float, skip: float) -> None:
        super().__init__()
        self.dropout, self.skip = dropout, skip

    def forward(self, x_BTD: Tensor, added_BTD: Tensor) -> Tensor:
        """Return the sum; [B, T, D] in and out."""
        if self.training and self.dropout > 0:
            added_BTD = F.dropout(added_BTD, self.dropout)
        if self.training and self.skip > 0:
            stays_B11 = torch.rand(len(x_BTD), 1, 1, device=x_BTD.device) >= self.skip
            added_BTD = added_BTD * stays_B11 / (1 - self.skip)
        return x_BTD + added_BTD


def skip_chance(last_chance: float, block: int, depth: int) -> float:
    """Return the chance to skip a layer of a block counted from 1; it grows linearly to `last_chance` (section 3.2)."""
    return last_chance * block / depth


class TokenDropout(nn.Module):
    """Zeroes whole tokens in training, without scaling the others."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] in and out."""
        if not self.training or self.probability == 0.0:
            return x_BTD
        kept_BT1 = torch.rand(*x_BTD.shape[:2], 1, device=x_BTD.device) >= self.probability
        return x_BTD * kept_BT1
