"""What a receiver and a channel may do to a training burst, drawn afresh for each one.

Transforms work on complex samples, outside autocast (half precision would ruin the phases), on any device, each with a
random stream of its own, so that leaving one out shifts no other.

Letters: B bursts, L samples, P taps, R rays, G points of a coarse time grid.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from model.config import (
    AugmentConfig,
    CarrierOffsetConfig,
    MultipathConfig,
    NoiseConfig,
    PhaseNoiseConfig,
    RollConfig,
)
from model.streams import generator

INTERPOLATION_ERROR = 1e-5
"""Largest error of a fading gain, against a mean square of 1, that interpolating it in time may cause."""


class Transform(Protocol):
    """One thing that happens to bursts."""

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Return the changed bursts, complex [B, L]."""


def _uniform(low: float, high: float, shape: tuple[int, ...], stream: Generator) -> Tensor:
    return torch.rand(shape, generator=stream, device=stream.device) * (high - low) + low


class Roll:
    """A circular shift in time by a whole number of samples."""

    def __init__(self, config: RollConfig) -> None:
        self.max_fraction = config.max_fraction

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Return shifted bursts, complex [B, L]."""
        batch, samples = x_BL.shape
        shift_B1 = (_uniform(0.0, self.max_fraction, (batch, 1), stream) * samples).long()
        index_BL = (torch.arange(samples, device=x_BL.device) - shift_B1) % samples
        return x_BL.gather(1, index_BL)


class PhaseNoise:
    """Wiener phase noise: the phase walks with variance 2 pi linewidth / rate a sample (Demir et al. 2000, eq. 37)."""

    def __init__(self, config: PhaseNoiseConfig) -> None:
        self.max_linewidth_hz = config.max_linewidth_hz

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Return bursts turned by a random walk, complex [B, L]."""
        linewidth_hz_B1 = _uniform(0.0, self.max_linewidth_hz, (x_BL.shape[0], 1), stream)
        steps_BL = torch.randn(x_BL.shape, generator=stream, device=stream.device)
        walk_BL = (steps_BL * torch.sqrt(2 * math.pi * linewidth_hz_B1 / sample_rate_hz)).cumsum(dim=1)
        return x_BL * torch.polar(torch.ones_like(walk_BL), walk_BL)


class Multipath:
    """Taps one sample apart, with an exponential power profile, each fading by Jakes' sum of rays.

    A tap's gain is sum_r exp(j(2 pi f_D cos(phi_r) t + psi_r)) / sqrt(R) (Jakes 1974; Pop and Beaulieu 2001, eq. 2). It
    turns by hertz while a burst lasts milliseconds, so it is evaluated on a coarse grid and interpolated linearly:
    |error| <= h^2 / 8 * max|gain''| <= h^2 / 8 * sqrt(R) (2 pi f_D)^2, which fixes the grid's step h.
    """

    def __init__(self, config: MultipathConfig) -> None:
        self.config = config

    def grid_step_samples(self, sample_rate_hz: float) -> int:
        """Return how far apart the grid's points may lie for `INTERPOLATION_ERROR`."""
        curvature = math.sqrt(self.config.num_rays) * (2 * math.pi * self.config.max_doppler_hz) ** 2
        return max(1, math.floor(math.sqrt(8 * INTERPOLATION_ERROR / curvature) * sample_rate_hz))

    def gains(self, batch: int, time_s_L: Tensor, points: int, stream: Generator) -> Tensor:
        """Draw fading gains [B, P, L] with mean square 1, from `points` points of a grid over `time_s_L`."""
        taps, rays = self.config.num_taps, self.config.num_rays
        doppler_hz = _uniform(0.0, self.config.max_doppler_hz, (batch, 1, 1, 1), stream)
        arrival = _uniform(0.0, 2 * math.pi, (batch, taps, rays, 1), stream)
        start = _uniform(0.0, 2 * math.pi, (batch, taps, rays, 1), stream)
        time_s_G = torch.linspace(float(time_s_L[0]), float(time_s_L[-1]), points, device=stream.device)
        phase_BPRG = 2 * math.pi * doppler_hz * torch.cos(arrival) * time_s_G + start
        in_phase_BPG = phase_BPRG.cos().sum(2) / math.sqrt(rays)
        quadrature_BPG = phase_BPRG.sin().sum(2) / math.sqrt(rays)
        size = time_s_L.shape[0]
        return torch.complex(_stretch(in_phase_BPG, size), _stretch(quadrature_BPG, size))

    def tap_amplitudes(self, batch: int, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Draw amplitudes [B, P, 1] whose squares fall off exponentially with delay and sum to 1."""
        spread_s_B1 = _uniform(self.config.min_delay_spread_s, self.config.max_delay_spread_s, (batch, 1), stream)
        delay_s_P = torch.arange(self.config.num_taps, device=stream.device) / sample_rate_hz
        power_BP = torch.softmax(-delay_s_P / spread_s_B1, dim=1)
        return power_BP.sqrt()[..., None]

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Return faded bursts, complex [B, L]."""
        batch, samples = x_BL.shape
        time_s_L = torch.arange(samples, device=x_BL.device) / sample_rate_hz
        points = math.ceil((samples - 1) / self.grid_step_samples(sample_rate_hz)) + 1
        weight_BPL = self.gains(batch, time_s_L, points, stream) * self.tap_amplitudes(batch, sample_rate_hz, stream)
        y_BL = x_BL * weight_BPL[:, 0]
        for tap in range(1, self.config.num_taps):
            y_BL[:, tap:] += x_BL[:, :-tap] * weight_BPL[:, tap, tap:]
        return y_BL


def _stretch(points_BPG: Tensor, size: int) -> Tensor:
    if points_BPG.shape[-1] == size:
        return points_BPG
    return F.interpolate(points_BPG, size=size, mode="linear", align_corners=True)


class CarrierOffset:
    """A constant frequency offset: x(t) exp(j 2 pi f t)."""

    def __init__(self, config: CarrierOffsetConfig) -> None:
        self.max_hz = config.max_hz

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Return turning bursts, complex [B, L]."""
        offset_hz_B1 = _uniform(-self.max_hz, self.max_hz, (x_BL.shape[0], 1), stream)
        time_s_L = torch.arange(x_BL.shape[1], device=x_BL.device) / sample_rate_hz
        phase_BL = 2 * math.pi * offset_hz_B1 * time_s_L
        return x_BL * torch.polar(torch.ones_like(phase_BL), phase_BL)


class Noise:
    """Circular white Gaussian noise, its power set by each burst's own and an SNR in dB."""

    def __init__(self, config: NoiseConfig) -> None:
        self.min_snr_db, self.max_snr_db = config.min_snr_db, config.max_snr_db

    def __call__(self, x_BL: Tensor, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Return noisy bursts, complex [B, L]."""
        snr_db_B1 = _uniform(self.min_snr_db, self.max_snr_db, (x_BL.shape[0], 1), stream)
        power_B1 = _power(x_BL) / 10 ** (snr_db_B1 / 10)
        # A complex normal has power 1, half of it in each part.
        noise_BL = torch.randn(x_BL.shape, generator=stream, device=stream.device, dtype=x_BL.dtype)
        return x_BL + noise_BL * power_B1.sqrt()


def _power(x_BL: Tensor) -> Tensor:
    return torch.view_as_real(x_BL).square().sum(-1).mean(dim=1, keepdim=True)


def normalize_rms(x_B2L: Tensor) -> Tensor:
    """Scale each burst [B, 2, L] to a mean power of 1."""
    power_B11 = x_B2L.square().sum(1, keepdim=True).mean(2, keepdim=True)
    return x_B2L * torch.rsqrt(power_B11 + 1e-10)


class Augment:
    """The transforms of a configuration, in its order, then RMS normalisation."""

    def __init__(self, transforms: Sequence[tuple[str, Transform]], sample_rate_hz: float) -> None:
        self.transforms = tuple(transforms)
        self.sample_rate_hz = sample_rate_hz
        self.streams: dict[str, Generator] = {}

    def start_epoch(self, seed: int, epoch: int, device: torch.device) -> None:
        """Open each transform's random stream for one epoch, so that a resumed run draws what it would have drawn."""
        self.streams = {name: generator(seed, "augment", name, epoch, device=device) for name, _ in self.transforms}

    def __call__(self, x_B2L: Tensor) -> Tensor:
        """Return augmented bursts [B, 2, L], float32, mean power 1."""
        if not self.transforms:
            return normalize_rms(x_B2L)
        x_BL = torch.complex(x_B2L[:, 0], x_B2L[:, 1])
        for name, transform in self.transforms:
            x_BL = transform(x_BL, self.sample_rate_hz, self.streams[name])
        return normalize_rms(torch.stack([x_BL.real, x_BL.imag], dim=1))


def build_augment(config: AugmentConfig, sample_rate_hz: float) -> Augment:
    """Build the transforms that a configuration names."""
    chosen: list[tuple[str, Transform]] = []
    if config.roll is not None:
        chosen.append(("roll", Roll(config.roll)))
    if config.phase_noise is not None:
        chosen.append(("phase_noise", PhaseNoise(config.phase_noise)))
    if config.multipath is not None:
        chosen.append(("multipath", Multipath(config.multipath)))
    if config.carrier_offset is not None:
        chosen.append(("carrier_offset", CarrierOffset(config.carrier_offset)))
    if config.noise is not None:
        chosen.append(("noise", Noise(config.noise)))
    return Augment(chosen, sample_rate_hz)
