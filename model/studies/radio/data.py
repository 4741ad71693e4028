"""Write emulated captures `LocA.h5` to `LocD.h5` in the layout of `model.data.captures`. No torch.

    python -m model.studies.radio.data --folder data

Ten LoRa transmitters of one model (`model.emulate.transmitter`) are captured at four locations
(`model.emulate.channel`). A seed determines the captures. They show that the pipeline works, not how well radios can be
told apart.

Letters: K traits, P packets, S samples.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from model.data.disk_space import explain, require_space
from model.emulate.channel import LOCATIONS, Location, digitise, draw_echoes, propagate
from model.emulate.transmitter import (
    NUM_TRAITS,
    DeviceModel,
    Difficulty,
    Moment,
    Oscillator,
    draw_devices,
    hardware_at,
    transmit,
)
from model.emulate.waveform import Complexes, Reals

VERSION = 1
"""Version of the captures; every change that gives other bytes for the same seed raises it."""

NUM_DEVICES = 10

MIN_SAMPLES = 64
"""Least samples of a packet; fewer would hold little more than the switch-on ramp."""

MAX_SEED = 2**63 - 1
"""The largest integer that an HDF5 attribute can hold."""

BLOCK_PACKETS = 20
"""Packets computed at a time. The number is fixed, so that a packet's bits never depend on how many are written."""


class Stream(IntEnum):
    """Purposes of random numbers. Each has its own stream, so that more draws of one change no other."""

    DEVICES = 0
    ECHOES = 1
    SESSION = 2
    PACKETS = 3
    PHASE_NOISE = 4
    FADING = 5
    NOISE = 6


PACKET_STREAMS = (Stream.PACKETS, Stream.PHASE_NOISE, Stream.FADING, Stream.NOISE)


@dataclass(frozen=True)
class Emulation:
    """The settings of an emulation; with `LOCATIONS` they determine the files."""

    seed: int = 1
    num_packets: int = 100
    """Packets of each device at each location."""
    num_samples: int = 8192
    sample_rate_hz: float = 1e6
    start_s: float = 8e-6
    """Time from the window's first sample to switch-on."""
    start_jitter_s: float = 0.5e-6
    """Standard deviation of the receiver's error in finding the packet."""
    difficulty: Difficulty = field(default_factory=Difficulty)
    device_model: DeviceModel = field(default_factory=DeviceModel)
    oscillator: Oscillator = field(default_factory=Oscillator)

    @property
    def num_bytes(self) -> int:
        """Return the bytes of one location's file, without part of its head."""
        rows = NUM_DEVICES * self.num_packets
        return rows * (2 * self.num_samples * 4 + 8 + 4 + 4)

    def stream(self, purpose: Stream, *key: int) -> np.random.Generator:
        """Return the random numbers of one purpose, location and device."""
        # Each purpose has numbers of its own: more draws of noise leave the devices as they are.
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(purpose, *key)))


@dataclass(frozen=True)
class Session:
    """One device at one location: the values that all its packets there share."""

    location: Location
    echoes_T: Complexes
    score_K: Reals
    """Standard scores of the hardware in this session."""
    carrier_hz: float
    warm_up_hz: float


@dataclass(frozen=True)
class Block:
    """Consecutive packets of one device at one location, in the file's order."""

    x_PS: Complexes
    snr_db_P: Reals
    removed_hz_P: Reals
    """Carrier offset in Hz that the receiver removed."""


def emulate_packets(emulation: Emulation, location: int, device: int) -> Iterator[Block]:
    """Emulate the packets of one device at one location, in blocks of at most `BLOCK_PACKETS`.

    Args:
        emulation: the settings.
        location: position in `LOCATIONS`.
        device: the transmitter, counted from 0.
    """
    session = _begin_session(emulation, location, device)
    streams = {purpose: emulation.stream(purpose, location, device) for purpose in PACKET_STREAMS}
    for first in range(0, emulation.num_packets, BLOCK_PACKETS):
        # A whole block is drawn and then cut. So the first packets stay the same if more are asked for.
        block = _emulate_block(emulation, session, streams, first)
        kept = emulation.num_packets - first
        yield Block(block.x_PS[:kept], block.snr_db_P[:kept], block.removed_hz_P[:kept])


def write_capture(path: Path, emulation: Emulation, location: int) -> None:
    """Write the capture of one location, atomically; the same emulation gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        # HDF5 crashes the process if the disk fills up while it writes, so the space is reserved first.
        with unfinished.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, emulation.num_bytes)
        with h5py.File(unfinished, "w", libver="earliest") as file:
            _fill_capture(file, emulation, location)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)


PARALLEL_BYTES = 2**28
"""From this size on, several processes make captures. For less, their start would take longer than the work."""


def write_captures(emulation: Emulation, path_of: Mapping[int, Path]) -> Iterator[Path]:
    """Write captures, and yield each path once its file is there; several at a time if they are large.

    Args:
        emulation: the settings.
        path_of: position in `LOCATIONS` -> path of the file.

    Raises:
        OSError: a file cannot be written.
    """
    num_processes = min(len(path_of), len(os.sched_getaffinity(0)))
    if num_processes < 2 or len(path_of) * emulation.num_bytes < PARALLEL_BYTES:
        for location, path in path_of.items():
            write_capture(path, emulation, location)
            yield path
        return
    # Processes that are spawned, because a fork of a process with threads may hang.
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(write_capture, path, emulation, location) for location, path in path_of.items()]
        for task, path in zip(tasks, path_of.values(), strict=True):
            task.result()
            yield path


def _begin_session(emulation: Emulation, location: int, device: int) -> Session:
    difficulty, oscillator = emulation.difficulty, emulation.oscillator
    devices = emulation.stream(Stream.DEVICES)
    # All devices are drawn each time, so that a device has the same hardware at every location.
    score_K = draw_devices(devices, NUM_DEVICES)[device]
    device_hz = oscillator.device_spread_hz * devices.standard_normal(NUM_DEVICES)[device]
    drift = emulation.stream(Stream.SESSION, location, device)
    drift_hz, warm_up_hz = drift.standard_normal(2) * (oscillator.session_drift_hz, oscillator.warm_up_hz)
    return Session(
        location=LOCATIONS[location],
        echoes_T=draw_echoes(LOCATIONS[location].multipath, emulation.stream(Stream.ECHOES, location)),
        score_K=score_K + difficulty.session_drift * drift.standard_normal(NUM_TRAITS),
        carrier_hz=float(device_hz + drift_hz),
        warm_up_hz=float(warm_up_hz),
    )


def _emulate_block(
    emulation: Emulation, session: Session, streams: dict[Stream, np.random.Generator], first_packet: int
) -> Block:
    packets = streams[Stream.PACKETS]
    difficulty, rate_hz = emulation.difficulty, emulation.sample_rate_hz
    place = session.location
    jitter_PK = difficulty.packet_jitter * packets.standard_normal((BLOCK_PACKETS, NUM_TRAITS))
    hardware = hardware_at(difficulty.device_spread * (session.score_K + jitter_PK), emulation.device_model)
    carrier_hz_P = _carrier_offsets(emulation.oscillator, session, packets, first_packet)
    grid_hz = place.receiver.carrier_grid_hz
    removed_hz_P = grid_hz * np.rint(carrier_hz_P / grid_hz)
    moment = Moment(
        start_s=emulation.start_s + emulation.start_jitter_s * packets.standard_normal(BLOCK_PACKETS),
        carrier_offset_hz=carrier_hz_P - removed_hz_P,
        phase_rad=packets.uniform(0, 2 * np.pi, size=BLOCK_PACKETS),
    )
    snr_db_P = packets.uniform(place.min_snr_db, place.max_snr_db, size=BLOCK_PACKETS)
    x_PS = transmit(hardware, moment, emulation.num_samples, rate_hz, streams[Stream.PHASE_NOISE])
    x_PS = propagate(x_PS, place, session.echoes_T, rate_hz, streams[Stream.FADING])
    x_PS = digitise(x_PS, place.receiver, snr_db_P, streams[Stream.NOISE])
    return Block(x_PS, snr_db_P, removed_hz_P)


def _carrier_offsets(oscillator: Oscillator, session: Session, rng: np.random.Generator, first_packet: int) -> Reals:
    """Return each packet's carrier offset in Hz: the session's, the rest of the warm-up, and jitter."""
    packet_P = np.arange(first_packet, first_packet + BLOCK_PACKETS)
    warm_up_hz_P = session.warm_up_hz * np.exp(-packet_P / oscillator.warm_up_packets)
    jitter_hz_P = oscillator.packet_jitter_hz * rng.standard_normal(BLOCK_PACKETS)
    return session.carrier_hz + warm_up_hz_P + jitter_hz_P


def _fill_capture(file: Any, emulation: Emulation, location: int) -> None:
    """Fill an HDF5 file open for writing. h5py has no types, hence Any."""
    num_rows, num_samples = NUM_DEVICES * emulation.num_packets, emulation.num_samples
    file.attrs["emulated"] = "knockout"
    file.attrs["version"] = VERSION
    file.attrs["seed"] = emulation.seed
    file.attrs["sample_rate"] = emulation.sample_rate_hz
    labels = np.repeat(np.arange(1.0, NUM_DEVICES + 1), emulation.num_packets)
    # Without creation times, so that only the seed determines the bytes.
    file.create_dataset("label", data=labels[None], track_times=False)
    data = file.create_dataset("data", (num_rows, 2 * num_samples), dtype="<f4", track_times=False)
    snr_db_N, removed_hz_N = np.empty((2, num_rows), dtype=np.float32)
    row = 0
    for device in range(NUM_DEVICES):
        for block in emulate_packets(emulation, location, device):
            rows = slice(row, row + len(block.x_PS))
            data[rows] = np.concatenate([block.x_PS.real, block.x_PS.imag], axis=1)
            snr_db_N[rows], removed_hz_N[rows] = block.snr_db_P, block.removed_hz_P
            row = rows.stop
    file.create_dataset("SNR", data=snr_db_N[None], track_times=False)
    file.create_dataset("CFO", data=removed_hz_N[None], track_times=False)


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of an argument: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"`{text}` is not a whole number from {least} to {most}")
        return int(text)

    return parse


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.studies.radio.data",
        description="Write captures of emulated transmitters; the same arguments give the same bytes.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="folder of LocA.h5 to LocD.h5")
    seed, packets, samples = _whole_number(0, MAX_SEED), _whole_number(1, 10**6), _whole_number(MIN_SAMPLES, 10**6)
    parser.add_argument("--seed", type=seed, default=1, help="seed of all random numbers (%(default)s)")
    parser.add_argument("--packets", type=packets, default=100, help="packets a device and location (%(default)s)")
    parser.add_argument("--samples", type=samples, default=8192, help="samples of each packet (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep files that exist already")
    return parser


class NotWrittenError(Exception):
    """A capture that cannot be written; the text is a sentence that names it."""


def make_captures(folder: Path, emulation: Emulation, *, keep: bool, tell: Callable[[str], object]) -> None:
    """Write the captures of all locations into a folder, and tell a line for each that is written.

    Args:
        folder: for the captures; a missing one is created.
        emulation: the settings.
        keep: whether existing files stay.
        tell: takes the lines.

    Raises:
        NotWrittenError: a file cannot be written.
    """
    paths = [folder / f"{place.name}.h5" for place in LOCATIONS]
    path = folder
    try:
        wanted = [path for path in paths if not (keep and os.path.lexists(path))]
        require_space(folder, len(wanted) * emulation.num_bytes, sum(map(_size, wanted)))
        written = write_captures(emulation, {paths.index(path): path for path in wanted})
        for path in wanted:
            next(written)
            tell(
                f"{path}: {NUM_DEVICES} emulated devices x {emulation.num_packets} packets of "
                f"{emulation.num_samples} samples"
            )
    except (OSError, RuntimeError) as error:
        # h5py raises either one when the disk is full.
        raise NotWrittenError(f"{path} cannot be written: {explain(error)}") from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the captures of all locations and print their names; return 2 after a sentence about a failure, else 0."""
    chosen = _build_parser().parse_args(arguments)
    emulation = Emulation(seed=chosen.seed, num_packets=chosen.packets, num_samples=chosen.samples)
    try:
        make_captures(chosen.folder, emulation, keep=chosen.keep, tell=print)
    except NotWrittenError as error:
        print(f"model.studies.radio.data: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
