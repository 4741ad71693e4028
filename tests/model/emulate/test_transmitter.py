import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.emulate.transmitter import (
    NUM_TRAITS,
    DeviceModel,
    Difficulty,
    Hardware,
    Moment,
    Trait,
    draw_devices,
    hardware_at,
    transmit,
)
from model.emulate.waveform import LoraPreamble

RATE_HZ = 1e6


def ideal_hardware(num_packets: int = 1, **change: float) -> Hardware:
    """A transmitter without any imperfection, but for those given."""
    silent = dict.fromkeys((field.name for field in dataclasses.fields(Hardware)), 0.0)
    times = {"ramp_time_s": 1e-12, "ringing_decay_s": 1e-12, "settling_time_s": 1e-12}
    values = silent | times | {"saturation": 1e6} | change
    return Hardware(**{name: np.full((num_packets, 1), value) for name, value in values.items()})


def at_once(num_packets: int = 1, carrier_offset_hz: float = 0.0, start_s: float = 0.0) -> Moment:
    columns = (np.full(num_packets, value) for value in (start_s, carrier_offset_hz, 0.0))
    return Moment(*columns)


def send(hardware: Hardware, moment: Moment | None = None, num_samples: int = 1024) -> NDArray[np.complex128]:
    moment = moment or at_once(len(hardware.saturation))
    return transmit(hardware, moment, num_samples, RATE_HZ, np.random.default_rng(0))


def test_without_spread_devices_are_identical() -> None:
    scores_DK = draw_devices(np.random.default_rng(0), 10)
    hardware = hardware_at(0.0 * scores_DK, DeviceModel())
    for field in dataclasses.fields(Hardware):
        assert np.ptp(getattr(hardware, field.name)) == 0.0


def test_devices_differ_more_than_the_packets_of_one() -> None:
    difficulty = Difficulty()
    assert difficulty.packet_jitter < difficulty.session_drift < 1.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), num_devices=st.integers(2, 30))
def test_the_scores_of_a_trait_cover_its_spread(seed: int, num_devices: int) -> None:
    scores_DK = draw_devices(np.random.default_rng(seed), num_devices)
    assert scores_DK.shape == (num_devices, NUM_TRAITS)
    medians_K = np.sort(scores_DK, axis=0)
    # One value in each stratum: half of them below the median, whatever the seed.
    assert np.all(medians_K[: num_devices // 2] <= 0)
    assert np.all(medians_K[(num_devices + 1) // 2 :] >= 0)


def test_a_relative_trait_keeps_its_sign() -> None:
    values = Trait(2.0, 3.0, relative=True).at(np.array([-5.0, 0.0, 5.0]))
    assert values.shape == (3, 1)
    assert values[1, 0] == 2.0
    assert values.min() > 0


def test_every_trait_of_the_model_changes_the_signal() -> None:
    scores_1K = np.full((1, NUM_TRAITS), 0.5)
    reference = send(hardware_at(scores_1K, DeviceModel()))
    for trait, field in enumerate(dataclasses.fields(DeviceModel)):
        changed_1K = scores_1K.copy()
        changed_1K[0, trait] = 1.5
        change = np.abs(send(hardware_at(changed_1K, DeviceModel())) - reference).max()
        assert change > 1e-3, f"{field.name} has no effect"


def test_an_ideal_transmitter_sends_the_preamble_alone() -> None:
    t_S = np.arange(2048) / RATE_HZ
    sent = send(ideal_hardware(), num_samples=2048)[0]
    np.testing.assert_allclose(sent[1:], LoraPreamble().at(t_S[None])[0, 1:], atol=1e-9)


def test_nothing_is_sent_before_switch_on() -> None:
    sent = send(ideal_hardware(ramp_time_s=20e-6), at_once(start_s=8e-6))[0]
    amplitude = np.abs(sent)
    assert amplitude[:8].max() < 1e-9
    assert amplitude[28] == pytest.approx(1 - np.exp(-1), abs=1e-3)
    assert amplitude[-100:].min() > 0.99


def test_the_synthesiser_settles_on_the_carrier() -> None:
    hardware = ideal_hardware(settling_offset_hz=5000.0, settling_time_s=100e-6)
    baseband = send(hardware)[0, 1:] / send(ideal_hardware())[0, 1:]
    frequency_hz = np.diff(np.unwrap(np.angle(baseband))) * RATE_HZ / (2 * np.pi)
    assert frequency_hz[[0, 99, 900]] == pytest.approx(5000 * np.exp([-0.015, -1.005, -9.015]), abs=1.0)


def test_the_carrier_offset_turns_the_signal() -> None:
    turned = send(ideal_hardware(), at_once(carrier_offset_hz=1000.0))[0, 1:] / send(ideal_hardware())[0, 1:]
    assert np.angle(turned[250] / turned[0]) == pytest.approx(np.pi / 2)


def test_gain_imbalance_makes_the_image_that_theory_says() -> None:
    gain = 10 ** (1.0 / 20)
    clean = send(ideal_hardware())[0, 1:]
    skewed = send(ideal_hardware(iq_gain_db=1.0))[0, 1:]
    expected = (1 - gain) / (1 + gain)
    np.testing.assert_allclose(skewed - clean, expected * clean.conj(), atol=1e-9)


def test_a_saturated_amplifier_gives_at_most_its_saturation() -> None:
    assert np.abs(send(ideal_hardware(saturation=0.5))).max() < 0.5
    assert np.abs(send(ideal_hardware(saturation=0.5)))[0, -1] > 0.45


def test_phase_noise_walks_as_fast_as_its_linewidth_says() -> None:
    linewidth_hz, num_packets = 10.0, 400
    noisy = send(ideal_hardware(num_packets, linewidth_hz=linewidth_hz))
    walk = np.angle(noisy[:, 1001] / noisy[:, 1] * (send(ideal_hardware())[0, 1] / send(ideal_hardware())[0, 1001]))
    assert walk.var() == pytest.approx(2 * np.pi * linewidth_hz * 1000 / RATE_HZ, rel=0.25)
