"""Changes of a burst by an oscillator, a mixer and an amplifier.

Letters: B bursts, L samples, G points of a coarse time grid.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from model.augment.transform import Conditions, uniform
from model.config import (
    CarrierOffsetConfig,
    ConstantPhaseConfig,
    GainJitterConfig,
    IqImbalanceConfig,
    PhaseNoiseConfig,
)


class IqImbalance:
    """Gain and phase of the two arms of a quadrature mixer differ: y = mu x + nu conj(x).

    mu = cos(theta / 2) + j alpha sin(theta / 2) and nu = alpha cos(theta / 2) - j sin(theta / 2). So the arms I and Q
    have the gains 1 + alpha and 1 - alpha, and each is theta / 2 off. The gain of I over Q in decibels is
    20 log10((1 + alpha) / (1 - alpha)), therefore alpha = tanh(gain_db ln(10) / 40).

    Source: Tarighat, Bagheri and Sayed 2005, "Compensation schemes and performance analysis of IQ imbalances in OFDM
    receivers", IEEE Trans. Signal Process. 53.

    The mirror image of a tone is |mu / nu|^2 weaker than the tone (image rejection): at 1 dB and 5 degrees 23 dB.
    """

    def __init__(self, config: IqImbalanceConfig) -> None:
        self.max_gain_db, self.max_phase_deg = config.max_gain_db, config.max_phase_deg

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return bursts plus their mirror image, complex [B, L]."""
        shape = (x_BL.shape[0], 1)
        gain_db_B1 = uniform(-self.max_gain_db, self.max_gain_db, shape, stream)
        half_B1 = torch.deg2rad(uniform(-self.max_phase_deg, self.max_phase_deg, shape, stream)) / 2
        alpha_B1 = torch.tanh(gain_db_B1 * (math.log(10) / 40))
        mu_B1 = torch.complex(half_B1.cos(), alpha_B1 * half_B1.sin())
        nu_B1 = torch.complex(alpha_B1 * half_B1.cos(), -half_B1.sin())
        return mu_B1 * x_BL + nu_B1 * x_BL.conj()


class GainJitter:
    """The gain changes within a burst: U(-max_db, max_db) at evenly spaced points, linear in dB between them.

    The transform multiplies a sample's amplitude by 10^(gain_db / 20).
    """

    def __init__(self, config: GainJitterConfig) -> None:
        self.max_db, self.points = config.max_db, config.points

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return bursts at a changing gain, complex [B, L]."""
        batch, samples = x_BL.shape
        gain_db_B1G = uniform(-self.max_db, self.max_db, (batch, 1, self.points), stream)
        gain_db_BL = F.interpolate(gain_db_B1G, size=samples, mode="linear", align_corners=True)[:, 0]
        return x_BL * torch.exp(gain_db_BL * (math.log(10) / 20))


class ConstantPhase:
    """One phase for a whole burst, U(-max_deg, max_deg): the oscillators of sender and receiver start at any phase."""

    def __init__(self, config: ConstantPhaseConfig) -> None:
        self.max_deg = config.max_deg

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return rotated bursts, complex [B, L]."""
        phase_B1 = torch.deg2rad(uniform(-self.max_deg, self.max_deg, (x_BL.shape[0], 1), stream))
        return x_BL * torch.polar(torch.ones_like(phase_B1), phase_B1)


class PhaseNoise:
    """Wiener phase noise: the phase walks with variance 2 pi linewidth / rate a sample (Demir et al. 2000, eq. 37)."""

    def __init__(self, config: PhaseNoiseConfig) -> None:
        self.max_linewidth_hz = config.max_linewidth_hz

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return bursts rotated by a random walk of the phase, complex [B, L]."""
        linewidth_hz_B1 = uniform(0.0, self.max_linewidth_hz, (x_BL.shape[0], 1), stream)
        steps_BL = torch.randn(x_BL.shape, generator=stream, device=stream.device)
        walk_BL = (steps_BL * torch.sqrt(2 * math.pi * linewidth_hz_B1 / conditions.sample_rate_hz)).cumsum(dim=1)
        return x_BL * torch.polar(torch.ones_like(walk_BL), walk_BL)


class CarrierOffset:
    """A constant frequency offset: x(t) exp(j 2 pi f t)."""

    def __init__(self, config: CarrierOffsetConfig) -> None:
        self.max_hz = config.max_hz

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return bursts at the shifted frequency, complex [B, L]."""
        offset_hz_B1 = uniform(-self.max_hz, self.max_hz, (x_BL.shape[0], 1), stream)
        time_s_L = torch.arange(x_BL.shape[1], device=x_BL.device) / conditions.sample_rate_hz
        phase_BL = 2 * math.pi * offset_hz_B1 * time_s_L
        return x_BL * torch.polar(torch.ones_like(phase_BL), phase_BL)
