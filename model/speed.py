"""Time a few epochs on noise on this machine, the whole way from files to checkpoint.

`python -m model.speed --epochs 10` reads a job's configuration from its standard input. It trains on shards of noise of
the same shape, in a temporary folder, and prints a `Speed` as JSON.

Letters: N bursts of a capture, S samples.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from model.config import CaptureConfig, DataConfig, JobConfig, decode_job, encode_run
from model.studies.radio.study import RadioStudy
from model.train.device import JobError, choose_device
from model.train.job import run_job
from model.train.run_folder import RunFolder

BLOCK_BURSTS = 256


class Speed(Struct, frozen=True, kw_only=True):
    """The times of the epochs; the first one includes compiling."""

    device: str
    epoch_seconds: tuple[float, ...]
    data_seconds: tuple[float | None, ...]
    """Seconds of each epoch spent waiting for batches."""
    skipped_steps: int
    peak_memory_bytes: int


def measure(config: JobConfig, epochs: int, device_name: str, folder: Path) -> Speed:
    """Train a configuration for some epochs on noise, in an empty folder.

    Raises:
        JobError: the machine cannot do what the configuration asks, or the loss was not finite.
    """
    data = write_noise(config.data, folder)
    # Noise has no pattern to learn, so patience must not end the run early.
    # Fewer epochs than the mean takes would be refused, and noise has no score worth averaging.
    optim = msgspec.structs.replace(config.optim, epochs=epochs, early_stopping=epochs, average_last=0)
    run = RunFolder(folder / "run")
    run.path.mkdir()
    run.config.write_bytes(encode_run(msgspec.structs.replace(config, data=data, optim=optim)))
    device = choose_device(device_name)
    told: list[str] = []
    if run_job(RadioStudy, run, folder, device.type, told.append) != 0:
        result = run.read_result()
        raise JobError(f"the training ended early: {result.reason if result else told[-1]}")
    records = run.read_epochs()
    return Speed(
        device=device.type,
        epoch_seconds=tuple(record.seconds for record in records),
        data_seconds=tuple(record.data_seconds for record in records),
        skipped_steps=sum(record.skipped_steps for record in records),
        peak_memory_bytes=max(record.peak_memory_bytes for record in records),
    )


def write_noise(data: DataConfig, folder: Path) -> DataConfig:
    """Write a shard of noise for each capture; return the same data as shards."""
    rng = np.random.default_rng(0)
    captures: dict[str, CaptureConfig] = {}
    for name, capture in data.captures.items():
        captures[name] = msgspec.structs.replace(capture, path=f"{name}.npy")
        bursts = math.prod(stop - start for start, stop in (capture.devices, capture.packets))
        shape = (bursts, 2, data.samples)
        shard_N2S = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, bursts, BLOCK_BURSTS):
            block = shard_N2S[start : start + BLOCK_BURSTS]
            block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    return msgspec.structs.replace(data, layout="shards", captures=captures)


def main(arguments: list[str] | None = None) -> int:
    """Print the speed; return 2 after a sentence if the machine cannot do it, else 0."""
    parser = argparse.ArgumentParser(prog="python -m model.speed", description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(arguments)
    config = decode_job(sys.stdin.buffer.read())
    with tempfile.TemporaryDirectory() as folder:
        try:
            speed = measure(config, options.epochs, options.device, Path(folder))
        except JobError as error:
            print(f"model.speed: {error}", file=sys.stderr)
            return 2
    print(msgspec.json.encode(speed).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
