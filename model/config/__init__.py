"""Every knob of a training job: typed, closed, frozen. No torch, because the orchestrator reads this too.

A configuration has only the fields that it uses: the focal loss has a gamma, cross-entropy has none. So a knob without
effect is an unknown field, and `decode_run` refuses it before anything starts.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from model.config.augment import (
    AugmentConfig,
    CarrierOffsetConfig,
    ConstantPhaseConfig,
    CropConfig,
    GainJitterConfig,
    IqImbalanceConfig,
    MixupConfig,
    MultipathConfig,
    NoiseConfig,
    PhaseNoiseConfig,
    RollConfig,
    SnrWarmupConfig,
    TestTimeConfig,
)
from model.config.backbone import AuxHeadConfig, ModelConfig
from model.config.base import Config
from model.config.data import CaptureConfig, CapturePlace, DataConfig, Place, expand_path, locate_capture, variables_of
from model.config.loss import CrossEntropyConfig, FocalConfig, LossConfig
from model.config.optim import CosineConfig, OneCycleConfig, OptimConfig, PlateauConfig, ScheduleConfig

__all__ = [
    "COSMETIC",
    "FORMAT",
    "RUN_FORMAT",
    "AugmentConfig",
    "AuxHeadConfig",
    "CaptureConfig",
    "CapturePlace",
    "CarrierOffsetConfig",
    "Config",
    "ConstantPhaseConfig",
    "CosineConfig",
    "CropConfig",
    "CrossEntropyConfig",
    "DataConfig",
    "FocalConfig",
    "GainJitterConfig",
    "IqImbalanceConfig",
    "JobConfig",
    "LossConfig",
    "MixupConfig",
    "ModelConfig",
    "MultipathConfig",
    "NoiseConfig",
    "OneCycleConfig",
    "OptimConfig",
    "Params",
    "PhaseNoiseConfig",
    "Place",
    "PlateauConfig",
    "RollConfig",
    "RunConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "SnrWarmupConfig",
    "TestTimeConfig",
    "decode_job",
    "decode_run",
    "differing_knobs",
    "encode_run",
    "expand_path",
    "job_from_builtins",
    "job_of",
    "locate_capture",
    "variables_of",
]

FORMAT: Literal[1] = 1
"""Version of `JobConfig`, as checkpoints and the short commands of `model` hold it."""
RUN_FORMAT: Literal[2] = 2
"""Version of `config.json`."""

Seed = Annotated[int, Meta(ge=0, lt=2**32)]


class RuntimeConfig(Config, frozen=True, kw_only=True):
    """How the arithmetic is done."""

    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], Meta(description="autocast; fp16 needs CUDA and scales the loss")
    ] = "fp16"
    compile: Annotated[
        bool | Literal["reduce-overhead"],
        Meta(description="torch.compile the network; reduce-overhead also records a step of the GPU and repeats it"),
    ] = True
    checkpoint_epochs: Annotated[
        int, Meta(ge=1, description="a checkpoint every so many epochs, and wherever training ends or is stopped")
    ] = 1


class Params(Config, frozen=True, kw_only=True):
    """All that a training's numbers depend on, apart from its seed."""

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=CrossEntropyConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    test_time: TestTimeConfig | None = None


class JobConfig(Params, frozen=True, kw_only=True):
    """Everything that a training job needs to know, as `model` passes it on."""

    format: Literal[1] = FORMAT
    experiment: str
    profile: str
    seed: Seed


class _Version(Struct, frozen=True):
    """The version of a `config.json`, whatever else it holds."""

    format: int = 0


class RunConfig(Config, frozen=True, kw_only=True):
    """`config.json`, as the orchestrator writes it for a task of any kind."""

    format: Literal[2] = RUN_FORMAT
    experiment: str
    profile: str
    seed: Seed
    params: Params


COSMETIC = ("experiment", "profile", "runtime.checkpoint_epochs")
"""Dotted knobs of `JobConfig` that change no number of a run."""


def decode_run(content: bytes) -> JobConfig:
    """Read `config.json`.

    Raises:
        msgspec.ValidationError: a field is unknown, missing, or outside its range.
    """
    found = msgspec.json.decode(content, type=_Version).format
    if found != RUN_FORMAT:
        raise msgspec.ValidationError(
            f"its format is {found} and this version of Knockout reads format {RUN_FORMAT}; train the run again"
        )
    run = msgspec.json.decode(content, type=RunConfig)
    return job_of(run.params, experiment=run.experiment, profile=run.profile, seed=run.seed)


def encode_run(job: JobConfig) -> bytes:
    """Write `config.json`."""
    params = Params(**{name: getattr(job, name) for name in Params.__struct_fields__})
    run = RunConfig(experiment=job.experiment, profile=job.profile, seed=job.seed, params=params)
    return msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n"


def job_of(params: Params, *, experiment: str, profile: str, seed: int) -> JobConfig:
    """Return the job of some parameters."""
    sections = {name: getattr(params, name) for name in Params.__struct_fields__}
    return JobConfig(experiment=experiment, profile=profile, seed=seed, **sections)


def decode_job(content: bytes) -> JobConfig:
    """Read a job as `model` passes it on: in checkpoints, and on the standard input of its short commands.

    Raises:
        msgspec.ValidationError: a field is unknown, missing, or outside its range.
    """
    return msgspec.json.decode(content, type=JobConfig)


def job_from_builtins(values: dict[str, Any]) -> JobConfig:
    """Check a resolved configuration of plain dicts, lists, numbers and strings.

    Raises:
        msgspec.ValidationError: a field is unknown, missing, or outside its range.
    """
    return msgspec.convert(values, type=JobConfig)


def differing_knobs(one: JobConfig, other: JobConfig) -> list[str]:
    """Name the dotted knobs in which two configurations differ, without those of `COSMETIC`."""
    return _differing(msgspec.to_builtins(one), msgspec.to_builtins(other), "")


def _differing(one: dict[str, Any], other: dict[str, Any], path: str) -> list[str]:
    found = []
    for name in sorted({*one, *other}):
        value, new = one.get(name), other.get(name)
        # A section in both is compared knob by knob. One that only one side has is named as a whole.
        if isinstance(value, dict) and isinstance(new, dict):
            found += _differing(value, new, f"{path}{name}.")
        elif value != new and f"{path}{name}" not in COSMETIC:
            found.append(f"{path}{name}")
    return found
