import torch
from torch import Tensor, nn

from model.layers.norms import NORM_EPS, RMSNorm, _rms_norm


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_norm_leaves_tokens_with_a_mean_square_of_one() -> None:
    x_BTD = 7 * normal(2, 5, 12)
    mean_square_BT = RMSNorm(12).double()(x_BTD).square().mean(-1)
    torch.testing.assert_close(mean_square_BT, torch.ones(2, 5, dtype=torch.float64), rtol=1e-6, atol=0.0)


def test_a_norm_divides_by_the_root_of_the_mean_square_and_multiplies_by_its_weight() -> None:
    norm = RMSNorm(6).double()
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(3))
    x = normal(2, 5, 6)
    expected = x / (x.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    inputs = [normal(2, 3, 4).requires_grad_(), normal(4, seed=1).requires_grad_()]
    assert torch.autograd.gradcheck(_rms_norm, inputs)


def test_half_precision_comes_back_as_it_went_in() -> None:
    norm, x = RMSNorm(8), normal(3, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        normed = norm(x)
    normed.sum().backward()
    assert (normed.dtype, x.grad.dtype, norm.weight.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    torch.testing.assert_close(normed.float(), norm(x.float()), rtol=1e-2, atol=1e-2)
