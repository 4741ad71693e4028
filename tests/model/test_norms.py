import torch
from torch import Tensor, nn

from model.norms import NORM_EPS, RMSNorm


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
