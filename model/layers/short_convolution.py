"""Short causal convolutions of each channel by itself, then SiLU: the first step of the token mixers.

Letters: B bursts, T tokens, D channels, W taps.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _CausalConvSilu(torch.autograd.Function):
    """SiLU of a causal convolution of each channel by itself, as a sum of shifted products.

    It is written out because it is twice as fast on a CPU as a grouped convolution. It also keeps only its input;
    autograd's own operations would keep an intermediate array for each tap.
    """

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, taps_WD: Tensor, bias_D: Tensor | None) -> Tensor:
        padded = F.pad(x_BTD, (0, 0, taps_WD.shape[0] - 1, 0))
        ctx.save_for_backward(padded, taps_WD, bias_D)
        # Not in place: compiled by torch 2.11, a result that was changed in place passes no gradient on.
        return F.silu(_convolve(padded, taps_WD, bias_D))

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        padded, taps_WD, bias_D = ctx.saved_tensors
        size, num_tokens = taps_WD.shape[0], grad_BTD.shape[1]
        # Computing the convolution again is cheaper than keeping its output for SiLU's gradient.
        grad_BTD = torch.ops.aten.silu_backward(grad_BTD, _convolve(padded, taps_WD, bias_D))
        grad_padded, grad_taps_WD = torch.zeros_like(padded), torch.empty_like(taps_WD)
        for tap in range(size):
            grad_padded[:, tap : tap + num_tokens].addcmul_(grad_BTD, taps_WD[tap])
            grad_taps_WD[tap] = (padded[:, tap : tap + num_tokens] * grad_BTD).sum((0, 1))
        grad_bias_D = grad_BTD.sum((0, 1)) if bias_D is not None else None
        return grad_padded[:, size - 1 :], grad_taps_WD, grad_bias_D


def _convolve(padded: Tensor, taps_WD: Tensor, bias_D: Tensor | None) -> Tensor:
    size, num_tokens = taps_WD.shape[0], padded.shape[1] - taps_WD.shape[0] + 1
    y_BTD = padded[:, :num_tokens] * taps_WD[0]
    for tap in range(1, size):
        y_BTD.addcmul_(padded[:, tap : tap + num_tokens], taps_WD[tap])
    return y_BTD if bias_D is None else y_BTD.add_(bias_D)


_causal_conv_silu: Callable[[Tensor, Tensor, Tensor | None], Tensor] = _CausalConvSilu.apply


class ShortConvolution(nn.Module):
    """The weights of a causal convolution of each channel by itself: `weight` [D, 1, W], and `bias` [D] or None."""

    def __init__(self, width: int, size: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1, size))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None


def convolve_together(x_BTD: Tensor, *convolutions: ShortConvolution) -> Tensor:
    """Apply several convolutions to channels [B, T, D] side by side, then SiLU; D is the sum of their widths.

    Token t sees tokens t - W + 1 to t.
    """
    taps_WD = torch.cat([convolution.weight[:, 0] for convolution in convolutions]).T.contiguous()
    biases: list[Tensor] = [convolution.bias for convolution in convolutions if convolution.bias is not None]
    return _causal_conv_silu(x_BTD, taps_WD, torch.cat(biases) if biases else None)
