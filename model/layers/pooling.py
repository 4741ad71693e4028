"""Tokens -> one embedding a burst.

Letters: B bursts, T tokens, D width of a token.
"""

import math
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

Pooling = Literal["last", "mean", "attention", "cls_first"]


class TokenPooling(nn.Module):
    """Takes one token. The last token of a causal network has seen the whole burst, the first only itself."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return [B, D]."""
        return x_BTD[:, self.position]


class MeanPooling(nn.Module):
    """The mean of all tokens."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return [B, D]."""
        return x_BTD.mean(dim=1)


class AttentionPooling(nn.Module):
    """The mean of tokens, weighted by the softmax of their products with one learned query."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return [B, D]."""
        scores_BT = x_BTD @ self.query.to(x_BTD.dtype) / math.sqrt(len(self.query))
        return (x_BTD * scores_BT.softmax(dim=1)[..., None].to(x_BTD.dtype)).sum(dim=1)


def build_pooling(kind: Pooling, dim: int) -> nn.Module:
    """Build the layer that turns tokens [B, T, D] into embeddings [B, D]."""
    match kind:
        case "last":
            return TokenPooling(-1)
        case "mean":
            return MeanPooling()
        case "attention":
            return AttentionPooling(dim)
        case "cls_first":
            return TokenPooling(0)
        case _:
            assert_never(kind)
