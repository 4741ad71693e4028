"""Fading and noise."""

import math

import numpy as np
import pytest
import torch
from scipy.special import j0
from torch import Generator, Tensor

from model.augment import INTERPOLATION_ERROR, Conditions, Multipath, Noise
from model.config import MultipathConfig, NoiseConfig, SnrWarmupConfig
from model.streams import generator

RATE_HZ = 1e6
AT = Conditions(RATE_HZ)


def stream(seed: int = 0) -> Generator:
    return generator(seed, "test")


def white(batch: int, samples: int, seed: int = 1) -> Tensor:
    """Complex white noise of power 1."""
    return torch.randn(batch, samples, dtype=torch.complex64, generator=stream(seed))


def ones(batch: int, samples: int) -> Tensor:
    return torch.ones(batch, samples, dtype=torch.complex64)


def power(x_BL: Tensor) -> Tensor:
    return x_BL.abs().square().mean(-1)


class TestNoise:
    @pytest.mark.parametrize("snr_db", [-10.0, 10.0, 30.0])
    @pytest.mark.parametrize("gain", [1e-3, 1.0, 50.0])
    def test_its_power_follows_the_ratio_and_each_bursts_own_power(self, snr_db: float, gain: float) -> None:
        x_BL = gain * white(4, 8192).mul(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        config = NoiseConfig(min_snr_db=snr_db, max_snr_db=snr_db)
        noise_BL = Noise(config)(x_BL, AT, stream()) - x_BL
        measured_db_B = 10 * torch.log10(power(x_BL) / power(noise_BL))
        # 8,192 samples: a standard deviation of 0.05 dB.
        assert ((measured_db_B - snr_db).abs() < 0.2).all()

    def test_ratios_are_uniform_between_both_ends(self) -> None:
        x_BL = white(1000, 2048)
        noise_BL = Noise(NoiseConfig(min_snr_db=10.0, max_snr_db=40.0))(x_BL, AT, stream()) - x_BL
        snr_db_B = 10 * torch.log10(power(x_BL) / power(noise_BL))
        assert 9.5 < snr_db_B.min() < 11
        assert 39 < snr_db_B.max() < 40.5
        assert abs(snr_db_B.mean() - 25) < 1
        assert math.isclose(snr_db_B.std(), 30 / math.sqrt(12), rel_tol=0.05)

    def test_it_is_circular_and_white(self) -> None:
        config = NoiseConfig(min_snr_db=0.0, max_snr_db=0.0)
        noise_BL = Noise(config)(ones(50, 4000), AT, stream()) - 1
        # 200,000 samples of power 1: a standard deviation of 0.002.
        assert abs(noise_BL.mean()) < 0.01
        assert abs(noise_BL.square().mean()) < 0.01
        assert abs((noise_BL[:, 1:] * noise_BL[:, :-1].conj()).mean()) < 0.01
        assert math.isclose(power(noise_BL).mean(), 1, abs_tol=0.01)

    def test_the_lowest_ratio_falls_in_equal_steps_from_epoch_to_epoch_and_then_stays(self) -> None:
        x_BL = white(3000, 512)
        config = NoiseConfig(min_snr_db=10.0, max_snr_db=40.0, warmup=SnrWarmupConfig(start_db=30.0, epochs=4))
        for epoch, lowest_db in ((1, 30.0), (2, 25.0), (3, 20.0), (4, 15.0), (5, 10.0), (6, 10.0), (99, 10.0)):
            noise_BL = Noise(config)(x_BL, Conditions(RATE_HZ, epoch), stream()) - x_BL
            snr_db_B = 10 * torch.log10(power(x_BL) / power(noise_BL))
            # 512 samples: a standard deviation of 0.2 dB; 3,000 bursts over up to 30 dB: one every 0.01 dB.
            assert abs(snr_db_B.min() - lowest_db) < 0.5
            assert abs(snr_db_B.max() - 40) < 0.5
            assert abs(snr_db_B.mean() - (lowest_db + 40) / 2) < 0.6

    def test_after_the_warm_up_it_is_the_noise_of_no_warm_up(self) -> None:
        x_BL, warmup = white(5, 50), SnrWarmupConfig(start_db=30.0, epochs=3)
        third, fourth = (Noise(NoiseConfig(warmup=warmup))(x_BL, Conditions(RATE_HZ, e), stream()) for e in (3, 4))
        without = Noise(NoiseConfig())(x_BL, Conditions(RATE_HZ, 4), stream())
        assert torch.equal(fourth, without)
        assert not torch.equal(third, without)


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
        y_BL = Multipath(config)(white(20_000, 16), AT, stream())
        # Before the third sample not all taps have something to delay.
        assert math.isclose(power(y_BL[:, 2:]).mean(), 1, abs_tol=0.03)

    def test_gains_fade_like_those_of_rayleigh(self) -> None:
        gain_B = Multipath(MultipathConfig()).gains(20_000, 1, 0.0, 1, stream())[:, 0, 0]
        assert abs(gain_B.mean()) < 0.03
        assert abs(gain_B.square().mean()) < 0.03
        assert math.isclose(power(gain_B), 1, abs_tol=0.03)
        # The square of a Rayleigh magnitude is exponential; of twenty rays almost.
        assert math.isclose((gain_B.abs().square() > 1).float().mean(), math.exp(-1), abs_tol=0.015)

    def test_gains_turn_with_the_correlation_of_jakes(self) -> None:
        gain_BL = Multipath(MultipathConfig(max_doppler_hz=2.0)).gains(20_000, 61, 0.6, 61, stream())[:, 0]
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
        duration_s = (samples - 1) / RATE_HZ
        points = math.ceil((samples - 1) / multipath.grid_step_samples(RATE_HZ)) + 1
        # A single ray of the largest Doppler comes within a few percent of the bound: many draws to meet one.
        batch = 300 if num_rays == 1 else 30
        coarse_BPL = multipath.gains(batch, samples, duration_s, points, stream())
        exact_BPL = multipath.gains(batch, samples, duration_s, samples, stream())
        assert points < samples or samples == 2
        assert (coarse_BPL - exact_BPL).abs().max() < INTERPOLATION_ERROR

    def test_a_tap_delays_by_one_sample_and_nothing_comes_before_the_burst(self) -> None:
        config = MultipathConfig(num_taps=3, min_delay_spread_s=3e-6, max_delay_spread_s=3e-6)
        impulse_BL = torch.zeros(4, 10, dtype=torch.complex64)
        impulse_BL[:, 5] = 1.0
        heard_BL = Multipath(config)(impulse_BL, AT, stream()).abs() > 0
        assert torch.equal(heard_BL, torch.tensor([5 <= t <= 7 for t in range(10)]).expand(4, 10))

    def test_a_burst_is_left_as_it_was(self) -> None:
        x_BL = white(3, 50)
        before_BL = x_BL.clone()
        Multipath(MultipathConfig())(x_BL, AT, stream())
        assert torch.equal(x_BL, before_BL)

    def test_channels_of_different_bursts_differ(self) -> None:
        y_BL = Multipath(MultipathConfig())(ones(20, 30), AT, stream())
        assert len(set(y_BL[:, -1].tolist())) == 20
