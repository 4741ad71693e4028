"""Which transforms a configuration gets, in which order, from which random streams."""

import math

import pytest
import torch
from torch import Generator, Tensor

from model.augment import (
    TRANSFORMS,
    Augment,
    Conditions,
    Mixup,
    build_augment,
    normalize_rms,
)
from model.config import (
    AugmentConfig,
    CarrierOffsetConfig,
    ConstantPhaseConfig,
    CropConfig,
    GainJitterConfig,
    IqImbalanceConfig,
    MixupConfig,
    MultipathConfig,
    NoiseConfig,
    PhaseNoiseConfig,
    RollConfig,
    SnrWarmupConfig,
)
from model.streams import generator

RATE_HZ = 1e6
CPU = torch.device("cpu")

ALL = AugmentConfig(
    crop=CropConfig(),
    roll=RollConfig(),
    iq_imbalance=IqImbalanceConfig(),
    gain_jitter=GainJitterConfig(),
    constant_phase=ConstantPhaseConfig(),
    phase_noise=PhaseNoiseConfig(),
    multipath=MultipathConfig(),
    carrier_offset=CarrierOffsetConfig(),
    noise=NoiseConfig(warmup=SnrWarmupConfig()),
    mixup=MixupConfig(),
)
SILENT = {"multipath": None, "carrier_offset": None, "noise": None}
NONE = AugmentConfig(**SILENT)


def bursts(batch: int = 6, samples: int = 200) -> Tensor:
    return torch.randn(batch, 2, samples, generator=generator(2, "test"))


def opened(config: AugmentConfig, *, seed: int = 0, epoch: int = 1) -> Augment:
    augment = build_augment(config, RATE_HZ)
    augment.start_epoch(seed, epoch, CPU)
    return augment


def augmented(config: AugmentConfig, x_B2L: Tensor, *, seed: int = 0, epoch: int = 1) -> Tensor:
    return opened(config, seed=seed, epoch=epoch)(x_B2L)[0]


@pytest.mark.parametrize("config", [ALL, AugmentConfig(), NONE], ids=["all", "source", "none"])
def test_augmented_bursts_have_a_mean_power_of_one(config: AugmentConfig) -> None:
    x_B2L = bursts() * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e3, 1e5])[:, None, None]
    y_B2L = augmented(config, x_B2L)
    assert y_B2L.shape == x_B2L.shape
    assert y_B2L.dtype == torch.float32
    # Below a power of 1 the 1e-10 that guards against silence shows.
    torch.testing.assert_close(y_B2L.square().sum(1).mean(1), torch.ones(6), rtol=1e-4, atol=0.0)


def test_no_transform_is_only_normalising() -> None:
    assert torch.equal(augmented(NONE, bursts()), normalize_rms(bursts()))


@pytest.mark.parametrize("name", [*TRANSFORMS, "mixup"])
def test_seed_and_epoch_fix_what_is_drawn(name: str) -> None:
    # Without a warm-up: what differs from epoch to epoch is drawn.
    knobs = NoiseConfig() if name == "noise" else getattr(ALL, name)
    config, x_B2L = AugmentConfig(**SILENT | {name: knobs}), bursts()
    first = augmented(config, x_B2L, seed=3, epoch=4)
    assert torch.equal(augmented(config, x_B2L, seed=3, epoch=4), first)
    assert not torch.equal(augmented(config, x_B2L, seed=3, epoch=5), first)
    assert not torch.equal(augmented(config, x_B2L, seed=4, epoch=4), first)


def test_an_epoch_begins_with_the_same_draws_whatever_was_drawn_before() -> None:
    augment = build_augment(ALL, RATE_HZ)
    augment.start_epoch(0, 1, CPU)
    (first, _), (second, _) = augment(bursts()), augment(bursts())
    assert not torch.equal(first, second)
    augment.start_epoch(0, 2, CPU)
    augment.start_epoch(0, 1, CPU)
    assert torch.equal(augment(bursts())[0], first)


class Recorder:
    """A transform that draws, remembers its draws and changes nothing."""

    def __init__(self, num_draws: int) -> None:
        self.num_draws = num_draws
        self.drawn: list[Tensor] = []
        self.seen: list[Conditions] = []

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        self.drawn.append(torch.rand(self.num_draws, generator=stream))
        self.seen.append(conditions)
        return x_BL


def test_leaving_out_one_transform_leaves_the_draws_of_another() -> None:
    def draws_of_the_last(*transforms: tuple[str, Recorder]) -> list[Tensor]:
        augment = Augment(transforms, RATE_HZ)
        augment.start_epoch(0, 1, CPU)
        augment(bursts())
        augment(bursts())
        return transforms[-1][1].drawn

    alone = draws_of_the_last(("noise", Recorder(5)))
    after_another = draws_of_the_last(("roll", Recorder(99)), ("noise", Recorder(5)))
    assert all(map(torch.equal, alone, after_another))
    assert not torch.equal(alone[0], alone[1])
    assert not torch.equal(alone[0], draws_of_the_last(("roll", Recorder(5)))[0])


@pytest.mark.parametrize(
    "later", [{"carrier_offset": CarrierOffsetConfig()}, {"noise": NoiseConfig()}, {"phase_noise": PhaseNoiseConfig()}]
)
def test_rolling_a_constant_burst_first_shows_in_nothing_that_follows(later: dict[str, object]) -> None:
    x_B2L = torch.ones(5, 2, 64)
    without = augmented(AugmentConfig(**SILENT | later), x_B2L)
    rolled = augmented(AugmentConfig(roll=RollConfig(), **SILENT | later), x_B2L)
    assert torch.equal(rolled, without)
    assert not torch.equal(without, normalize_rms(x_B2L))


def test_each_epoch_starts_under_its_own_number_and_the_sample_rate_of_the_captures() -> None:
    recorder = Recorder(1)
    augment = Augment([("noise", recorder)], 2e6)
    for epoch in (1, 7):
        augment.start_epoch(0, epoch, CPU)
        augment(bursts())
    assert recorder.seen == [Conditions(2e6, 1), Conditions(2e6, 7)]


def test_transforms_stand_in_the_order_of_the_configuration_and_mixup_after_them() -> None:
    augment = build_augment(ALL, RATE_HZ)
    fields = list(AugmentConfig.__struct_fields__)
    assert [name for name, _ in augment.transforms] == fields[:-1]
    assert fields[-1] == "mixup"
    assert isinstance(augment.mixup, Mixup)


def test_every_field_of_the_configuration_has_something_that_obeys_it() -> None:
    assert {*TRANSFORMS, "mixup"} == set(AugmentConfig.__struct_fields__)
    assert build_augment(NONE, RATE_HZ).transforms == ()
    assert build_augment(NONE, RATE_HZ).mixup is None


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_that_a_configuration_names_alone_is_the_only_one(name: str) -> None:
    config = AugmentConfig(**SILENT | {name: getattr(ALL, name)})
    ((chosen, transform),) = build_augment(config, RATE_HZ).transforms
    assert (chosen, type(transform)) == (name, TRANSFORMS[name])
    x_B2L = bursts() + 1.0
    assert not torch.equal(augmented(config, x_B2L), normalize_rms(x_B2L))


def test_mixup_blends_bursts_of_one_power_and_what_comes_out_has_power_one_again() -> None:
    x_B2L = bursts() * torch.tensor([1e-2, 0.1, 1.0, 10.0, 1e2, 1e3])[:, None, None]
    y_B2L, blend = opened(AugmentConfig(**SILENT, mixup=MixupConfig(alpha=2.0)))(x_B2L)
    even_B2L, share_B11 = normalize_rms(x_B2L), blend.share_B[:, None, None]
    blended_B2L = share_B11 * even_B2L + (1 - share_B11) * even_B2L[blend.partner_B]
    assert (blended_B2L.square().sum(1).mean(1) < 0.9).any()
    torch.testing.assert_close(y_B2L, normalize_rms(blended_B2L), rtol=0.0, atol=1e-6)


def test_mixup_draws_what_it_draws_whatever_comes_before_it() -> None:
    _, alone = opened(AugmentConfig(**SILENT, mixup=MixupConfig()))(bursts())
    _, after_all = opened(ALL)(bursts())
    assert torch.equal(alone.partner_B, after_all.partner_B)
    assert torch.equal(alone.share_B, after_all.share_B)


def test_without_mixup_nothing_is_blended() -> None:
    assert opened(AugmentConfig())(bursts())[1] is None


def test_no_gradient_is_recorded() -> None:
    y_B2L, blend = opened(ALL)(bursts().requires_grad_())
    assert not y_B2L.requires_grad
    assert not blend.share_B.requires_grad


def test_a_gain_that_wanders_outlives_the_normalising() -> None:
    # One gain for a whole burst would not.
    y_B2L = augmented(AugmentConfig(**SILENT, gain_jitter=GainJitterConfig(max_db=3.0)), torch.ones(4, 2, 64))
    level_db_BL = 10 * torch.log10(y_B2L.square().sum(1))
    assert ((level_db_BL.amax(1) - level_db_BL.amin(1)) > 1.0).all()
    assert math.isclose(y_B2L.square().sum(1).mean(), 1.0, rel_tol=1e-5)


def test_complex_arithmetic_stays_in_single_precision_under_autocast() -> None:
    expected = augmented(ALL, bursts())
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = augmented(ALL, bursts())
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_on_a_gpu_bursts_and_draws_stay_there() -> None:
    gpu = torch.device("cuda")
    augment = build_augment(ALL, RATE_HZ)
    augment.start_epoch(0, 1, gpu)
    y_B2L, blend = augment(bursts().to(gpu))
    assert {y_B2L.device.type, blend.partner_B.device.type, blend.share_B.device.type} == {"cuda"}
    torch.testing.assert_close(y_B2L.square().sum(1).mean(1), torch.ones(6, device=gpu), rtol=1e-4, atol=0.0)
