"""Changed copies of bursts that are scored."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model import config
from model.augment import CarrierOffset, ChangedCopies, Conditions, Noise, build_test_time
from model.config import CarrierOffsetConfig, NoiseConfig
from model.streams import generator

RATE_HZ = 1e6


def bursts(batch: int = 5, samples: int = 64) -> Tensor:
    return torch.randn(batch, 2, samples, generator=generator(1, "test"))


def names(batch: int = 5) -> list[str]:
    return [f"LocD/0/{number}" for number in range(batch)]


def build(*, seed: int = 0, **knobs: object) -> ChangedCopies:
    return ChangedCopies(config.TestTimeConfig(**knobs), seed, RATE_HZ)


def copies(x_B2L: Tensor, called: list[str], *, seed: int = 0, **knobs: object) -> Tensor:
    """Return the copies of each burst, complex [B, K, L]."""
    copy_KB2L = torch.stack(list(build(seed=seed, **knobs)(x_B2L, called)))
    return torch.complex(copy_KB2L[:, :, 0], copy_KB2L[:, :, 1]).transpose(0, 1)


@pytest.mark.parametrize("num_copies", [1, 3])
def test_there_are_so_many_copies_of_all_bursts_and_no_two_are_the_same(num_copies: int) -> None:
    made = list(build(copies=num_copies)(bursts(), names()))
    assert len(made) == num_copies
    assert all(copy_B2L.shape == (5, 2, 64) and copy_B2L.dtype == torch.float32 for copy_B2L in made)
    assert len({tuple(burst.flatten().tolist()) for copy_B2L in made for burst in copy_B2L}) == 5 * num_copies


def test_a_copy_has_another_carrier_offset_and_then_noise() -> None:
    x_B2L = bursts(1)
    changed_KL = torch.complex(x_B2L[0, 0], x_B2L[0, 1]).expand(8, -1)
    for name, transform in (("carrier_offset", CarrierOffset(CarrierOffsetConfig())), ("noise", Noise(NoiseConfig()))):
        stream = generator(3, "test_time", "LocD/0/0", name)
        changed_KL = transform(changed_KL, Conditions(RATE_HZ), stream)
    assert torch.equal(copies(x_B2L, names(1), seed=3)[0], changed_KL)


def test_offsets_are_drawn_up_to_the_largest() -> None:
    carrier = {"carrier_offset": CarrierOffsetConfig(max_hz=300.0), "noise": None}
    x_B2L = torch.tensor([1.0, 0.0])[None, :, None].expand(50, 2, 401)
    offset_hz = copies(x_B2L, names(50), **carrier)[..., -1].angle() * RATE_HZ / (2 * math.pi * 400)
    assert offset_hz.abs().max() <= 300.1
    assert math.isclose(offset_hz.std(), 300 / math.sqrt(3), rel_tol=0.1)


def test_noise_is_drawn_between_both_ratios() -> None:
    x_B2L = bursts(40, 1000)
    clean_B1L = torch.complex(x_B2L[:, 0], x_B2L[:, 1])[:, None]
    noisy_BKL = copies(x_B2L, names(40), carrier_offset=None, noise=NoiseConfig(min_snr_db=5.0, max_snr_db=15.0))
    ratio_BK = clean_B1L.abs().square().mean(-1) / (noisy_BKL - clean_B1L).abs().square().mean(-1)
    snr_db_BK = 10 * torch.log10(ratio_BK)
    assert 4.5 < snr_db_BK.min() < 5.5
    assert 14.5 < snr_db_BK.max() < 15.5
    assert abs(snr_db_BK.mean() - 10) < 0.5


def test_leaving_out_the_noise_leaves_the_offsets() -> None:
    faint = NoiseConfig(min_snr_db=150.0, max_snr_db=150.0)
    with_noise, without = copies(bursts(), names(), noise=faint), copies(bursts(), names(), noise=None)
    torch.testing.assert_close(with_noise, without, rtol=0.0, atol=1e-5)
    assert not torch.allclose(without[:, 0], without[:, 1], rtol=0.0, atol=1e-3)


def test_the_copies_of_a_burst_are_the_same_bits_whatever_is_beside_it() -> None:
    whole_BKL = copies(bursts(), names())
    assert torch.equal(copies(bursts(), names()), whole_BKL)
    order = torch.tensor([3, 0, 4])
    some_BKL = copies(bursts()[order], [names()[number] for number in order])
    assert torch.equal(some_BKL, whole_BKL[order])


@pytest.mark.parametrize("change", [{"seed": 1}, {"called": ["LocC/0/0"]}, {"called": ["LocD/1/0"]}])
def test_another_seed_or_name_gives_other_copies(change: dict[str, object]) -> None:
    same = {"called": names(1), "seed": 0}
    assert not torch.equal(copies(bursts(1), **same | change), copies(bursts(1), **same))


def test_a_name_for_each_burst_is_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        copies(bursts(2), names(1))


def test_copies_are_made_only_where_a_configuration_wants_them() -> None:
    assert build_test_time(None, 0, RATE_HZ) is None
    built = build_test_time(config.TestTimeConfig(copies=3), 7, RATE_HZ)
    assert (built.num_copies, built.seed, built.conditions) == (3, 7, replace(Conditions(RATE_HZ), epoch=1))
