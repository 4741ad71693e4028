import math

import numpy as np
import pytest
import torch
from scipy.special import j0
from torch import Generator, Tensor

from model.augment import (
    INTERPOLATION_ERROR,
    Augment,
    CarrierOffset,
    Multipath,
    Noise,
    PhaseNoise,
    Roll,
    Transform,
    build_augment,
    normalize_rms,
)
from model.config import (
    AugmentConfig,
    CarrierOffsetConfig,
    MultipathConfig,
    NoiseConfig,
    PhaseNoiseConfig,
    RollConfig,
)
from model.streams import generator

RATE_HZ = 1e6
CPU = torch.device("cpu")

ALL = AugmentConfig(
    roll=RollConfig(),
    phase_noise=PhaseNoiseConfig(),
    multipath=MultipathConfig(),
    carrier_offset=CarrierOffsetConfig(),
    noise=NoiseConfig(),
)
NONE = AugmentConfig(multipath=None, carrier_offset=None, noise=None)


def stream(seed: int = 0) -> Generator:
    return generator(seed, "test")


def white(batch: int, samples: int, seed: int = 1) -> Tensor:
    """Complex white noise of power 1."""
    return torch.randn(batch, samples, dtype=torch.complex64, generator=stream(seed))


def ones(batch: int, samples: int) -> Tensor:
    return torch.ones(batch, samples, dtype=torch.complex64)


def bursts(batch: int = 6, samples: int = 200) -> Tensor:
    return torch.randn(batch, 2, samples, generator=stream(2))


def power(x_BL: Tensor) -> Tensor:
    return x_BL.abs().square().mean(-1)


def augmented(config: AugmentConfig, x_B2L: Tensor, *, seed: int = 0, epoch: int = 1) -> Tensor:
    augment = build_augment(config, RATE_HZ)
    augment.start_epoch(seed, epoch, CPU)
    return augment(x_B2L)


class TestRoll:
    def test_each_burst_is_shifted_around_by_a_number_of_its_own(self) -> None:
        x_BL = torch.complex(torch.arange(500.0).expand(40, 500), torch.zeros(40, 500))
        y_BL = Roll(RollConfig())(x_BL, RATE_HZ, stream())
        shifts = [int(500 - y_L[0].real) % 500 for y_L in y_BL]
        assert all(torch.equal(y, torch.roll(x, k)) for x, y, k in zip(x_BL, y_BL, shifts, strict=True))
        assert len(set(shifts)) > 30

    def test_no_shift_passes_the_largest_fraction(self) -> None:
        x_BL = torch.complex(torch.arange(100.0).expand(2000, 100), torch.zeros(2000, 100))
        y_BL = Roll(RollConfig(max_fraction=0.1))(x_BL, RATE_HZ, stream())
        shifts = {int(100 - first) % 100 for first in y_BL[:, 0].real}
        assert shifts == set(range(10))


class TestPhaseNoise:
    def test_only_phases_change(self) -> None:
        x_BL = white(8, 300)
        y_BL = PhaseNoise(PhaseNoiseConfig())(x_BL, RATE_HZ, stream())
        torch.testing.assert_close(y_BL.abs(), x_BL.abs(), rtol=1e-6, atol=0.0)
        assert not torch.equal(y_BL, x_BL)

    def test_the_phase_walks_with_a_variance_of_two_pi_linewidth_over_rate_a_sample(self) -> None:
        # Linewidths are uniform, so their mean is half the largest.
        walk_BL = PhaseNoise(PhaseNoiseConfig(max_linewidth_hz=100.0))(ones(20_000, 256), RATE_HZ, stream()).angle()
        per_sample = 2 * math.pi * 50.0 / RATE_HZ
        for samples in (1, 16, 256):
            # 20,000 draws of a mixture with kurtosis 4: a standard deviation of 1.2 %.
            variance = walk_BL[:, samples - 1].var()
            assert math.isclose(variance, samples * per_sample, rel_tol=0.05)

    def test_steps_of_the_walk_do_not_know_of_each_other(self) -> None:
        walk_BL = PhaseNoise(PhaseNoiseConfig())(ones(2000, 64), RATE_HZ, stream()).angle()
        steps_BL = walk_BL.diff(dim=1)
        correlation = (steps_BL[:, 1:] * steps_BL[:, :-1]).mean() / steps_BL.square().mean()
        assert abs(correlation) < 0.02

    def test_linewidths_are_drawn_up_to_the_largest(self) -> None:
        turn_BL = PhaseNoise(PhaseNoiseConfig(max_linewidth_hz=100.0))(ones(500, 4096), RATE_HZ, stream())
        steps_BL = (turn_BL[:, 1:] * turn_BL[:, :-1].conj()).angle()
        linewidth_hz_B = steps_BL.square().mean(1) * RATE_HZ / (2 * math.pi)
        assert linewidth_hz_B.min() < 2
        assert 95 < linewidth_hz_B.max() < 110
        assert math.isclose(linewidth_hz_B.mean(), 50, rel_tol=0.1)


class TestCarrierOffset:
    def test_a_spectrum_moves_by_the_offset_and_keeps_its_shape(self) -> None:
        # 4,096 samples a millisecond apart: bins of 1 / 4.096 Hz.
        x_BL = torch.polar(torch.ones(50, 4096), 2 * math.pi * 100 * torch.arange(4096).expand(50, 4096) / 1e3)
        y_BL = CarrierOffset(CarrierOffsetConfig(max_hz=30.0))(x_BL, 1e3, stream())
        peak_hz_B = torch.fft.fft(y_BL).abs().argmax(1) / 4.096
        turned = (y_BL[:, 1:] * y_BL[:, :-1].conj()).mean(1).angle() * 1e3 / (2 * math.pi)
        torch.testing.assert_close(peak_hz_B, turned, rtol=0.0, atol=0.5 / 4.096 + 1e-3)
        assert (turned - 100).min() < -25
        assert (turned - 100).max() > 25
        assert ((turned - 100).abs() <= 30 + 1e-3).all()

    def test_all_samples_of_a_burst_turn_at_one_rate_from_no_turn_at_the_first(self) -> None:
        x_BL = white(9, 500)
        turn_BL = CarrierOffset(CarrierOffsetConfig())(x_BL, RATE_HZ, stream()) / x_BL
        offset_hz_B = (turn_BL[:, -1] / turn_BL[:, 0]).angle() * RATE_HZ / (2 * math.pi * 499)
        phase_BL = 2 * math.pi * offset_hz_B[:, None] * torch.arange(500) / RATE_HZ
        torch.testing.assert_close(turn_BL, torch.polar(torch.ones(9, 500), phase_BL), rtol=0.0, atol=1e-5)
        assert len(set(offset_hz_B.tolist())) == 9

    def test_offsets_are_uniform_between_both_ends(self) -> None:
        turn_BL = CarrierOffset(CarrierOffsetConfig(max_hz=200.0))(ones(20_000, 501), RATE_HZ, stream())
        offset_hz_B = turn_BL[:, -1].angle() * RATE_HZ / (2 * math.pi * 500)
        assert abs(offset_hz_B.mean()) < 5
        assert math.isclose(offset_hz_B.std(), 200 / math.sqrt(3), rel_tol=0.02)
        assert offset_hz_B.abs().max() <= 200.1


class TestNoise:
    @pytest.mark.parametrize("snr_db", [-10.0, 10.0, 30.0])
    @pytest.mark.parametrize("gain", [1e-3, 1.0, 50.0])
    def test_its_power_follows_the_ratio_and_each_bursts_own_power(self, snr_db: float, gain: float) -> None:
        x_BL = gain * white(4, 8192).mul(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        config = NoiseConfig(min_snr_db=snr_db, max_snr_db=snr_db)
        noise_BL = Noise(config)(x_BL, RATE_HZ, stream()) - x_BL
        measured_db_B = 10 * torch.log10(power(x_BL) / power(noise_BL))
        # 8,192 samples: a standard deviation of 0.05 dB.
        assert ((measured_db_B - snr_db).abs() < 0.2).all()

    def test_ratios_are_uniform_between_both_ends(self) -> None:
        x_BL = white(1000, 2048)
        noise_BL = Noise(NoiseConfig(min_snr_db=10.0, max_snr_db=40.0))(x_BL, RATE_HZ, stream()) - x_BL
        snr_db_B = 10 * torch.log10(power(x_BL) / power(noise_BL))
        assert 9.5 < snr_db_B.min() < 11
        assert 39 < snr_db_B.max() < 40.5
        assert abs(snr_db_B.mean() - 25) < 1
        assert math.isclose(snr_db_B.std(), 30 / math.sqrt(12), rel_tol=0.05)

    def test_it_is_circular_and_white(self) -> None:
        config = NoiseConfig(min_snr_db=0.0, max_snr_db=0.0)
        noise_BL = Noise(config)(ones(50, 4000), RATE_HZ, stream()) - 1
        # 200,000 samples of power 1: a standard deviation of 0.002.
        assert abs(noise_BL.mean()) < 0.01
        assert abs(noise_BL.square().mean()) < 0.01
        assert abs((noise_BL[:, 1:] * noise_BL[:, :-1].conj()).mean()) < 0.01
        assert math.isclose(power(noise_BL).mean(), 1, abs_tol=0.01)


class TestMultipath:
    def test_powers_of_the_taps_sum_to_one_and_fall_off_exponentially(self) -> None:
        config = MultipathConfig(num_taps=4, min_delay_spread_s=2e-6, max_delay_spread_s=2e-6)
        power_BP = Multipath(config).tap_amplitudes(3, RATE_HZ, stream()).square()[..., 0]
        torch.testing.assert_close(power_BP.sum(1), torch.ones(3), rtol=1e-6, atol=0.0)
        ratio = torch.full((3, 3), math.exp(-1e-6 / 2e-6))
        torch.testing.assert_close(power_BP[:, 1:] / power_BP[:, :-1], ratio, rtol=1e-5, atol=0.0)

    def test_delay_spreads_are_drawn_between_both_ends(self) -> None:
        config = MultipathConfig(num_taps=2, min_delay_spread_s=100e-9, max_delay_spread_s=300e-9)
        power_BP = Multipath(config).tap_amplitudes(5000, RATE_HZ, stream()).square()[..., 0]
        spread_s_B = -1e-6 / (power_BP[:, 1] / power_BP[:, 0]).log()
        assert 99.9e-9 < spread_s_B.min() < 101e-9
        assert 299e-9 < spread_s_B.max() < 300.1e-9
        assert math.isclose(spread_s_B.mean(), 200e-9, rel_tol=0.02)

    def test_a_channel_has_power_one_on_average(self) -> None:
        config = MultipathConfig(num_taps=3, min_delay_spread_s=3e-6, max_delay_spread_s=5e-6)
        y_BL = Multipath(config)(white(20_000, 16), RATE_HZ, stream())
        # Before the third sample not all taps have something to delay.
        assert math.isclose(power(y_BL[:, 2:]).mean(), 1, abs_tol=0.03)

    def test_gains_fade_like_those_of_rayleigh(self) -> None:
        gain_B = Multipath(MultipathConfig()).gains(20_000, torch.zeros(1), 1, stream())[:, 0, 0]
        assert abs(gain_B.mean()) < 0.03
        assert abs(gain_B.square().mean()) < 0.03
        assert math.isclose(power(gain_B), 1, abs_tol=0.03)
        # The square of a Rayleigh magnitude is exponential; of twenty rays almost.
        assert math.isclose((gain_B.abs().square() > 1).float().mean(), math.exp(-1), abs_tol=0.015)

    def test_gains_turn_with_the_correlation_of_jakes(self) -> None:
        time_s_L = torch.arange(61) / 100
        gain_BL = Multipath(MultipathConfig(max_doppler_hz=2.0)).gains(20_000, time_s_L, 61, stream())[:, 0]
        for lag in (5, 20, 60):
            correlation = (gain_BL[:, 0].conj() * gain_BL[:, lag]).mean()
            doppler_hz = np.linspace(0, 2, 1001)
            expected = j0(2 * math.pi * doppler_hz * lag / 100).mean()
            assert abs(correlation - expected) < 0.03

    @pytest.mark.parametrize("num_rays", [1, 20, 64])
    @pytest.mark.parametrize("max_doppler_hz", [5.0, 50.0])
    @pytest.mark.parametrize("samples", [2, 1000, 8192])
    def test_interpolating_in_time_costs_less_than_it_may(
        self, samples: int, max_doppler_hz: float, num_rays: int
    ) -> None:
        multipath = Multipath(MultipathConfig(max_doppler_hz=max_doppler_hz, num_rays=num_rays))
        time_s_L = torch.arange(samples) / RATE_HZ
        points = math.ceil((samples - 1) / multipath.grid_step_samples(RATE_HZ)) + 1
        # A single ray of the largest Doppler comes within a few percent of the bound: many draws to meet one.
        batch = 300 if num_rays == 1 else 30
        coarse_BPL = multipath.gains(batch, time_s_L, points, stream())
        exact_BPL = multipath.gains(batch, time_s_L, samples, stream())
        assert points < samples or samples == 2
        assert (coarse_BPL - exact_BPL).abs().max() < INTERPOLATION_ERROR

    def test_a_tap_delays_by_one_sample_and_nothing_comes_before_the_burst(self) -> None:
        config = MultipathConfig(num_taps=3, min_delay_spread_s=3e-6, max_delay_spread_s=3e-6)
        impulse_BL = torch.zeros(4, 10, dtype=torch.complex64)
        impulse_BL[:, 5] = 1.0
        heard_BL = Multipath(config)(impulse_BL, RATE_HZ, stream()).abs() > 0
        assert torch.equal(heard_BL, torch.tensor([5 <= t <= 7 for t in range(10)]).expand(4, 10))

    def test_a_burst_is_left_as_it_was(self) -> None:
        x_BL = white(3, 50)
        before_BL = x_BL.clone()
        Multipath(MultipathConfig())(x_BL, RATE_HZ, stream())
        assert torch.equal(x_BL, before_BL)

    def test_channels_of_different_bursts_differ(self) -> None:
        y_BL = Multipath(MultipathConfig())(ones(20, 30), RATE_HZ, stream())
        assert len(set(y_BL[:, -1].tolist())) == 20


TRANSFORMS: list[Transform] = [
    Roll(RollConfig()),
    PhaseNoise(PhaseNoiseConfig()),
    Multipath(MultipathConfig()),
    CarrierOffset(CarrierOffsetConfig()),
    Noise(NoiseConfig()),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_a_transform_stays_in_single_precision_and_changes_only_by_its_stream(transform: Transform) -> None:
    x_BL = white(4, 100)
    first, again, other = (transform(x_BL.clone(), RATE_HZ, stream(seed)) for seed in (0, 0, 1))
    assert first.shape == x_BL.shape
    assert first.dtype == torch.complex64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("config", [ALL, AugmentConfig(), NONE], ids=["all", "source", "none"])
def test_augmented_bursts_have_a_mean_power_of_one(config: AugmentConfig) -> None:
    x_B2L = bursts() * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e3, 1e5])[:, None, None]
    y_B2L = augmented(config, x_B2L)
    assert y_B2L.shape == x_B2L.shape
    assert y_B2L.dtype == torch.float32
    # Below a power of 1 the 1e-10 that guards against silence shows.
    torch.testing.assert_close(y_B2L.square().sum(1).mean(1), torch.ones(6), rtol=1e-4, atol=0.0)


def test_normalising_keeps_the_shape_of_a_burst_and_survives_silence() -> None:
    x_B2L = bursts(2)
    ratio_B2L = normalize_rms(x_B2L) / x_B2L
    torch.testing.assert_close(ratio_B2L, ratio_B2L[:, :1, :1].expand_as(ratio_B2L), rtol=1e-5, atol=0.0)
    assert not normalize_rms(torch.zeros(1, 2, 8)).any()


def test_no_transform_is_only_normalising() -> None:
    assert torch.equal(augmented(NONE, bursts()), normalize_rms(bursts()))


def test_seed_and_epoch_fix_what_is_drawn() -> None:
    x_B2L = bursts()
    first = augmented(ALL, x_B2L, seed=3, epoch=4)
    assert torch.equal(augmented(ALL, x_B2L, seed=3, epoch=4), first)
    assert not torch.equal(augmented(ALL, x_B2L, seed=3, epoch=5), first)
    assert not torch.equal(augmented(ALL, x_B2L, seed=4, epoch=4), first)


def test_an_epoch_begins_with_the_same_draws_whatever_was_drawn_before() -> None:
    augment = build_augment(ALL, RATE_HZ)
    augment.start_epoch(0, 1, CPU)
    first, second = augment(bursts()), augment(bursts())
    assert not torch.equal(first, second)
    augment.start_epoch(0, 2, CPU)
    augment.start_epoch(0, 1, CPU)
    assert torch.equal(augment(bursts()), first)


class Recorder:
    """A transform that draws, remembers its draws and changes nothing."""

    def __init__(self, num_draws: int) -> None:
        self.num_draws = num_draws
        self.drawn: list[Tensor] = []

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        self.drawn.append(torch.rand(self.num_draws, generator=stream))
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
    silent = {"multipath": None, "carrier_offset": None, "noise": None}
    x_B2L = torch.ones(5, 2, 64)
    without = augmented(AugmentConfig(**silent | later), x_B2L)
    rolled = augmented(AugmentConfig(roll=RollConfig(), **silent | later), x_B2L)
    assert torch.equal(rolled, without)
    assert not torch.equal(without, normalize_rms(x_B2L))


def test_transforms_stand_in_the_order_of_the_configuration() -> None:
    order = [name for name, _ in build_augment(ALL, RATE_HZ).transforms]
    assert order == list(AugmentConfig.__struct_fields__)


def test_complex_arithmetic_stays_in_single_precision_under_autocast() -> None:
    expected = augmented(ALL, bursts())
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = augmented(ALL, bursts())
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, expected)
