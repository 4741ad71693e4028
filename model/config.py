"""Every knob of a training job: typed, closed, frozen. No torch here: the orchestrator reads this too.

A field that a configuration does not use does not exist in it: the focal loss has a gamma, cross-entropy has none. So a
knob without effect is an unknown field, refused by `decode_job` before anything starts.
"""

import math
from itertools import combinations
from os.path import normpath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

FORMAT: Literal[1] = 1
"""Version of `config.json`, part of every run's identity."""

Positive = Annotated[float, Meta(gt=0.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
Count = Annotated[int, Meta(ge=1)]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every config: immutable, keyword-only, unknown fields are errors, as are infinite numbers."""

    def __post_init__(self) -> None:
        _require_finite(self)


def _require_finite(config: Struct) -> None:
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{name}` is {value}, it must be a finite number")


class ModelConfig(Config, frozen=True, kw_only=True):
    """The GDN classifier of the source study, section 1.1."""

    dim: Annotated[int, Meta(ge=8, description="width of a token")] = 512
    depth: Annotated[int, Meta(ge=1, description="number of blocks")] = 4
    num_heads: Annotated[int, Meta(ge=1, description="heads of the gated delta net")] = 8
    head_dim: Annotated[int, Meta(ge=1, description="width of a head's query and key")] = 64
    expand_v: Annotated[float, Meta(gt=0, description="a head's value width over its key width")] = 2.0
    mlp_ratio: Annotated[float, Meta(gt=0, description="inner width of the gated MLP: 2/3 of this times dim")] = 4.0
    mlp_multiple: Annotated[
        int, Meta(ge=1, description="the inner width is rounded up to a multiple of this (256 in fla)")
    ] = 256
    conv_size: Annotated[int, Meta(ge=1, description="taps of the short convolutions on q, k, v")] = 4
    conv_bias: Annotated[bool, Meta(description="a learned bias in the short convolutions")] = False
    allow_neg_eigval: Annotated[bool, Meta(description="beta in (0, 2) instead of (0, 1)")] = False
    patch_size: Annotated[int, Meta(ge=1, description="taps of the causal patch embedding, samples")] = 64
    patch_stride: Annotated[int, Meta(ge=1, description="samples from one token to the next")] = 32
    pooling: Annotated[Literal["last", "mean"], Meta(description="how tokens become one embedding")] = "last"
    token_dropout: Annotated[float, Meta(ge=0, lt=1, description="share of patch tokens zeroed in training")] = 0.0

    def __post_init__(self) -> None:
        _require_finite(self)
        value_width = self.head_dim * self.expand_v
        if not math.isclose(value_width, round(value_width), rel_tol=1e-9):
            raise ValueError(
                f"head_dim {self.head_dim} times expand_v {self.expand_v} is {value_width:g}, "
                "a head's value width must be a whole number"
            )
        if self.mlp_width == 0:
            raise ValueError(f"mlp_ratio {self.mlp_ratio:g} times dim {self.dim} leaves the gated MLP no width")

    @property
    def head_v_dim(self) -> int:
        """Width of a head's value."""
        return round(self.head_dim * self.expand_v)

    @property
    def mlp_width(self) -> int:
        """Inner width of the gated MLP, rounded up as fla's GatedMLP does."""
        width = int(self.dim * self.mlp_ratio * 2 / 3)
        return self.mlp_multiple * math.ceil(width / self.mlp_multiple)

    def num_tokens(self, samples: int) -> int:
        """Tokens that the causal patch embedding makes of a burst: 256 for 8,192 samples at stride 32."""
        return (samples - 1) // self.patch_stride + 1


class CrossEntropyConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="cross_entropy"):
    """Cross-entropy."""

    label_smoothing: Annotated[float, Meta(ge=0, lt=1, description="share of the target spread over all classes")] = 0.0


class FocalConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="focal"):
    """Focal loss, Lin et al. 2017 (arXiv 1708.02002), eq. 4, with smoothed targets."""

    gamma: Annotated[float, Meta(gt=0, le=20, description="0 would be cross-entropy: say that instead")] = 2.0
    label_smoothing: Annotated[float, Meta(ge=0, lt=1, description="share spread over all classes")] = 0.0


LossConfig = CrossEntropyConfig | FocalConfig


class MultipathConfig(Config, frozen=True, kw_only=True):
    """Jakes fading on a tapped delay line with an exponential power profile."""

    num_taps: Annotated[int, Meta(ge=1, le=16, description="taps, one sample apart")] = 2
    max_doppler_hz: Annotated[float, Meta(gt=0, description="Doppler spread ~ U(0, this)")] = 5.0
    min_delay_spread_s: Annotated[float, Meta(gt=0, description="delay spread ~ U(this, max)")] = 5e-9
    max_delay_spread_s: Positive = 300e-9
    num_rays: Annotated[int, Meta(ge=1, description="sinusoids summed for each tap")] = 20

    def __post_init__(self) -> None:
        _require_finite(self)
        if self.min_delay_spread_s > self.max_delay_spread_s:
            raise ValueError(
                f"min_delay_spread_s {self.min_delay_spread_s:g} is above "
                f"max_delay_spread_s {self.max_delay_spread_s:g}"
            )


class CarrierOffsetConfig(Config, frozen=True, kw_only=True):
    """A carrier frequency offset (CFO) drawn for each burst."""

    max_hz: Annotated[float, Meta(gt=0, description="offset ~ U(-this, this)")] = 200.0


class NoiseConfig(Config, frozen=True, kw_only=True):
    """White Gaussian noise (AWGN) at a signal-to-noise ratio drawn for each burst."""

    min_snr_db: Annotated[float, Meta(description="SNR ~ U(this, max)")] = 10.0
    max_snr_db: float = 40.0

    def __post_init__(self) -> None:
        _require_finite(self)
        if self.min_snr_db > self.max_snr_db:
            raise ValueError(f"min_snr_db {self.min_snr_db:g} is above max_snr_db {self.max_snr_db:g}")


class PhaseNoiseConfig(Config, frozen=True, kw_only=True):
    """Wiener phase noise of a free-running oscillator."""

    max_linewidth_hz: Annotated[float, Meta(gt=0, description="3 dB linewidth ~ U(0, this)")] = 50.0


class RollConfig(Config, frozen=True, kw_only=True):
    """A circular shift in time."""

    max_fraction: Annotated[float, Meta(gt=0, le=1, description="shift ~ U(0, this) of the burst's length")] = 1.0


class AugmentConfig(Config, frozen=True, kw_only=True):
    """What is done to a training burst, in the order of these fields; `null` leaves a transform out."""

    roll: RollConfig | None = None
    phase_noise: PhaseNoiseConfig | None = None
    multipath: MultipathConfig | None = field(default_factory=MultipathConfig)
    carrier_offset: CarrierOffsetConfig | None = field(default_factory=CarrierOffsetConfig)
    noise: NoiseConfig | None = field(default_factory=NoiseConfig)


class PlateauConfig(Config, frozen=True, kw_only=True):
    """Learning rate times `factor` after `patience` epochs without a lower validation loss."""

    patience: Annotated[int, Meta(ge=0, description="epochs")] = 20
    factor: Annotated[float, Meta(gt=0, lt=1)] = 0.5


class OptimConfig(Config, frozen=True, kw_only=True):
    """AdamW and when to stop."""

    learning_rate: Positive = 3e-4
    weight_decay: NonNegative = 0.0
    clip_norm: Annotated[float, Meta(gt=0, description="largest norm of the gradient")] = 1.0
    batch_size: Annotated[int, Meta(ge=1, description="bursts a step")] = 128
    epochs: Count = 600
    early_stopping: Annotated[
        int, Meta(ge=1, description="stop after so many epochs without a lower validation loss")
    ] = 100
    plateau: PlateauConfig = field(default_factory=PlateauConfig)


class RuntimeConfig(Config, frozen=True, kw_only=True):
    """How the arithmetic is done."""

    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], Meta(description="autocast; fp16 needs CUDA and scales the loss")
    ] = "fp16"
    compile: Annotated[bool, Meta(description="torch.compile the model")] = True


class CaptureConfig(Config, frozen=True, kw_only=True):
    """A part of a capture file: half-open ranges over 0-based devices and over each device's rows."""

    path: Annotated[str, Meta(min_length=1, description="relative to the campaign file")]
    devices: tuple[int, int]
    packets: tuple[int, int]

    def __post_init__(self) -> None:
        for name in ("devices", "packets"):
            start, stop = getattr(self, name)
            if not 0 <= start < stop:
                raise ValueError(f"{name} [{start}, {stop}] is empty; a range is [first, last + 1], counted from 0")

    def overlaps(self, other: "CaptureConfig") -> bool:
        """Whether both name a common burst of one file."""
        return normpath(self.path) == normpath(other.path) and all(
            max(a[0], b[0]) < min(a[1], b[1]) for a, b in ((self.devices, other.devices), (self.packets, other.packets))
        )


Captures = Annotated[tuple[str, ...], Meta(min_length=1)]


class DataConfig(Config, frozen=True, kw_only=True):
    """Which bursts play which part. What is reported is never trained, validated or chosen on."""

    layout: Literal["rffi-hdf5"] = "rffi-hdf5"
    captures: dict[str, CaptureConfig]
    train: Captures
    validate: Captures
    choose: Annotated[tuple[str, ...], Meta(description="scored for searches")] = ()
    report: Annotated[tuple[str, ...], Meta(min_length=1, description="scored once a run; the first one is judged")]
    samples: Annotated[int, Meta(ge=1, description="leading samples of each burst that are used")] = 8192
    sample_rate_hz: Annotated[float, Meta(gt=0, description="used where the file does not state its own")] = 1e6
    shuffled_labels: Annotated[
        bool, Meta(description="control: training labels are shuffled, so scores must fall to chance")
    ] = False

    def __post_init__(self) -> None:
        _require_finite(self)
        for role in ("train", "validate", "choose", "report"):
            for name in getattr(self, role):
                if name not in self.captures:
                    raise ValueError(f"`{role}` names the capture `{name}`; there are {', '.join(self.captures)}")
        self._require_each_once()
        self._require_held_out()

    def _require_each_once(self) -> None:
        for role in ("train", "validate", "choose"):
            for first, second in combinations(getattr(self, role), 2):
                if self.captures[first].overlaps(self.captures[second]):
                    raise ValueError(f"`{role}` names bursts twice: `{first}` and `{second}` share some")

    def _require_held_out(self) -> None:
        for held_out, others in (
            ("report", ("train", "validate", "choose")),
            ("validate", ("train",)),
            ("choose", ("train", "validate")),
        ):
            for role in others:
                for name in getattr(self, held_out):
                    for other in getattr(self, role):
                        if self.captures[name].overlaps(self.captures[other]):
                            raise ValueError(
                                f"`{held_out}: {name}` and `{role}: {other}` share bursts; "
                                f"what is used to {held_out} must be unseen"
                            )

    @property
    def scored(self) -> tuple[str, ...]:
        """The captures scored at the end of a run."""
        return tuple(dict.fromkeys((*self.validate, *self.choose, *self.report)))


class JobConfig(Config, frozen=True, kw_only=True):
    """`config.json`: everything a training job needs to know."""

    format: Literal[1] = FORMAT
    experiment: str
    profile: str
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=CrossEntropyConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


COSMETIC = ("experiment", "profile")
"""Fields of `JobConfig` that name a run without changing what it computes."""


def decode_job(content: bytes) -> JobConfig:
    """Read `config.json`.

    Raises:
        msgspec.ValidationError: a field is unknown, missing, or outside its range.
    """
    return msgspec.json.decode(content, type=JobConfig)


def job_from_builtins(values: dict[str, Any]) -> JobConfig:
    """Check a resolved configuration given as plain dicts, lists, numbers and strings.

    Raises:
        msgspec.ValidationError: a field is unknown, missing, or outside its range.
    """
    return msgspec.convert(values, type=JobConfig)
