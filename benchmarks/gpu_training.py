"""Steps, epochs, checkpoints and augmentation of the paper's baseline, on noise, by the trainer itself.

Everything here runs on any device, so that tests can do the same with a small network on a CPU.
"""

import functools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.gpu_clock import kernel_seconds, wall_seconds
from benchmarks.gpu_rows import EpochTimes
from benchmarks.gpu_trace import AUGMENT_RANGE, DATA_RANGE
from model.augment import build_augment
from model.config import CaptureConfig, DataConfig, JobConfig, RuntimeConfig
from model.data.batches import Batch, device_classes
from model.probe import NoiseBursts, count_bursts, make_noise
from model.studies.radio.study import RadioStudy
from model.train.device import peak_memory_bytes
from model.train.run_folder import RunFolder
from model.train.score import BATCH_SIZE
from model.train.trainer import Trainer

STEPS = 12
"""Training steps that stand for an epoch, which has 55."""
VALIDATED_BATCHES = 2
AUGMENT_ROUNDS = 20


@dataclass(frozen=True)
class Variant:
    """A precision, and how the network is compiled: False, True or a mode of torch.compile."""

    precision: str
    compile: bool | str

    def __str__(self) -> str:
        if isinstance(self.compile, str):
            return f"{self.precision}, compiled with {self.compile}"
        return f"{self.precision}, {'compiled' if self.compile else 'not compiled'}"

    def apply(self, config: JobConfig) -> JobConfig:
        """Return the configuration with this variant.

        Raises:
            msgspec.ValidationError: `runtime.compile` does not take the value.
        """
        values = msgspec.to_builtins(config.runtime) | {"precision": self.precision, "compile": self.compile}
        return msgspec.structs.replace(config, runtime=msgspec.convert(values, RuntimeConfig))

    def is_known(self) -> bool:
        """Whether this version of the configuration takes the variant."""
        try:
            msgspec.convert({"precision": self.precision, "compile": self.compile}, RuntimeConfig)
        except msgspec.ValidationError:
            return False
        return True


def paper_baseline() -> JobConfig:
    """Return the baseline of profile `paper`: the defaults of every section but the data."""
    places = {"LocA": (0, 350), "LocB": (0, 350), "LocA-val": (350, 400), "LocB-val": (350, 400)}
    places |= {"LocC": (0, 100), "LocD": (0, 100)}
    captures = {
        name: CaptureConfig(path=f"data/{name.removesuffix('-val')}.h5", devices=(35, 45), packets=packets)
        for name, packets in places.items()
    }
    data = DataConfig(
        captures=captures,
        train=("LocA", "LocB"),
        validate=("LocA-val", "LocB-val"),
        choose=("LocC",),
        report=("LocD",),
        samples=8192,
    )
    return JobConfig(experiment="baseline", profile="paper", seed=1337, data=data)


class RangedNoise(NoiseBursts):
    """Bursts of noise; taking a batch of them is a range in recordings of the profiler."""

    def take(self, indices: Tensor) -> Batch:
        """Return the bursts at `indices`."""
        with record_function(DATA_RANGE):
            return super().take(indices)


def make_ranged_noise(data: DataConfig, num_items: int) -> RangedNoise:
    noise = make_noise(data, num_items)
    return RangedNoise(noise.parts, device_classes(data), stamps=noise.stamps)


class WatchedAugment:
    """An augmentation, as the trainer calls it. Each call is a range in recordings, and its moment is kept."""

    def __init__(self, augment: Any) -> None:
        self.augment = augment
        self.moments: list[float] = []

    def __call__(self, *arguments: Any) -> Any:
        """Do what the augmentation does."""
        self.moments.append(time.perf_counter())
        with record_function(AUGMENT_RANGE):
            return self.augment(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.augment, name)


def whole_batches(num_items: int, batch_size: int, num_batches: int) -> int:
    """Return the size of a set of so many whole batches, or of fewer if there are no more bursts."""
    return min(num_items, batch_size * num_batches)


class Training:
    """A training of one variant that has been warmed up and timed."""

    def __init__(self, config: JobConfig, variant: Variant, device: torch.device) -> None:
        """Build, warm up and time.

        Raises:
            JobError: the machine cannot do what the configuration asks.
        """
        self.variant, self.config, self.device = variant, variant.apply(config), device
        data, self.batch_size = self.config.data, self.config.optim.batch_size
        self.num_train, self.num_validate = (count_bursts(data, names) for names in (data.train, data.validate))
        before_bytes = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        self.train = make_ranged_noise(data, whole_batches(self.num_train, self.batch_size, STEPS))
        self.validate = make_ranged_noise(data, whole_batches(self.num_validate, BATCH_SIZE, VALIDATED_BATCHES))
        self.trainer = Trainer(RadioStudy(self.config), self.train, self.validate, device)
        self.augment = WatchedAugment(self.trainer.augment)
        # The benchmark watches from outside, so that the trainer need not know that it is measured.
        self.trainer.augment = self.augment
        self.num_epochs = 0
        self.times = self._measure(before_bytes)

    def take_steps(self) -> Any:
        """Train on every burst of the small set once; return the sums over its steps."""
        self.num_epochs += 1
        return self.trainer.train_epoch(self.num_epochs)

    def score(self) -> None:
        self.trainer.score(self.validate)

    def _measure(self, before_bytes: int) -> EpochTimes:
        warm_up_seconds = wall_seconds(self.device, self.take_steps) + wall_seconds(self.device, self.score)
        # A second round: torch.compile in mode reduce-overhead records its graphs there.
        warm_up_seconds += wall_seconds(self.device, self.take_steps) + wall_seconds(self.device, self.score)
        moments = self.augment.moments
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        sums: list[Any] = []
        train_seconds = wall_seconds(self.device, lambda: sums.append(self.take_steps()))
        return EpochTimes(
            first_step_seconds=moments[1] - moments[0] if len(moments) > 1 else warm_up_seconds,
            warm_up_seconds=warm_up_seconds,
            num_steps=-(-len(self.train) // self.batch_size),
            num_trained=len(self.train),
            train_seconds=train_seconds,
            num_validated=len(self.validate),
            validate_seconds=wall_seconds(self.device, self.score),
            num_skipped=sums[0].skipped,
            peak_bytes=peak_memory_bytes(self.device) - before_bytes,
        )


def record_steps(training: Training) -> list[dict[str, Any]]:
    """Return the profiler's recording of the training steps: `traceEvents` of a Chrome trace."""
    activities = [ProfilerActivity.CPU]
    if training.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recording:
        wall_seconds(training.device, training.take_steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recording.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return events


def time_checkpoint(training: Training) -> tuple[float, int]:
    """Return the seconds and the bytes of a checkpoint that holds a best network too, as those of a job do."""
    state = training.trainer.model.state_dict()
    training.trainer.progress.best_model = {name: value.detach().clone() for name, value in state.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        seconds = wall_seconds(training.device, functools.partial(training.trainer.save, folder))
        return seconds, folder.checkpoint.stat().st_size


Augmentation = Callable[[Tensor], object]


def eager_augment(config: JobConfig, device: torch.device) -> Augmentation:
    """Return the augmentation of a configuration, not compiled."""
    augment = build_augment(config.augment, config.data.sample_rate_hz)
    augment.start_epoch(config.seed, 1, device)
    return augment


def time_augment(augment: Augmentation, config: JobConfig, device: torch.device) -> float:
    """Return the seconds of a batch, after a warm-up."""
    x_B2S = torch.randn(config.optim.batch_size, 2, config.data.samples, device=device)
    return kernel_seconds(device, lambda: augment(x_B2S), AUGMENT_ROUNDS)
