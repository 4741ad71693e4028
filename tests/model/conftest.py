"""Builders: a tiny capture of tones on disk, and the configuration of a job that trains on it in a second."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.config import JobConfig, job_from_builtins
from model.studies.radio.study import RadioStudy
from model.train.job import run_job
from model.train.run_folder import EpochRecord, RunFolder
from tests.builders.kernels import take_first_variants

torch.set_num_threads(1)  # small tensors: more threads only get in each other's way
if torch.cuda.is_available():
    take_first_variants()

DEVICES = (2, 5)
"""Not from 0, so that a device and its class differ."""
PACKETS = 20
SAMPLES = 48

JobBuilder = Callable[..., JobConfig]
FolderBuilder = Callable[..., RunFolder]


@contextmanager
def process_left_as_it_was() -> Iterator[None]:
    """Undo what a job does to its process, which it takes for its own: signals and the deterministic mode."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    # Switching imports the compiler, even to what is: seconds.
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(mode=deterministic)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    with process_left_as_it_was():
        yield


def tones(*, seed: int, samples: int = SAMPLES) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Each device sends a tone of its own at a random phase, in noise; rows of devices alternate, as in a real file."""
    rng = np.random.default_rng(seed)
    devices = np.tile(np.arange(*DEVICES), PACKETS)
    cycles = 0.05 + 0.1 * (devices - DEVICES[0])
    phase = 2 * np.pi * (cycles[:, None] * np.arange(samples) + rng.random((len(devices), 1)))
    noise = rng.normal(size=(2, len(devices), samples), scale=0.3)
    iq = np.exp(1j * phase) + noise[0] + 1j * noise[1]
    return np.hstack([iq.real, iq.imag]).astype(np.float32), devices + 1.0


def write_capture(path: Path, data: NDArray[Any], labels: NDArray[Any], **attributes: Any) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = data
        file["label"] = labels[None]
        file.attrs.update(attributes)


@pytest.fixture(scope="session")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two capture files, `here.h5` and `there.h5`."""
    folder = tmp_path_factory.mktemp("captures")
    write_capture(folder / "here.h5", *tones(seed=1))
    write_capture(folder / "there.h5", *tones(seed=2))
    return folder


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`, key by key in nested dicts; another `kind` shares nothing with the one before."""
    if "kind" in over and over["kind"] != base.get("kind"):
        return over
    both = {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in over.items()
    }
    return base | both


def job_values() -> dict[str, Any]:
    """Three epochs of a model of width 16, with every random stream in use."""
    return {
        "experiment": "baseline",
        "profile": "tiny",
        "seed": 0,
        "data": {
            "captures": {
                "train": {"path": "here.h5", "devices": DEVICES, "packets": (0, 12)},
                "val": {"path": "here.h5", "devices": DEVICES, "packets": (12, PACKETS)},
                "choose": {"path": "there.h5", "devices": DEVICES, "packets": (0, 8)},
                "report": {"path": "there.h5", "devices": DEVICES, "packets": (8, PACKETS)},
            },
            "train": ("train",),
            "validate": ("val",),
            "choose": ("choose",),
            "report": ("report",),
            "samples": SAMPLES,
        },
        "model": {
            "dim": 16,
            "depth": 1,
            "num_heads": 2,
            "head_dim": 8,
            "mlp_multiple": 8,
            "patch_size": 8,
            "patch_stride": 4,
            "token_dropout": 0.1,
        },
        "optim": {"learning_rate": 3e-3, "batch_size": 8, "epochs": 3, "schedule": {"kind": "plateau", "patience": 0}},
        "runtime": {"precision": "fp32", "compile": False},
    }


@pytest.fixture
def build_job() -> JobBuilder:
    """Return what makes a `JobConfig` of `job_values`, with changes laid over it."""
    return lambda **changes: job_from_builtins(merged(job_values(), changes))


def as_run(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job's values in the shape of `config.json`, whether they are right or not."""
    names = ("experiment", "profile", "seed")
    params = {name: value for name, value in job.items() if name not in names}
    return {"format": 2, **{name: job[name] for name in names}, "params": params}


def write_folder(path: Path, changes: dict[str, Any]) -> RunFolder:
    folder = RunFolder(path)
    path.mkdir()
    folder.config.write_text(json.dumps(as_run(merged(job_values(), changes))))
    return folder


@pytest.fixture
def build_folder(tmp_path: Path) -> FolderBuilder:
    """Return what makes a run folder of that name, with its `config.json`."""
    return lambda name="run", **changes: write_folder(tmp_path / name, changes)


MACHINE = {
    "seconds": 0.0,
    "cpu_seconds": 0.0,
    "data_seconds": 0.0,
    "bursts_per_second": 0.0,
    "peak_memory_bytes": 0,
}
"""Fields of a record that depend on the machine's mood."""


@pytest.fixture
def timeless() -> Callable[[RunFolder], list[EpochRecord]]:
    """Return what reads the epochs of a run folder, without the fields of `MACHINE`."""
    return lambda folder: [msgspec.structs.replace(record, **MACHINE) for record in folder.read_epochs()]


@pytest.fixture(scope="session")
def _finished_once(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = write_folder(tmp_path_factory.mktemp("runs") / "finished", {})
    with process_left_as_it_was():
        assert run_job(RadioStudy, folder, captures) == 0
    return folder


@pytest.fixture
def finished(_finished_once: RunFolder, tmp_path: Path) -> RunFolder:
    """A run that was never stopped, in a folder of the test's own."""
    return RunFolder(shutil.copytree(_finished_once.path, tmp_path / "finished"))
