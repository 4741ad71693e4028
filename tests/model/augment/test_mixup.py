"""Bursts blended in pairs."""

import pytest
import torch
from scipy.stats import beta, kstest
from torch import Generator, Tensor

from model.augment.mixup import Mixup, draw_beta
from model.config import MixupConfig
from model.streams import generator


def stream(seed: int = 0) -> Generator:
    return generator(seed, "test")


def bursts(batch: int, samples: int = 20) -> Tensor:
    return torch.randn(batch, 2, samples, generator=stream(1))


def test_a_burst_is_its_share_of_itself_and_for_the_rest_its_partner() -> None:
    x_B2L = bursts(50)
    y_B2L, blend = Mixup(MixupConfig())(x_B2L, stream())
    assert y_B2L.dtype == torch.float32
    for number, (partner, share) in enumerate(zip(blend.partner_B.tolist(), blend.share_B.tolist(), strict=True)):
        expected_2L = share * x_B2L[number] + (1 - share) * x_B2L[partner]
        torch.testing.assert_close(y_B2L[number], expected_2L, rtol=0.0, atol=1e-6)


def test_each_burst_is_partner_once_and_pairs_differ_from_batch_to_batch() -> None:
    mixup, drawn = Mixup(MixupConfig()), stream()
    (_, first), (_, second) = mixup(bursts(50), drawn), mixup(bursts(50), drawn)
    for blend in (first, second):
        assert sorted(blend.partner_B.tolist()) == list(range(50))
        assert blend.partner_B.tolist() != list(range(50))
    assert not torch.equal(first.partner_B, second.partner_B)
    assert not torch.equal(first.share_B, second.share_B)


def test_the_stream_alone_decides() -> None:
    first, again, other = (Mixup(MixupConfig())(bursts(9), stream(seed)) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].share_B, again[1].share_B)
    assert not torch.equal(first[0], other[0])


def test_a_burst_alone_is_its_own_partner() -> None:
    x_B2L = bursts(1)
    y_B2L, blend = Mixup(MixupConfig())(x_B2L, stream())
    assert blend.partner_B.tolist() == [0]
    torch.testing.assert_close(y_B2L, x_B2L, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 5.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    share_n = draw_beta(alpha, 20_000, stream())
    assert share_n.dtype == torch.float32
    # Where shares heap up at 0 and 1, float32 rounds many to the end: distances are looked at in between.
    middle_n = share_n[(share_n > 0.001) & (share_n < 0.999)]
    low, high = beta.cdf([0.001, 0.999], alpha, alpha)
    assert abs(len(middle_n) / 20_000 - (high - low)) < 0.015
    assert kstest(middle_n.numpy(), lambda x: (beta.cdf(x, alpha, alpha) - low) / (high - low)).statistic < 0.02


@pytest.mark.parametrize("alpha", [1e-30, 1e-6, 1e-3])
def test_with_a_tiny_alpha_nothing_is_blended(alpha: float) -> None:
    share_n = draw_beta(alpha, 2000, stream())
    assert (share_n.round() - share_n).abs().mean() < 0.01
    assert abs(share_n.mean() - 0.5) < 0.05


def test_with_a_huge_alpha_all_blends_are_even() -> None:
    assert (draw_beta(1e6, 2000, stream()) - 0.5).abs().max() < 0.01
