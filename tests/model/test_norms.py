import torch
from torch import Tensor, nn

from model.norms import NORM_EPS, GatedRMSNorm, RMSNorm


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_norm_leaves_tokens_with_a_mean_square_of_one() -> None:
    x_BTD = 7 * normal(2, 5, 12)
    mean_square_BT = RMSNorm(12).double()(x_BTD).square().mean(-1)
    torch.testing.assert_close(mean_square_BT, torch.ones(2, 5, dtype=torch.float64), rtol=1e-6, atol=0.0)


def test_a_gated_norm_multiplies_by_the_silu_of_its_gate_and_by_its_weight() -> None:
    norm = GatedRMSNorm(6).double()
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(3))
    x, gate = normal(2, 5, 6), normal(2, 5, 6, seed=1)
    expected = x / (x.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * norm.weight * gate * gate.sigmoid()
    torch.testing.assert_close(norm(x, gate), expected, rtol=1e-12, atol=1e-12)
