import numpy as np
import pytest

from model.emulate.waveform import PADDING_SAMPLES, LoraPreamble, filtered, frequencies_hz, rotation

RATE_HZ = 1e6


def test_a_preamble_repeats_its_chirp_and_sweeps_its_bandwidth() -> None:
    preamble = LoraPreamble()
    assert preamble.symbol_s == pytest.approx(1.024e-3)
    chirps_S = preamble.at(np.arange(2048)[None] / RATE_HZ)[0]
    np.testing.assert_allclose(chirps_S[:1024], chirps_S[1024:], atol=1e-9)
    frequency_hz = np.diff(np.unwrap(np.angle(chirps_S[:1024]))) * RATE_HZ / (2 * np.pi)
    assert frequency_hz[[0, -1]] == pytest.approx([-62.5e3, 62.5e3], rel=4e-3)


def test_filtering_by_a_delay_shifts_the_burst() -> None:
    burst = LoraPreamble().at(np.arange(200)[None] / RATE_HZ)
    delayed = filtered(burst, rotation(-2 * np.pi * 3 / RATE_HZ * frequencies_hz(200, RATE_HZ))[None])
    np.testing.assert_allclose(delayed[:, 3:], burst[:, :-3], atol=1e-9)
    assert np.abs(delayed[:, :3]).max() < 1e-9
    assert len(frequencies_hz(200, RATE_HZ)) == 200 + PADDING_SAMPLES
