"""Speed of reading batches of bursts from the disk's cache, against a copy of as many bytes in memory."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import h5py
import numpy as np

from benchmarks.timing import Row
from model.config import CaptureConfig
from model.data.batches import BurstSet
from model.data.captures import open_bursts

DEVICES, PACKETS, SAMPLES, BATCH_SIZE = 10, 256, 8192, 128
"""168 MB in float32: larger than a processor's caches, but quick to write."""
ROUNDS = 5
SETS = {
    "shard": "LocA.npy",
    "contiguous HDF5, float32": "contiguous.h5",
    "contiguous HDF5, float64": "double.h5",
    "HDF5 in chunks of one burst, uncompressed": "chunked.h5",
}


def write_sets(folder: Path) -> None:
    bursts = np.random.default_rng(0).standard_normal((DEVICES * PACKETS, 2 * SAMPLES), dtype=np.float32)
    np.save(folder / SETS["shard"], bursts.reshape(len(bursts), 2, SAMPLES))
    labels = np.repeat(np.arange(1.0, DEVICES + 1), PACKETS)[None]
    storages = {
        "contiguous.h5": {"dtype": "f4"},
        "double.h5": {"dtype": "f8"},
        "chunked.h5": {"dtype": "f4", "chunks": (1, 2 * SAMPLES)},
    }
    for name, storage in storages.items():
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("data", data=bursts, **storage)
            file["label"] = labels


def open_set(path: Path) -> BurstSet:
    """Open a set that is not kept in memory."""
    capture = CaptureConfig(path=path.name, devices=(0, DEVICES), packets=(0, PACKETS))
    part = open_bursts(path, capture, samples=SAMPLES, default_sample_rate_hz=1e6)
    return BurstSet((part,), {device: device for device in range(DEVICES)}, memory_bytes=0)


def gigabytes_per_second(epoch: Callable[[int], object]) -> float:
    """Return the median seconds over epochs, without the first, which only warms the caches."""
    seconds = []
    for number in range(ROUNDS + 1):
        started = time.perf_counter()
        epoch(number)
        seconds.append(time.perf_counter() - started)
    return DEVICES * PACKETS * 2 * SAMPLES * 4 / median(seconds[1:]) / 1e9


def copy_rate() -> float:
    """Copy as many bytes as an epoch has, batch by batch, each time into new memory."""
    bursts = np.ones((DEVICES * PACKETS, 2, SAMPLES), dtype=np.float32)

    def copy(_: int) -> None:
        for start in range(0, len(bursts), BATCH_SIZE):
            bursts[start : start + BATCH_SIZE].copy()

    return gigabytes_per_second(copy)


def read_rate(path: Path) -> float:
    bursts = open_set(path)

    def read(epoch: int) -> None:
        for batch in bursts.shuffled(BATCH_SIZE, seed=0, epoch=epoch):
            batch.class_B.sum()

    return gigabytes_per_second(read)


def bench_data() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        write_sets(Path(folder))
        copied = copy_rate()
        rates = {what: read_rate(Path(folder) / name) for what, name in SETS.items()}
    return [
        Row(
            f"shuffled batches of {BATCH_SIZE} bursts x {SAMPLES:,} samples: {what}",
            f"copying as many bytes within memory, {copied:.1f} GB/s",
            f"{rate / copied:.2f}, {rate:.2f} GB/s",
            "" if "chunks" in what else "at least 1 GB/s",
        )
        for what, rate in rates.items()
    ]
