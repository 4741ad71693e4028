import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from model.emulate.channel import LOCATIONS, Location, digitise, draw_echoes, propagate
from model.emulate.waveform import LoraPreamble

LOC_A, LOC_D = 0, 3
SAMPLES = 256


RATE_HZ = 1e6


def test_the_location_with_the_weakest_signal_is_the_one_reported() -> None:
    assert [place.name for place in LOCATIONS] == ["LocA", "LocB", "LocC", "LocD"]
    assert min(LOCATIONS, key=lambda place: place.min_snr_db).name == "LocD"


def channel_gain(place: Location, num_packets: int) -> NDArray[np.complex128]:
    """What the channel does to a carrier in the middle of the band, for each packet."""
    stream = np.random.default_rng(1)
    echoes_T = draw_echoes(place.multipath, stream)
    carrier_PS = np.ones((num_packets, SAMPLES), dtype=np.complex128)
    return propagate(carrier_PS, place, echoes_T, RATE_HZ, stream)[:, SAMPLES // 2]


def test_the_channel_fades_from_packet_to_packet_and_more_at_locd() -> None:
    def fading(location: int) -> float:
        gain_P = channel_gain(LOCATIONS[location], 300)
        return float(gain_P.std() / np.abs(gain_P.mean()))

    assert 0.05 < fading(LOC_A) < fading(LOC_D)


def test_noise_is_as_strong_as_recorded() -> None:
    receiver = dataclasses.replace(
        LOCATIONS[LOC_A].receiver, iq_gain_db=0.0, iq_phase_deg=0.0, leakage_db=-300.0, adc_bits=30
    )
    clean = LoraPreamble().at(np.arange(1024)[None] / RATE_HZ)
    noisy = digitise(clean, receiver, np.array([10.0]), np.random.default_rng(0)) * 8
    assert np.mean(np.abs(noisy - clean) ** 2) == pytest.approx(0.1, rel=0.1)
