"""Emulated captures follow from their seed alone, fit the layout, and differ in what their hardware does."""

import dataclasses
import os
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
from model.emulate.channel import LOCATIONS
from model.emulate.transmitter import (
    Difficulty,
)
from model.studies.radio import data as emulate
from model.studies.radio.data import Emulation, emulate_packets, main, write_capture, write_captures

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
        rf"model\.studies\.radio\.data: {tmp_path}/new cannot be written: 320000\.6 GB are needed, [\d.]+ GB are free; "
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


def test_captures_of_several_processes_have_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    found = []
    for name, least_bytes in (("one", 2**40), ("several", 0)):
        monkeypatch.setattr(emulate, "PARALLEL_BYTES", least_bytes)
        path_of = {location: tmp_path / name / f"{location}.h5" for location in (LOC_D, LOC_A)}
        assert list(write_captures(small(), path_of)) == list(path_of.values())
        found.append([path.read_bytes() for path in path_of.values()])
    assert found[0] == found[1]


def test_a_failure_of_one_of_several_processes_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(emulate, "PARALLEL_BYTES", 0)
    (tmp_path / "LocC.h5").mkdir()
    assert main(["--folder", str(tmp_path), "--packets", "2", "--samples", "64"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"model.studies.radio.data: {tmp_path}/LocC.h5 cannot be written: ")
    assert len(said.out.splitlines()) == 2


def test_emulating_and_reading_need_no_torch() -> None:
    program = "import sys, model.studies.radio.data, model.data.captures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
