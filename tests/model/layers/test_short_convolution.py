import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.short_convolution import ShortConvolution, _causal_conv_silu, convolve_together


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradients_of_the_convolution_are_those_of_its_differences(size: int, bias: bool) -> None:
    leaves = [normal(2, 5, 3, seed=1), normal(size, 3, seed=2), normal(3, seed=3) if bias else None]
    assert torch.autograd.gradcheck(
        _causal_conv_silu, [leaf if leaf is None else leaf.requires_grad_() for leaf in leaves]
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 4])
def test_convolving_together_equals_each_grouped_convolution_alone(size: int, bias: bool) -> None:
    convolutions = [ShortConvolution(width, size, bias=bias).double() for width in (4, 3)]
    for number, parameter in enumerate(p for convolution in convolutions for p in convolution.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
    x_BTD, weights_BTD = normal(2, 6, 7, seed=7).requires_grad_(), normal(2, 6, 7, seed=8)
    leaves = [x_BTD, *(parameter for convolution in convolutions for parameter in convolution.parameters())]

    ours_BTD = convolve_together(x_BTD, *convolutions)
    padded_BDT = F.pad(x_BTD.mT, (size - 1, 0))
    alone = [
        F.conv1d(part, convolution.weight, convolution.bias, groups=part.shape[1])
        for part, convolution in zip(padded_BDT.split([4, 3], dim=1), convolutions, strict=True)
    ]
    expected_BTD = F.silu(torch.cat(alone, dim=1).mT)

    torch.testing.assert_close(ours_BTD, expected_BTD, rtol=1e-12, atol=1e-12)
    gradients, expected = (torch.autograd.grad((y * weights_BTD).sum(), leaves) for y in (ours_BTD, expected_BTD))
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)
