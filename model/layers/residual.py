"""The sum of a layer and the residual stream, and the parts of it that training drops at random.

Letters: B bursts, T tokens, D width of a token. The draws come from PyTorch's global random stream, which the trainer
seeds for each epoch. A chance of 0 draws nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualSum(nn.Module):
    """Adds a layer's output to the residual stream. In training, dropout zeroes numbers and some bursts skip the layer.

    `dropout` is the chance of each number, `skip` that of a whole burst: stochastic depth (Huang et al. 2016, arXiv
    1603.09382). The rest is divided by its chance to stay, so that evaluation needs no scale.
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
    """Return the chance to skip a layer of block `number`, from 1; it grows linearly to `last_chance` (section 3.2)."""
    return last_chance * block / depth


class TokenDropout(nn.Module):
    """Zeroes whole tokens in training, without scaling the others."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the tokens, some of them zero; [B, T, D] in and out."""
        if not self.training or self.probability == 0.0:
            return x_BTD
        kept_BT1 = torch.rand(*x_BTD.shape[:2], 1, device=x_BTD.device) >= self.probability
        return x_BTD * kept_BT1
