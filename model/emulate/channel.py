"""A packet's way from the transmitter to the file: multipath, the receiver, noise. No torch.

Letters: P packets, S samples, F frequencies of the padded transform, T taps.
"""

import cmath
import math
from dataclasses import dataclass

import numpy as np

from model.emulate.waveform import Complexes, Reals, filtered, frequencies_hz, rotation


@dataclass(frozen=True)
class Multipath:
    """A tapped delay line whose taps fade from packet to packet.

    Source: T. S. Rappaport, Wireless Communications, chapter 5; indoor delays after A. Saleh and R. Valenzuela, "A
    statistical model for indoor multipath propagation", IEEE Journal on Selected Areas in Communications 5 (2), 1987.
    With a few hertz of Doppler the coherence time is far longer than a packet, so its taps stay constant.
    """

    delays_s: tuple[float, ...]
    powers_db: tuple[float, ...]
    """Mean power of each tap, divided by that of the first tap."""
    rician_k_db: float
    """Power of each tap's constant part, shared by all packets of the location, over that of its fading part."""


@dataclass(frozen=True)
class Receiver:
    """A direct-conversion receiver. Its imperfections change every packet of its location.

    Source: B. Razavi, RF Microelectronics, chapter 4; Valkama et al. 2001 for the I/Q imbalance.
    """

    iq_gain_db: float
    iq_phase_deg: float
    leakage_db: float
    """Power of the constant offset, divided by that of the signal."""
    tilt_db: float
    """Slope of the passband over 125 kHz."""
    cutoff_hz: float = 300e3
    """3 dB edge of the anti-alias filter, a Butterworth response of order 4."""
    adc_bits: int = 12
    """The gain control sets the signal's root mean square to an eighth of full scale."""
    carrier_grid_hz: float = 120.0
    """The receiver removes the carrier offset to the nearest multiple of this; at most half of it remains."""


@dataclass(frozen=True)
class Location:
    """A place of captures: its channel, its receiver and its signal-to-noise ratios."""

    name: str
    multipath: Multipath
    receiver: Receiver
    min_snr_db: float
    max_snr_db: float
    """SNR ~ U(min, max) in dB for each packet, over the whole sampled band."""


LOCATIONS = (
    Location(
        name="LocA",
        multipath=Multipath(delays_s=(0.0, 60e-9, 150e-9), powers_db=(0.0, -10.0, -16.0), rician_k_db=12.0),
        receiver=Receiver(iq_gain_db=0.05, iq_phase_deg=0.4, leakage_db=-42.0, tilt_db=0.2),
        min_snr_db=25.0,
        max_snr_db=40.0,
    ),
    Location(
        name="LocB",
        multipath=Multipath(delays_s=(0.0, 90e-9, 220e-9), powers_db=(0.0, -8.0, -15.0), rician_k_db=10.0),
        receiver=Receiver(iq_gain_db=-0.08, iq_phase_deg=-0.3, leakage_db=-40.0, tilt_db=-0.3),
        min_snr_db=22.0,
        max_snr_db=38.0,
    ),
    Location(
        name="LocC",
        multipath=Multipath(delays_s=(0.0, 120e-9, 300e-9), powers_db=(0.0, -7.0, -13.0), rician_k_db=8.0),
        receiver=Receiver(iq_gain_db=0.10, iq_phase_deg=0.6, leakage_db=-38.0, tilt_db=0.5),
        min_snr_db=18.0,
        max_snr_db=34.0,
    ),
    Location(
        name="LocD",
        multipath=Multipath(
            delays_s=(0.0, 150e-9, 400e-9, 700e-9), powers_db=(0.0, -5.0, -9.0, -14.0), rician_k_db=5.0
        ),
        receiver=Receiver(iq_gain_db=-0.20, iq_phase_deg=-1.2, leakage_db=-34.0, tilt_db=-0.9, cutoff_hz=240e3),
        min_snr_db=14.0,
        max_snr_db=30.0,
    ),
)
"""The four locations in the order of their names. LocD differs most from the others."""


def draw_echoes(multipath: Multipath, rng: np.random.Generator) -> Complexes:
    """Draw the constant part of the taps, shared by all packets of a location, complex [T]."""
    echoes_T = rotation(rng.uniform(0, 2 * np.pi, size=len(multipath.powers_db)))
    echoes_T *= 10 ** (np.array(multipath.powers_db) / 20)
    return echoes_T


def propagate(
    x_PS: Complexes, location: Location, echoes_T: Complexes, sample_rate_hz: float, rng: np.random.Generator
) -> Complexes:
    """Send packets through the location's channel and the receiver's filter; `rng` draws the fading."""
    multipath, receiver = location.multipath, location.receiver
    frequency_F = frequencies_hz(x_PS.shape[1], sample_rate_hz)
    # Rician fading: a constant part of k / (k + 1) of each tap's power, a complex normal part of 1 / (k + 1).
    k = 10 ** (multipath.rician_k_db / 10)
    fading_PT = _complex_normal(rng, (len(x_PS), len(echoes_T))) * np.abs(echoes_T)
    taps_PT = (np.sqrt(k) * echoes_T + fading_PT) / np.sqrt(k + 1)
    response_PF = np.zeros((len(x_PS), len(frequency_F)), dtype=np.complex128)
    for delay_s, tap_P in zip(multipath.delays_s, taps_PT.T, strict=True):
        # A delay is a phase slope in frequency, so echoes need not fall on samples.
        response_PF += tap_P[:, None] * rotation(-2 * np.pi * delay_s * frequency_F)
    return filtered(x_PS, response_PF * _passband(receiver, frequency_F))


def digitise(x_PS: Complexes, receiver: Receiver, snr_db_P: Reals, rng: np.random.Generator) -> Complexes:
    """Add noise, the receiver's image and offset, and round to the converter's steps; the RMS becomes 1/8."""
    power_P1 = np.mean(x_PS.real**2 + x_PS.imag**2, axis=1, keepdims=True)
    x_PS = x_PS / np.sqrt(power_P1)
    # The signal has power 1 here, so the noise's amplitude follows from the SNR alone.
    x_PS += _complex_normal(rng, x_PS.shape) * 10 ** (-snr_db_P[:, None] / 20)
    # The imbalance comes after the noise, because the mixer distorts both.
    skew = cmath.rect(10 ** (receiver.iq_gain_db / 20), math.radians(receiver.iq_phase_deg))
    offset = cmath.rect(10 ** (receiver.leakage_db / 20), math.pi / 4)
    x_PS = (1 + skew.conjugate()) / 2 * x_PS + (1 - skew) / 2 * x_PS.conj() + offset
    # Full scale is from -1 to 1. The signal is scaled to 1/8, so its peaks stay far from clipping.
    step = 2.0 ** (1 - receiver.adc_bits)
    digital_PS: Complexes = np.round(x_PS / (8 * step)) * step
    return digital_PS


def _passband(receiver: Receiver, frequency_F: Reals) -> Reals:
    tilt_F: Reals = 10 ** (receiver.tilt_db / 20 * frequency_F / 125e3)
    # A Butterworth filter of order n falls as 1 / sqrt(1 + (f / cutoff)^(2 n)); the order is 4.
    tilt_F /= np.sqrt(1 + (frequency_F / receiver.cutoff_hz) ** 8)
    return tilt_F


def _complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Complexes:
    """Draw circular complex normal numbers of unit variance."""
    normal = np.empty(shape, dtype=np.complex128)
    pairs = rng.standard_normal((*shape, 2)) * math.sqrt(0.5)
    normal.real, normal.imag = pairs[..., 0], pairs[..., 1]
    return normal
