"""Normalisation of tokens.

Letters: V width of the normalised dimension.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NORM_EPS = 1e-5
"""Added under the root of the mean square, in every norm of the network."""


class _RMSNorm(torch.autograd.Function):
    """Written out, because PyTorch fuses it on GPUs only: it takes two thirds of the time and keeps only the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_V: Tensor) -> Tensor:
        per_root = x.square().mean(-1, keepdim=True).add_(NORM_EPS).rsqrt_()
        ctx.save_for_backward(x, weight_V, per_root)
        # Not in place: compiled by torch 2.11, a result that was changed in place passes no gradient on.
        return x * per_root * weight_V

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight_V, per_root = ctx.saved_tensors
        normed = x * per_root
        weighted = grad * normed
        # Scaling x does not change its norm's output, so the gradient has no part along x: subtract that part.
        mean = (weighted @ weight_V).div_(x.shape[-1]).unsqueeze(-1)
        grad_x = (grad * weight_V).addcmul_(normed, mean, value=-1).mul_(per_root)
        return grad_x, weighted.flatten(0, -2).sum(0)


_rms_norm: Callable[[Tensor, Tensor], Tensor] = _RMSNorm.apply


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension, in fp32 or wider; any shape in, the same shape and type out."""
        wide = x.to(torch.promote_types(x.dtype, self.weight.dtype))
        return _rms_norm(wide, self.weight).to(x.dtype)
