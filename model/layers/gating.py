"""A product with SiLU(gate) and the linear layer after it; only its inputs are kept for the backward pass.

Letters: I width of product and gate, O width of the output.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class _GatedLinear(torch.autograd.Function):
    """Autograd's own operations would also keep SiLU(gate) and the product, the widest arrays of a block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, weight_OI: Tensor) -> Tensor:
        ctx.save_for_backward(x, gate, weight_OI)
        return F.linear(F.silu(gate) * x, weight_OI)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, gate, weight_OI = ctx.saved_tensors
        grad_product = grad @ weight_OI.to(grad.dtype)
        grad_gate = torch.ops.aten.silu_backward((grad_product * x).to(gate.dtype), gate)
        opened = F.silu(gate)
        grad_x = grad_product.mul_(opened).to(x.dtype)
        # The product comes last and overwrites SiLU(gate), because memory peaks here in a backward pass.
        product = (opened.mul_(x) if opened.dtype == x.dtype else opened * x).to(grad.dtype)
        grad_weight_OI = grad.flatten(0, -2).mT @ product.flatten(0, -2)
        return grad_x, grad_gate, grad_weight_OI.to(weight_OI.dtype)


_gated_linear: Callable[[Tensor, Tensor, Tensor], Tensor] = _GatedLinear.apply


def gated_linear(x: Tensor, gate: Tensor, weight_OI: Tensor) -> Tensor:
    """Return (x * SiLU(gate)) W^T, the second half of SwiGLU (Shazeer 2020, arXiv 2002.05202, eq. 6).

    Args:
        x: [..., I].
        gate: [..., I].
        weight_OI: the weight of the linear layer. The result can be differentiated once.

    Returns:
        [..., O].
    """
    return _gated_linear(x, gate, weight_OI)
