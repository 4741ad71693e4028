"""IQ imbalance, gain jitter, phases and frequencies."""

import math

import pytest
import torch
from torch import Generator, Tensor

from model.augment import CarrierOffset, Conditions, ConstantPhase, GainJitter, IqImbalance, PhaseNoise
from model.config import (
    CarrierOffsetConfig,
    ConstantPhaseConfig,
    GainJitterConfig,
    IqImbalanceConfig,
    PhaseNoiseConfig,
)
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


def arms(config: IqImbalanceConfig, batch: int = 5000) -> tuple[Tensor, Tensor]:
    """Measure the gain of I over Q [B] in decibels, and how far the arms are off a right angle [B] in degrees.

    The real part of what comes out is what arm I hears of a signal on I alone and of one on Q alone.
    """
    of_i_B, of_q_B = (IqImbalance(config)(x * ones(batch, 1).to(torch.complex128), AT, stream())[:, 0] for x in (1, 1j))
    arm_i_B2, arm_q_B2 = (torch.stack(pair, dim=1) for pair in ((of_i_B.real, of_q_B.real), (of_i_B.imag, of_q_B.imag)))
    ratio_B = arm_i_B2.norm(dim=1) / arm_q_B2.norm(dim=1)
    return 20 * torch.log10(ratio_B), torch.rad2deg(torch.asin(torch.cosine_similarity(arm_i_B2, arm_q_B2)))


class TestIqImbalance:
    @pytest.mark.parametrize(("max_gain_db", "max_phase_deg"), [(1.0, 5.0), (0.0, 20.0), (6.0, 0.0), (3.0, 80.0)])
    def test_a_mirror_image_is_as_weak_as_gain_and_phase_of_the_arms_let_it_be(
        self, max_gain_db: float, max_phase_deg: float
    ) -> None:
        config = IqImbalanceConfig(max_gain_db=max_gain_db, max_phase_deg=max_phase_deg)
        gain_db_B, phase_deg_B = arms(config, 200)
        # The image rejection ratio of the textbooks, e.g. Razavi, RF Microelectronics, section 4.2.
        gain_B, cosine_B = 10 ** (gain_db_B / 20), torch.deg2rad(phase_deg_B).cos()
        expected_B = (1 + 2 * gain_B * cosine_B + gain_B**2) / (1 - 2 * gain_B * cosine_B + gain_B**2)
        tone_L = torch.exp(2j * math.pi * 5 * torch.arange(64, dtype=torch.float64) / 64)
        spectrum_BL = torch.fft.fft(IqImbalance(config)(tone_L.expand(200, 64), AT, stream())).abs().square()
        rejection_db_B = 10 * torch.log10(spectrum_BL[:, 5] / spectrum_BL[:, -5])
        torch.testing.assert_close(rejection_db_B, 10 * torch.log10(expected_B), rtol=1e-4, atol=1e-3)
        assert (spectrum_BL[:, [5, -5]].sum(1) / spectrum_BL.sum(1) > 1 - 1e-12).all()

    def test_one_decibel_and_five_degrees_leave_an_image_23_db_weaker_at_worst(self) -> None:
        tone_L = torch.exp(2j * math.pi * torch.arange(4) / 4).to(torch.complex64)
        config = IqImbalanceConfig(max_gain_db=1.0, max_phase_deg=5.0)
        y_BL = IqImbalance(config)(tone_L.expand(50_000, 4), AT, stream())
        power_BL = torch.fft.fft(y_BL).abs().square()
        rejection_db_B = 10 * torch.log10(power_BL[:, 1] / power_BL[:, 3])
        assert 22.8 < rejection_db_B.min() < 23.0

    def test_gains_and_phases_are_uniform_between_both_ends(self) -> None:
        gain_db_B, phase_deg_B = arms(IqImbalanceConfig(max_gain_db=2.0, max_phase_deg=10.0))
        for drawn_B, most in ((gain_db_B, 2.0), (phase_deg_B, 10.0)):
            assert -most - 1e-4 < drawn_B.min() < -0.99 * most
            assert 0.99 * most < drawn_B.max() < most + 1e-4
            assert math.isclose(drawn_B.std(), most / math.sqrt(3), rel_tol=0.03)
        assert abs(torch.corrcoef(torch.stack([gain_db_B, phase_deg_B]))[0, 1]) < 0.05

    def test_either_end_may_be_zero(self) -> None:
        gain_db_B, _ = arms(IqImbalanceConfig(max_gain_db=0.0, max_phase_deg=10.0))
        _, phase_deg_B = arms(IqImbalanceConfig(max_gain_db=2.0, max_phase_deg=0.0))
        assert gain_db_B.abs().max() < 1e-6
        assert phase_deg_B.abs().max() < 1e-6


def gain_db(config: GainJitterConfig, batch: int, samples: int) -> Tensor:
    y_BL = GainJitter(config)(ones(batch, samples), AT, stream())
    assert not y_BL.imag.any()
    return 20 * torch.log10(y_BL.real)


class TestGainJitter:
    def test_the_gain_follows_straight_lines_in_decibels_between_its_points(self) -> None:
        gain_db_BL = gain_db(GainJitterConfig(max_db=3.0, points=5), 20, 41)
        bend_BL = gain_db_BL.diff(n=2, dim=1).abs()
        at_point_L = torch.tensor([sample % 10 == 0 for sample in range(1, 40)])
        assert bend_BL[:, ~at_point_L].max() < 1e-4
        assert bend_BL[:, at_point_L].median() > 0.05

    def test_gains_at_the_points_are_uniform_between_both_ends_and_know_nothing_of_each_other(self) -> None:
        point_db_BG = gain_db(GainJitterConfig(max_db=3.0, points=5), 5000, 41)[:, ::10]
        assert -3.0001 < point_db_BG.min() < -2.99
        assert 2.99 < point_db_BG.max() < 3.0001
        torch.testing.assert_close(torch.cov(point_db_BG.T), 3 * torch.eye(5), rtol=0.0, atol=0.15)

    @pytest.mark.parametrize("samples", [1, 2, 7])
    def test_a_burst_shorter_than_the_points_keeps_within_both_ends(self, samples: int) -> None:
        gain_db_BL = gain_db(GainJitterConfig(max_db=3.0, points=16), 100, samples)
        assert 2.5 < gain_db_BL.abs().max() < 3.0001


class TestConstantPhase:
    @pytest.mark.parametrize("max_deg", [30.0, 180.0])
    def test_a_burst_turns_as_a_whole_by_an_angle_uniform_between_both_ends(self, max_deg: float) -> None:
        x_BL = white(20_000, 4)
        turn_BL = ConstantPhase(ConstantPhaseConfig(max_deg=max_deg))(x_BL, AT, stream()) / x_BL
        torch.testing.assert_close(turn_BL, turn_BL[:, :1].expand_as(turn_BL), rtol=0.0, atol=1e-5)
        torch.testing.assert_close(turn_BL.abs(), torch.ones(20_000, 4), rtol=0.0, atol=1e-5)
        phase_deg_B = torch.rad2deg(turn_BL[:, 0].angle())
        assert -max_deg * 1.0001 < phase_deg_B.min() < -0.99 * max_deg
        assert 0.99 * max_deg < phase_deg_B.max() < max_deg * 1.0001
        assert abs(phase_deg_B.mean()) < 0.03 * max_deg
        assert math.isclose(phase_deg_B.std(), max_deg / math.sqrt(3), rel_tol=0.02)


class TestPhaseNoise:
    def test_only_phases_change(self) -> None:
        x_BL = white(8, 300)
        y_BL = PhaseNoise(PhaseNoiseConfig())(x_BL, AT, stream())
        torch.testing.assert_close(y_BL.abs(), x_BL.abs(), rtol=1e-6, atol=0.0)
        assert not torch.equal(y_BL, x_BL)

    def test_the_phase_walks_with_a_variance_of_two_pi_linewidth_over_rate_a_sample(self) -> None:
        # Linewidths are uniform, so their mean is half the largest.
        walk_BL = PhaseNoise(PhaseNoiseConfig(max_linewidth_hz=100.0))(ones(20_000, 256), AT, stream()).angle()
        per_sample = 2 * math.pi * 50.0 / RATE_HZ
        for samples in (1, 16, 256):
            # 20,000 draws of a mixture with kurtosis 4: a standard deviation of 1.2 %.
            variance = walk_BL[:, samples - 1].var()
            assert math.isclose(variance, samples * per_sample, rel_tol=0.05)

    def test_steps_of_the_walk_do_not_know_of_each_other(self) -> None:
        walk_BL = PhaseNoise(PhaseNoiseConfig())(ones(2000, 64), AT, stream()).angle()
        steps_BL = walk_BL.diff(dim=1)
        correlation = (steps_BL[:, 1:] * steps_BL[:, :-1]).mean() / steps_BL.square().mean()
        assert abs(correlation) < 0.02

    def test_linewidths_are_drawn_up_to_the_largest(self) -> None:
        turn_BL = PhaseNoise(PhaseNoiseConfig(max_linewidth_hz=100.0))(ones(500, 4096), AT, stream())
        steps_BL = (turn_BL[:, 1:] * turn_BL[:, :-1].conj()).angle()
        linewidth_hz_B = steps_BL.square().mean(1) * RATE_HZ / (2 * math.pi)
        assert linewidth_hz_B.min() < 2
        assert 95 < linewidth_hz_B.max() < 110
        assert math.isclose(linewidth_hz_B.mean(), 50, rel_tol=0.1)


class TestCarrierOffset:
    def test_a_spectrum_moves_by_the_offset_and_keeps_its_shape(self) -> None:
        # 4,096 samples a millisecond apart: bins of 1 / 4.096 Hz.
        x_BL = torch.polar(torch.ones(50, 4096), 2 * math.pi * 100 * torch.arange(4096).expand(50, 4096) / 1e3)
        y_BL = CarrierOffset(CarrierOffsetConfig(max_hz=30.0))(x_BL, Conditions(1e3), stream())
        peak_hz_B = torch.fft.fft(y_BL).abs().argmax(1) / 4.096
        turned = (y_BL[:, 1:] * y_BL[:, :-1].conj()).mean(1).angle() * 1e3 / (2 * math.pi)
        torch.testing.assert_close(peak_hz_B, turned, rtol=0.0, atol=0.5 / 4.096 + 1e-3)
        assert (turned - 100).min() < -25
        assert (turned - 100).max() > 25
        assert ((turned - 100).abs() <= 30 + 1e-3).all()

    def test_all_samples_of_a_burst_turn_at_one_rate_from_no_turn_at_the_first(self) -> None:
        x_BL = white(9, 500)
        turn_BL = CarrierOffset(CarrierOffsetConfig())(x_BL, AT, stream()) / x_BL
        offset_hz_B = (turn_BL[:, -1] / turn_BL[:, 0]).angle() * RATE_HZ / (2 * math.pi * 499)
        phase_BL = 2 * math.pi * offset_hz_B[:, None] * torch.arange(500) / RATE_HZ
        torch.testing.assert_close(turn_BL, torch.polar(torch.ones(9, 500), phase_BL), rtol=0.0, atol=1e-5)
        assert len(set(offset_hz_B.tolist())) == 9

    def test_offsets_are_uniform_between_both_ends(self) -> None:
        turn_BL = CarrierOffset(CarrierOffsetConfig(max_hz=200.0))(ones(20_000, 501), AT, stream())
        offset_hz_B = turn_BL[:, -1].angle() * RATE_HZ / (2 * math.pi * 500)
        assert abs(offset_hz_B.mean()) < 5
        assert math.isclose(offset_hz_B.std(), 200 / math.sqrt(3), rel_tol=0.02)
        assert offset_hz_B.abs().max() <= 200.1
