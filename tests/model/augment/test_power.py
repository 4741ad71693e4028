import torch
from torch import Tensor

from model.augment import (
    mean_power,
    normalize_rms,
)
from model.streams import generator


def bursts(batch: int = 6, samples: int = 200) -> Tensor:
    return torch.randn(batch, 2, samples, generator=generator(2, "test"))


def test_normalising_keeps_the_shape_of_a_burst_and_survives_silence() -> None:
    x_B2L = bursts(2)
    ratio_B2L = normalize_rms(x_B2L) / x_B2L
    torch.testing.assert_close(ratio_B2L, ratio_B2L[:, :1, :1].expand_as(ratio_B2L), rtol=1e-5, atol=0.0)
    assert not normalize_rms(torch.zeros(1, 2, 8)).any()


def test_the_mean_power_of_a_burst_counts_both_its_parts() -> None:
    x_BL = torch.tensor([[3 + 4j, 0], [1j, 1]], dtype=torch.complex64)
    assert mean_power(x_BL).tolist() == [[12.5], [1.0]]
