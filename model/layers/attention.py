"""Softmax attention, for backbones with a few blocks that are not recurrent.

Letters: B bursts, T tokens, D width of a token, H heads, K width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


class SoftmaxAttention(nn.Module):
    """Causal multi-head attention (Vaswani et al. 2017, arXiv 1706.03762) without biases or positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        width = config.num_heads * config.head_dim
        self.q_proj = nn.Linear(config.dim, width, bias=False)
        self.k_proj = nn.Linear(config.dim, width, bias=False)
        self.v_proj = nn.Linear(config.dim, width, bias=False)
        self.o_proj = nn.Linear(width, config.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix tokens causally; [B, T, D] in and out."""
        q_BHTK, k_BHTK, v_BHTK = (self._heads(part(x_BTD)) for part in (self.q_proj, self.k_proj, self.v_proj))
        o_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        return torch.as_tensor(self.o_proj(o_BHTK.transpose(1, 2).flatten(2)))

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.reshape(*x_BTD.shape[:2], self.num_heads, -1).transpose(1, 2)
