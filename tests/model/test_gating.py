import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.gating import silu_gated


def normal(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_gradients_are_those_of_differences() -> None:
    assert torch.autograd.gradcheck(silu_gated, [normal(seed).requires_grad_() for seed in (0, 1)])


@pytest.mark.parametrize("gate_dtype", [torch.float32, torch.bfloat16])
def test_it_equals_the_recorded_product_also_where_types_differ(gate_dtype: torch.dtype) -> None:
    leaves = [normal(0, torch.float32).requires_grad_(), normal(1, gate_dtype).requires_grad_()]
    ours, expected = silu_gated(*leaves), leaves[0] * F.silu(leaves[1])
    assert torch.equal(ours, expected)
    gradients, wanted = (torch.autograd.grad(y.sum(), leaves) for y in (ours, expected))
    for gradient, leaf, want in zip(gradients, leaves, wanted, strict=True):
        assert gradient.dtype == leaf.dtype
        torch.testing.assert_close(gradient, want)


def test_nothing_but_the_inputs_is_kept() -> None:
    kept: list[int] = []
    x, gate = (normal(seed).requires_grad_() for seed in (0, 1))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda t: t):
        silu_gated(x, gate)
    assert sorted(kept) == sorted((x.data_ptr(), gate.data_ptr()))
