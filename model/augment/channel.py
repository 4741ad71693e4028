"""The channel between sender and receiver: fading on several paths, and noise.

Letters: B bursts, L samples, P taps, R rays, G points of a coarse time grid.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from model.augment.power import mean_power
from model.augment.transform import Conditions, uniform
from model.config import MultipathConfig, NoiseConfig

INTERPOLATION_ERROR = 1e-5
"""Largest error of a fading gain, against a mean square of 1, that interpolating it in time may cause."""


class Multipath:
    """Taps one sample apart, with an exponential power profile, each fading by Jakes' sum of rays.

    A tap's gain is sum_r exp(j(2 pi f_D cos(phi_r) t + psi_r)) / sqrt(R) (Jakes 1974; Pop and Beaulieu 2001, eq. 2).
    The gain turns by a few hertz, and a burst lasts milliseconds. So the code computes it on a coarse grid and
    interpolates linearly. The error bound |error| <= h^2 / 8 * max|gain''| <= h^2 / 8 * sqrt(R) (2 pi f_D)^2 fixes the
    grid's step h.
    """

    def __init__(self, config: MultipathConfig) -> None:
        self.config = config

    def grid_step_samples(self, sample_rate_hz: float) -> int:
        """Return the largest grid step, in samples, that keeps the error below `INTERPOLATION_ERROR`."""
        # Solve h^2 / 8 * curvature = `INTERPOLATION_ERROR` for h, at the largest Doppler.
        curvature = math.sqrt(self.config.num_rays) * (2 * math.pi * self.config.max_doppler_hz) ** 2
        return max(1, math.floor(math.sqrt(8 * INTERPOLATION_ERROR / curvature) * sample_rate_hz))

    def gains(self, batch: int, samples: int, duration_s: float, points: int, stream: Generator) -> Tensor:
        """Draw fading gains [B, P, L] with mean square 1 for times from 0 to `duration_s`, from a grid of `points`."""
        taps, rays = self.config.num_taps, self.config.num_rays
        doppler_hz = uniform(0.0, self.config.max_doppler_hz, (batch, 1, 1, 1), stream)
        arrival = uniform(0.0, 2 * math.pi, (batch, taps, rays, 1), stream)
        start = uniform(0.0, 2 * math.pi, (batch, taps, rays, 1), stream)
        time_s_G = torch.linspace(0.0, duration_s, points, device=stream.device)
        phase_BPRG = 2 * math.pi * doppler_hz * torch.cos(arrival) * time_s_G + start
        in_phase_BPG = phase_BPRG.cos().sum(2) / math.sqrt(rays)
        quadrature_BPG = phase_BPRG.sin().sum(2) / math.sqrt(rays)
        return torch.complex(_stretch(in_phase_BPG, samples), _stretch(quadrature_BPG, samples))

    def tap_amplitudes(self, batch: int, sample_rate_hz: float, stream: Generator) -> Tensor:
        """Draw amplitudes [B, P, 1] whose squares fall off exponentially with delay and sum to 1."""
        spread_s_B1 = uniform(self.config.min_delay_spread_s, self.config.max_delay_spread_s, (batch, 1), stream)
        delay_s_P = torch.arange(self.config.num_taps, device=stream.device) / sample_rate_hz
        # A softmax of -delay / spread is the exponential profile, normalised, and cannot underflow to 0 / 0.
        power_BP = torch.softmax(-delay_s_P / spread_s_B1, dim=1)
        return power_BP.sqrt()[..., None]

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return faded bursts, complex [B, L]."""
        (batch, samples), sample_rate_hz = x_BL.shape, conditions.sample_rate_hz
        duration_s = (samples - 1) / sample_rate_hz
        points = math.ceil((samples - 1) / self.grid_step_samples(sample_rate_hz)) + 1
        weight_BPL = self.gains(batch, samples, duration_s, points, stream) * self.tap_amplitudes(
            batch, sample_rate_hz, stream
        )
        # No convolution, because the gain of a tap differs from sample to sample.
        y_BL = x_BL * weight_BPL[:, 0]
        for tap in range(1, self.config.num_taps):
            y_BL[:, tap:] += x_BL[:, :-tap] * weight_BPL[:, tap, tap:]
        return y_BL


def _stretch(points_BPG: Tensor, size: int) -> Tensor:
    if points_BPG.shape[-1] == size:
        return points_BPG
    return F.interpolate(points_BPG, size=size, mode="linear", align_corners=True)


class Noise:
    """Circular white Gaussian noise at an SNR in dB below the burst's own mean power.

    With a warm-up the SNR is a curriculum (Bengio et al. 2009): clean bursts come first. In epoch 1 the lowest SNR is
    `warmup.start_db`. Each epoch lowers it by (start_db - min_snr_db) / epochs. From epoch `warmup.epochs` + 1 on it
    is `min_snr_db`. The highest SNR is the same in every epoch.
    """

    def __init__(self, config: NoiseConfig) -> None:
        self.min_snr_db, self.max_snr_db, self.warmup = config.min_snr_db, config.max_snr_db, config.warmup

    def lowest_snr_db(self, epoch: int) -> float:
        """Return the lowest SNR of an epoch in dB; epochs count from 1."""
        if self.warmup is None or epoch > self.warmup.epochs:
            return self.min_snr_db
        done = (epoch - 1) / self.warmup.epochs
        return self.warmup.start_db + (self.min_snr_db - self.warmup.start_db) * done

    def __call__(self, x_BL: Tensor, conditions: Conditions, stream: Generator) -> Tensor:
        """Return noisy bursts, complex [B, L]."""
        snr_db_B1 = uniform(self.lowest_snr_db(conditions.epoch), self.max_snr_db, (x_BL.shape[0], 1), stream)
        power_B1 = mean_power(x_BL) / 10 ** (snr_db_B1 / 10)
        # A complex normal has power 1, half of it in each part.
        noise_BL = torch.randn(x_BL.shape, generator=stream, device=stream.device, dtype=x_BL.dtype)
        return x_BL + noise_BL * power_B1.sqrt()
