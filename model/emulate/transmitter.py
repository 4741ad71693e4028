"""Transmitters of one model that differ by small tolerances of their hardware. No torch.

A device is a vector of standard scores, one for each trait of the hardware. Each session adds a drift to it, and each
packet a jitter. Both are shares of the spread between devices.

Letters: D devices, K traits, P packets, S samples.
"""

from dataclasses import dataclass, fields
from statistics import NormalDist

import numpy as np

from model.emulate.waveform import Complexes, LoraPreamble, Reals, filtered, frequencies_hz, rotation

RAPP_SMOOTHNESS = 2.0
"""Sharpness of the power amplifier's knee before saturation; 2 to 3 for solid-state amplifiers."""


@dataclass(frozen=True)
class Difficulty:
    """The difficulty of the emulated captures, all in one place.

    More `session_drift` lowers the scores at LocD, which is no place of training. More `packet_jitter` lowers every
    score, also those of held-out packets of LocA and LocB.
    """

    device_spread: float = 1.0
    """Factor on all differences between devices; at 0 they are identical, and every score is at chance."""
    session_drift: float = 0.28
    """Standard deviation of a device's drift from session to session, as a share of the spread between devices."""
    packet_jitter: float = 0.12
    """Standard deviation of a device's jitter from packet to packet, as a share of the spread between devices."""


@dataclass(frozen=True)
class Trait:
    """A constant of the hardware: its centre over the devices and its spread between them.

    A `relative` spread is a spread of the logarithm, so that the constant keeps its sign.
    """

    centre: float
    spread: float
    relative: bool = False

    def at(self, score_P: Reals) -> Reals:
        """Return the constant at these distances from its centre, in spreads, as a column [P, 1]."""
        if self.relative:
            return self.centre * np.exp(self.spread * score_P[:, None])
        return self.centre + self.spread * score_P[:, None]


@dataclass(frozen=True)
class DeviceModel:
    """The hardware that all devices share, and the spread of each constant between them.

    The spreads are the widest of cheap hardware. A network of some ten thousand parameters must find them within
    minutes on a CPU. Real radios are harder to tell apart.
    """

    ramp_time_s: Trait = Trait(20e-6, 0.7, relative=True)
    """Time constant of the power amplifier's switch-on ramp: O. Ureten and N. Serinken, "Wireless security through RF
    fingerprinting", Canadian Journal of Electrical and Computer Engineering 32 (1), 2007."""
    overshoot: Trait = Trait(0.25, 0.6, relative=True)
    """Amplitude of the ringing after switch-on, as a share of the settled amplitude: the step response of an
    under-damped second-order bias loop (K. Ogata, Modern Control Engineering, chapter 5)."""
    ringing_hz: Trait = Trait(8e3, 0.4, relative=True)
    """Frequency of the ringing."""
    ringing_decay_s: Trait = Trait(150e-6, 0.5, relative=True)
    """Time constant of the ringing's decay."""
    settling_offset_hz: Trait = Trait(0.0, 6500.0)
    """Carrier offset at switch-on, which the synthesiser removes: F. M. Gardner, Phaselock Techniques, chapter 5."""
    settling_time_s: Trait = Trait(200e-6, 0.4, relative=True)
    """Time constant of that removal, about the inverse of the loop's bandwidth."""
    linewidth_hz: Trait = Trait(6.0, 0.5, relative=True)
    """3 dB linewidth of the oscillator, whose phase is a Wiener process: A. Demir, A. Mehrotra and J. Roychowdhury,
    "Phase noise in oscillators", IEEE Transactions on Circuits and Systems I 47 (5), 2000."""
    iq_gain_db: Trait = Trait(0.0, 1.2)
    """Gain of the quadrature branch over the in-phase branch: M. Valkama, M. Renfors and V. Koivunen, "Advanced methods
    for I/Q imbalance compensation in communication receivers", IEEE Transactions on Signal Processing 49 (10), 2001."""
    iq_phase_deg: Trait = Trait(0.0, 6.0)
    """Deviation of the quadrature branch from a right angle, same source."""
    leakage_i: Trait = Trait(0.0, 0.06)
    """Leakage of the local oscillator, in-phase part, as a share of the amplitude: B. Razavi, RF Microelectronics,
    chapter 4."""
    leakage_q: Trait = Trait(0.0, 0.06)
    """Leakage of the local oscillator, quadrature part."""
    saturation: Trait = Trait(1.3, 0.1, relative=True)
    """Saturation amplitude of the power amplifier over the signal's: C. Rapp, "Effects of HPA-nonlinearity on a
    4-DPSK/OFDM-signal for a digital sound broadcasting system", Second European Conference on Satellite Communications,
    1991."""
    am_pm_deg: Trait = Trait(12.0, 6.0)
    """Phase that the power amplifier adds at full amplitude, less to a weaker signal: A. Saleh, "Frequency-independent
    and frequency-dependent nonlinear models of TWT amplifiers", IEEE Transactions on Communications 29 (11), 1981."""
    ripple: Trait = Trait(0.12, 0.5, relative=True)
    """Ripple of the transmit filter as a paired echo's amplitude: H. A. Wheeler, "The interpretation of amplitude and
    phase distortion in terms of paired echoes", Proceedings of the IRE 27 (6), 1939."""
    ripple_delay_s: Trait = Trait(7e-6, 0.2, relative=True)
    """Delay of that echo: one over the ripple's period in frequency."""
    ripple_phase_deg: Trait = Trait(0.0, 80.0)
    """Phase of that echo, which sets the place of the ripple's crests in the band."""


@dataclass(frozen=True)
class Oscillator:
    """The crystal: devices of a model differ by some parts per million, and each drifts with its temperature.

    Source: J. R. Vig, "Quartz crystal resonators and oscillators", tutorial, chapter 4.
    """

    device_spread_hz: float = 2000.0
    session_drift_hz: float = 300.0
    warm_up_hz: float = 60.0
    """Standard deviation of the warm-up drift at the first packet of a session."""
    warm_up_packets: float = 40.0
    packet_jitter_hz: float = 10.0


@dataclass(frozen=True)
class Hardware:
    """The constants of each packet's transmitter, one field for each trait of `DeviceModel`, each [P, 1]."""

    ramp_time_s: Reals
    overshoot: Reals
    ringing_hz: Reals
    ringing_decay_s: Reals
    settling_offset_hz: Reals
    settling_time_s: Reals
    linewidth_hz: Reals
    iq_gain_db: Reals
    iq_phase_deg: Reals
    leakage_i: Reals
    leakage_q: Reals
    saturation: Reals
    am_pm_deg: Reals
    ripple: Reals
    ripple_delay_s: Reals
    ripple_phase_deg: Reals


NUM_TRAITS = len(fields(DeviceModel))


def draw_devices(rng: np.random.Generator, num_devices: int) -> Reals:
    """Draw the standard scores of the devices, [D, K].

    Each trait is a Latin hypercube sample (M. D. McKay et al., Technometrics 21 (2), 1979). Its values always cover the
    whole spread. So every seed gives devices that are about equally hard to tell apart.
    """
    # One device a stratum of equal probability, in a random order for each trait.
    strata_DK = rng.permuted(np.tile(np.arange(num_devices)[:, None], NUM_TRAITS), axis=0)
    quantiles_DK = (strata_DK + rng.uniform(size=strata_DK.shape)) / num_devices
    scores = [NormalDist().inv_cdf(quantile) for quantile in quantiles_DK.flat]
    return np.array(scores).reshape(quantiles_DK.shape)


def hardware_at(score_PK: Reals, model: DeviceModel) -> Hardware:
    """Turn standard scores into the constants of the hardware."""
    traits = (getattr(model, field.name) for field in fields(DeviceModel))
    return Hardware(*(trait.at(score_P) for trait, score_P in zip(traits, score_PK.T, strict=True)))


@dataclass(frozen=True)
class Moment:
    """Start time and carrier of each packet; all [P]."""

    start_s: Reals
    """Time from the window's first sample to switch-on."""
    carrier_offset_hz: Reals
    phase_rad: Reals


def transmit(
    hardware: Hardware, moment: Moment, num_samples: int, sample_rate_hz: float, rng: np.random.Generator
) -> Complexes:
    """Send one preamble a packet, from switch-on to the end of the window; `rng` draws the phase noise.

    Returns:
        Packets, complex [P, S], at unit amplitude after settling.
    """
    # Before switch-on the time is 0, and so is the ramp's amplitude: nothing is sent.
    t_PS = np.maximum(np.arange(num_samples) / sample_rate_hz - moment.start_s[:, None], 0.0)
    drive_PS = _modulator(hardware, LoraPreamble().at(t_PS))
    # The order is that of the hardware: modulator, ramp, oscillator, amplifier, filter.
    drive_PS *= _switch_on(hardware, t_PS)
    power_PS = drive_PS.real**2 + drive_PS.imag**2
    phase_PS = _carrier_phase(hardware, moment, t_PS)
    phase_PS += _phase_noise(hardware, t_PS.shape, sample_rate_hz, rng)
    # The amplifier's phase depends on the power at its input (Saleh); at amplitude 1 the fraction is 1.
    phase_PS += np.deg2rad(hardware.am_pm_deg) * (2 * power_PS / (1 + power_PS))
    drive_PS *= rotation(phase_PS)
    # Rapp's model: linear for small amplitudes, at most `saturation` for large ones.
    drive_PS /= (1 + (power_PS / hardware.saturation**2) ** RAPP_SMOOTHNESS) ** (0.5 / RAPP_SMOOTHNESS)
    return _transmit_filter(hardware, drive_PS, sample_rate_hz)


def _modulator(hardware: Hardware, x_PS: Complexes) -> Complexes:
    """Add the image of the I/Q imbalance and the leakage of the local oscillator."""
    skew_P1 = rotation(np.deg2rad(hardware.iq_phase_deg)) * 10 ** (hardware.iq_gain_db / 20)
    image_P1 = (1 - skew_P1) / (1 + skew_P1)
    return x_PS + image_P1 * x_PS.conj() + (hardware.leakage_i + 1j * hardware.leakage_q)


def _switch_on(hardware: Hardware, t_PS: Reals) -> Reals:
    """Return the amplitude after switch-on: an exponential ramp with damped ringing on it."""
    ringing_PS = np.sin(2 * np.pi * hardware.ringing_hz * t_PS) * np.exp(-t_PS / hardware.ringing_decay_s)
    amplitude_PS: Reals = 1 - np.exp(-t_PS / hardware.ramp_time_s) + hardware.overshoot * ringing_PS
    return amplitude_PS


def _carrier_phase(hardware: Hardware, moment: Moment, t_PS: Reals) -> Reals:
    """Return the carrier's phase in radians: that of its offset and of the settling synthesiser."""
    settled_PS = 1 - np.exp(-t_PS / hardware.settling_time_s)
    # The integral over time of an offset that decays exponentially.
    settling_cycles_PS = hardware.settling_offset_hz * hardware.settling_time_s * settled_PS
    offset_cycles_PS = moment.carrier_offset_hz[:, None] * t_PS
    phase_PS: Reals = moment.phase_rad[:, None] + 2 * np.pi * (offset_cycles_PS + settling_cycles_PS)
    return phase_PS


def _phase_noise(hardware: Hardware, shape: tuple[int, ...], sample_rate_hz: float, rng: np.random.Generator) -> Reals:
    """Return a random walk of the phase in radians for each packet."""
    step_rad_P1 = np.sqrt(2 * np.pi * hardware.linewidth_hz / sample_rate_hz)
    return np.cumsum(rng.standard_normal(shape), axis=1) * step_rad_P1


def _transmit_filter(hardware: Hardware, x_PS: Complexes, sample_rate_hz: float) -> Complexes:
    cycles_PF = hardware.ripple_delay_s * frequencies_hz(x_PS.shape[1], sample_rate_hz)
    angle_PF = np.deg2rad(hardware.ripple_phase_deg) - 2 * np.pi * cycles_PF
    return filtered(x_PS, 1 + hardware.ripple * rotation(angle_PF))
