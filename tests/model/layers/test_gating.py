import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers.gating import gated_linear


def leaves(dtype: torch.dtype = torch.float64, gate_dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return x [2, 3, 5], gate [2, 3, 5], weight [4, 5]."""
    stream = torch.Generator().manual_seed(0)
    shapes = {(2, 3, 5): dtype, (2, 3, 5, 1): gate_dtype, (4, 5): dtype}
    drawn = [torch.randn(shape, dtype=torch.float64, generator=stream).to(kind) for shape, kind in shapes.items()]
    return [part.requires_grad_() for part in (drawn[0], drawn[1].squeeze(-1), drawn[2])]


def recorded(x: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    return F.linear(F.silu(gate) * x, weight)


def test_gradients_are_those_of_differences() -> None:
    assert torch.autograd.gradcheck(gated_linear, leaves())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_equals_the_product_and_the_layer_one_after_the_other(dtype: torch.dtype) -> None:
    inputs = leaves(dtype, dtype)
    assert torch.equal(gated_linear(*inputs), recorded(*inputs))
    gradients, expected = (torch.autograd.grad(f(*inputs).sum(), inputs) for f in (gated_linear, recorded))
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("gate_dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_each_gradient_has_the_type_of_its_input(gate_dtype: torch.dtype) -> None:
    inputs = leaves(torch.float32, gate_dtype)
    with torch.autocast("cpu", torch.bfloat16):
        ours, expected = gated_linear(*inputs), recorded(*inputs)
    assert torch.equal(ours, expected)
    gradients, wanted = (torch.autograd.grad(y.float().sum(), inputs) for y in (ours, expected))
    assert [gradient.dtype for gradient in gradients] == [leaf.dtype for leaf in inputs]
    torch.testing.assert_close(gradients, wanted, rtol=0.03, atol=0.03)


def test_nothing_but_the_inputs_is_kept() -> None:
    kept: list[int] = []
    inputs = leaves()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda t: t):
        gated_linear(*inputs)
    assert sorted(kept) == sorted(part.data_ptr() for part in inputs)
