"""Emulated captures follow from their seed alone, fit the layout, and differ in what their hardware does."""

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.config import CaptureConfig
from model.data.captures import open_bursts, read_bursts
from model.emulate.channel import LOCATIONS, Location, digitise, draw_echoes, propagate
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
from model.emulate.waveform import PADDING_SAMPLES, LoraPreamble, filtered, frequencies_hz, rotation
from model.studies.radio import data as emulate
from model.studies.radio.data import Emulation, emulate_packets, main, write_capture

LOC_A, LOC_D = 0, 3
SAMPLES = 256
RATE_HZ = 1e6
SAME_EVERY_PACKET = Difficulty(session_drift=0.0, packet_jitter=0.0)
CONVERTER_STEP = 2.0**-11
SAMPLES_OF_VERSION_1 = [220, 166, 103, 36, -50, -134]
"""Real parts 100 to 105 of LocA's first burst, in steps of the converter."""
CaptureReader = Callable[[Emulation], dict[str, NDArray[Any]]]


@pytest.fixture
def read_capture(tmp_path: Path) -> CaptureReader:
    def read(emulation: Emulation) -> dict[str, NDArray[Any]]:
        path = tmp_path / "LocA.h5"
        write_capture(path, emulation, LOC_A)
        with h5py.File(path) as file:
            return {name: dataset[()] for name, dataset in file.items()} | dict(file.attrs)

    return read


def small(**change: Any) -> Emulation:
    return dataclasses.replace(Emulation(num_packets=2, num_samples=SAMPLES), **change)


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


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_capture(tmp_path / name / "LocA.h5", small(), LOC_A)
    first, second = ((tmp_path / name / "LocA.h5").read_bytes() for name in ("one", "two"))
    assert first == second


def test_another_seed_gives_other_bursts(read_capture: CaptureReader) -> None:
    assert (read_capture(small())["data"] != read_capture(small(seed=2))["data"]).mean() > 0.9


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), fewer=st.integers(1, 45), more=st.integers(1, 45))
def test_more_packets_keep_the_earlier_ones(seed: int, fewer: int, more: int) -> None:
    def packets(number: int) -> NDArray[np.complex128]:
        emulation = Emulation(seed=seed, num_packets=number, num_samples=65)
        return np.concatenate([block.x_PS for block in emulate_packets(emulation, LOC_D, 3)])

    assert len(packets(fewer)) == fewer
    np.testing.assert_array_equal(packets(fewer + more)[:fewer], packets(fewer))


def test_version_1_gives_the_bursts_it_always_gave(read_capture: CaptureReader) -> None:
    # Other numbers here mean that `VERSION` has to be raised: somebody may have results on the old captures.
    assert emulate.VERSION == 1
    data = read_capture(small(num_packets=1))["data"]
    np.testing.assert_allclose(data[0, 100:106] / CONVERTER_STEP, SAMPLES_OF_VERSION_1, atol=1.5)


def test_a_capture_has_the_layout_of_real_ones(read_capture: CaptureReader) -> None:
    capture = read_capture(small(num_packets=3))
    assert capture["data"].shape == (30, 2 * SAMPLES)
    assert capture["data"].dtype == np.float32
    assert capture["label"].shape == capture["SNR"].shape == capture["CFO"].shape == (1, 30)
    np.testing.assert_array_equal(capture["label"][0], np.repeat(np.arange(1, 11), 3))


def test_a_capture_says_that_it_is_emulated(read_capture: CaptureReader) -> None:
    capture = read_capture(small(seed=7))
    assert capture["emulated"] == "knockout"
    assert (capture["seed"], capture["version"], capture["sample_rate"]) == (7, emulate.VERSION, 1e6)


def test_the_capture_reader_reads_what_the_emulator_made(tmp_path: Path) -> None:
    emulation = small(num_packets=3)
    write_capture(tmp_path / "LocD.h5", emulation, LOC_D)
    config = CaptureConfig(path="LocD.h5", devices=(4, 6), packets=(1, 3))
    bursts = open_bursts(tmp_path / "LocD.h5", config, samples=100, default_sample_rate_hz=1.0)
    (block,) = emulate_packets(emulation, LOC_D, 5)
    iq_2S = read_bursts(bursts, np.array([3]))[0]
    assert bursts.sample_rate_hz == 1e6
    np.testing.assert_array_equal(iq_2S[0] + 1j * iq_2S[1], block.x_PS[2, :100])


def test_recorded_snr_lies_in_the_range_of_the_location(read_capture: CaptureReader) -> None:
    snr_db = read_capture(small(num_packets=20))["SNR"]
    assert LOCATIONS[LOC_A].min_snr_db <= snr_db.min() < snr_db.max() <= LOCATIONS[LOC_A].max_snr_db


def test_the_carrier_offset_of_a_device_changes_between_locations() -> None:
    def offsets_hz(location: int) -> NDArray[np.float64]:
        blocks = [next(emulate_packets(small(), location, device)) for device in range(10)]
        return np.array([block.removed_hz_P.mean() for block in blocks])

    between_devices_hz = offsets_hz(LOC_A).std()
    between_locations_hz = (offsets_hz(LOC_D) - offsets_hz(LOC_A)).std()
    assert 100 < between_locations_hz < between_devices_hz


def test_the_location_with_the_weakest_signal_is_the_one_reported() -> None:
    assert [place.name for place in LOCATIONS] == ["LocA", "LocB", "LocC", "LocD"]
    assert min(LOCATIONS, key=lambda place: place.min_snr_db).name == "LocD"


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


def test_a_preamble_repeats_its_chirp_and_sweeps_its_bandwidth() -> None:
    preamble = LoraPreamble()
    assert preamble.symbol_s == pytest.approx(1.024e-3)
    chirps_S = preamble.at(np.arange(2048)[None] / RATE_HZ)[0]
    np.testing.assert_allclose(chirps_S[:1024], chirps_S[1024:], atol=1e-9)
    frequency_hz = np.diff(np.unwrap(np.angle(chirps_S[:1024]))) * RATE_HZ / (2 * np.pi)
    assert frequency_hz[[0, -1]] == pytest.approx([-62.5e3, 62.5e3], rel=4e-3)


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


def test_filtering_by_a_delay_shifts_the_burst() -> None:
    burst = LoraPreamble().at(np.arange(200)[None] / RATE_HZ)
    delayed = filtered(burst, rotation(-2 * np.pi * 3 / RATE_HZ * frequencies_hz(200, RATE_HZ))[None])
    np.testing.assert_allclose(delayed[:, 3:], burst[:, :-3], atol=1e-9)
    assert np.abs(delayed[:, :3]).max() < 1e-9
    assert len(frequencies_hz(200, RATE_HZ)) == 200 + PADDING_SAMPLES


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
    clean = send(ideal_hardware())[:, 1:]
    noisy = digitise(clean, receiver, np.array([10.0]), np.random.default_rng(0)) * 8
    assert np.mean(np.abs(noisy - clean) ** 2) == pytest.approx(0.1, rel=0.1)


def test_samples_lie_on_the_steps_of_the_converter() -> None:
    (block,) = emulate_packets(small(), LOC_A, 0)
    steps = block.x_PS.real / CONVERTER_STEP
    np.testing.assert_array_equal(steps, np.round(steps))
    assert 0.05 < np.abs(block.x_PS).max() < 1.0


def test_bursts_of_one_device_are_more_alike_than_those_of_two() -> None:
    """Envelopes do not depend on the carrier's phase; the nearest mean envelope tells most devices."""
    emulation = Emulation(num_packets=20, num_samples=512, difficulty=SAME_EVERY_PACKET)
    envelopes = np.stack([np.abs(next(emulate_packets(emulation, LOC_A, device)).x_PS) for device in range(10)])
    means = envelopes[:, :10].mean(axis=1)
    distances = np.linalg.norm(envelopes[:, 10:, None] - means, axis=-1)
    assert (distances.argmin(-1) == np.arange(10)[:, None]).mean() > 0.9


def test_a_capture_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "LocA.h5"
    path.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(emulate, "_fill_capture", fail)
    with pytest.raises(OSError, match="disk full"):
        write_capture(path, small(), LOC_A)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_writes_four_captures_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    main(["--folder", str(folder), "--seed", "3", "--packets", "2", "--samples", "64"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(folder / f"Loc{letter}.h5") for letter in "ABCD"]
    assert lines[0].endswith("10 emulated devices x 2 packets of 64 samples")
    assert sorted(path.name for path in folder.iterdir()) == ["LocA.h5", "LocB.h5", "LocC.h5", "LocD.h5"]


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("--seed", "-1", "0 to 9223372036854775807"),
        ("--seed", "9223372036854775808", "0 to 9223372036854775807"),
        ("--packets", "0", "1 to 1000000"),
        ("--packets", "1.5", "1 to 1000000"),
        ("--samples", "63", "64 to 1000000"),
        ("--samples", "many", "64 to 1000000"),
    ],
)
def test_the_command_refuses_wrong_numbers(
    capsys: pytest.CaptureFixture[str], option: str, value: str, limits: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--folder", "x", f"{option}={value}"])
    assert f"argument {option}: `{value}` is not a whole number from {limits}" in capsys.readouterr().err


def test_the_command_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "required: --folder" in capsys.readouterr().err


def test_the_command_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--folder", str(tmp_path / "file" / "deeper"), "--packets", "1", "--samples", "64"]) == 2
    said = capsys.readouterr().err
    assert (
        said
        == f"model.studies.radio.data: {tmp_path / 'file' / 'deeper' / 'LocA.h5'} cannot be written: Not a directory\n"
    )


def test_a_file_that_the_disk_does_not_hold_is_told_and_not_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: the system refuses to let the file grow."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from model.studies.radio.data import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, "--folder", str(tmp_path), "--packets", "20", "--samples", "64"]
    assert subprocess.run(words, check=False).returncode == 2
    assert (
        capfd.readouterr().err
        == f"model.studies.radio.data: {tmp_path / 'LocA.h5'} cannot be written: File too large\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_disk_holds_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path / "new"), "--packets", "1000000", "--samples", "1000000"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"model\.data\.emulate: {tmp_path}/new cannot be written: 320000\.6 GB are needed, [\d.]+ GB are free; "
        r"ask for less, or free some\n",
        said,
    )
    assert not (tmp_path / "new").exists()


def test_files_that_are_replaced_make_room_for_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--folder", str(tmp_path), "--packets", "2", "--samples", "64"]
    assert main(words) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    assert main(words) == 0
    assert main([*words[:-1], "128"]) == 2


def test_files_that_are_there_are_kept_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "LocB.h5").write_bytes(b"a month of work")
    (tmp_path / "LocC.h5").symlink_to("gone")
    assert main(["--folder", str(tmp_path), "--packets", "2", "--samples", "64", "--keep"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(tmp_path / name) for name in ("LocA.h5", "LocD.h5")
    ]
    assert (tmp_path / "LocB.h5").read_bytes() == b"a month of work"
    assert not (tmp_path / "gone").exists()


def test_emulating_and_reading_need_no_torch() -> None:
    program = "import sys, model.studies.radio.data, model.data.captures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
