"""The waveform that every emulated transmitter sends, and linear filtering of sampled bursts. No torch.

Letters: P packets, S samples, F frequencies of the padded transform.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

PADDING_SAMPLES = 64
"""Zeros after a burst during filtering, so that its end does not wrap around onto its start."""


@dataclass(frozen=True)
class LoraPreamble:
    """Up-chirps, one after the other: the start of every LoRa packet.

    Source: L. Vangelista, "Frequency shift chirp modulation: the LoRa modulation", IEEE Signal Processing Letters 24
    (12), 2017, eq. 2, with symbol value 0.
    """

    spreading_factor: int = 7
    bandwidth_hz: float = 125e3

    @property
    def symbol_s(self) -> float:
        """Duration of a chirp: 1.024 ms."""
        return float(2**self.spreading_factor / self.bandwidth_hz)

    def at(self, t_PS: Reals) -> Complexes:
        """Sample the preamble at `t_PS` seconds after its start, at unit amplitude."""
        cycle_PS = t_PS / self.symbol_s % 1.0
        # The frequency rises linearly, so the phase is quadratic.
        # It is 0 at both ends of a chirp, so chirps join without a jump.
        half_sweep = self.bandwidth_hz * self.symbol_s / 2
        return rotation(2 * np.pi * half_sweep * (cycle_PS * cycle_PS - cycle_PS))


def rotation(phase_PS: Reals) -> Complexes:
    """Turn phases in radians into unit phasors."""
    # A third of the time of exp(1j * phase), which computes a real exponential too.
    phasor_PS = np.empty(phase_PS.shape, dtype=np.complex128)
    np.cos(phase_PS, out=phasor_PS.real)
    np.sin(phase_PS, out=phasor_PS.imag)
    return phasor_PS


def frequencies_hz(num_samples: int, sample_rate_hz: float) -> Reals:
    """Return the frequencies of the responses that `filtered` takes for bursts of this many samples, in Hz, [F]."""
    frequency_F: Reals = np.fft.fftfreq(num_samples + PADDING_SAMPLES, d=1 / sample_rate_hz).astype(np.float64)
    return frequency_F


def filtered(x_PS: Complexes, response_PF: Complexes) -> Complexes:
    """Filter bursts by frequency responses given at `frequencies_hz`."""
    num_samples = x_PS.shape[1]
    spectrum_PF = np.fft.fft(x_PS, n=num_samples + PADDING_SAMPLES)
    spectrum_PF *= response_PF
    return np.fft.ifft(spectrum_PF)[:, :num_samples]
