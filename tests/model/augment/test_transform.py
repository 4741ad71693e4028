"""What every transform keeps to."""

import pytest
import torch
from torch import Generator, Tensor

from model.augment import (
    TRANSFORMS,
    CarrierOffset,
    Conditions,
    ConstantPhase,
    Crop,
    GainJitter,
    IqImbalance,
    Multipath,
    Noise,
    PhaseNoise,
    Roll,
    Transform,
)
from model.config import (
    CarrierOffsetConfig,
    ConstantPhaseConfig,
    CropConfig,
    GainJitterConfig,
    IqImbalanceConfig,
    MultipathConfig,
    NoiseConfig,
    PhaseNoiseConfig,
    RollConfig,
    SnrWarmupConfig,
)
from model.streams import generator

AT = Conditions(1e6, epoch=2)

EVERY: list[Transform] = [
    Crop(CropConfig()),
    Roll(RollConfig()),
    IqImbalance(IqImbalanceConfig()),
    GainJitter(GainJitterConfig()),
    ConstantPhase(ConstantPhaseConfig()),
    PhaseNoise(PhaseNoiseConfig()),
    Multipath(MultipathConfig()),
    CarrierOffset(CarrierOffsetConfig()),
    Noise(NoiseConfig(warmup=SnrWarmupConfig())),
]

every_transform = pytest.mark.parametrize("transform", EVERY, ids=lambda transform: type(transform).__name__)


def stream(seed: int = 0) -> Generator:
    return generator(seed, "test")


def white(batch: int, samples: int, seed: int = 1) -> Tensor:
    """Complex white noise of power 1."""
    return torch.randn(batch, samples, dtype=torch.complex64, generator=stream(seed))


def test_no_transform_is_left_out_here() -> None:
    assert [type(transform) for transform in EVERY] == list(TRANSFORMS.values())


@every_transform
def test_a_transform_stays_in_single_precision_and_changes_only_by_its_stream(transform: Transform) -> None:
    x_BL = white(4, 100)
    first, again, other = (transform(x_BL.clone(), AT, stream(seed)) for seed in (0, 0, 1))
    assert first.shape == x_BL.shape
    assert first.dtype == torch.complex64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_transform
def test_bursts_of_a_batch_are_changed_each_in_its_own_way(transform: Transform) -> None:
    y_BL = transform(white(1, 2000).expand(8, 2000), AT, stream())
    assert len({tuple(y_L.tolist()) for y_L in y_BL}) == 8


@every_transform
@pytest.mark.parametrize(("batch", "samples"), [(1, 1), (1, 2), (3, 1), (2, 5), (1, 100)])
def test_one_burst_or_few_samples_are_enough(transform: Transform, batch: int, samples: int) -> None:
    y_BL = transform(white(batch, samples), AT, stream())
    assert y_BL.shape == (batch, samples)
    assert y_BL.isfinite().all()


@every_transform
def test_the_bursts_that_come_in_are_left_as_they_were(transform: Transform) -> None:
    x_BL = white(3, 50)
    before_BL = x_BL.clone()
    transform(x_BL, AT, stream())
    assert torch.equal(x_BL, before_BL)


@every_transform
def test_what_is_drawn_does_not_depend_on_the_samples(transform: Transform) -> None:
    left = []
    for x_BL in (white(3, 50), torch.zeros(3, 50, dtype=torch.complex64)):
        drawn = stream()
        transform(x_BL, AT, drawn)
        left.append(drawn.get_state())
    assert torch.equal(*left)
    assert not torch.equal(left[0], stream().get_state())


@every_transform
def test_the_global_stream_is_left_alone(transform: Transform) -> None:
    before = torch.get_rng_state()
    transform(white(3, 50), AT, stream())
    assert torch.equal(torch.get_rng_state(), before)
