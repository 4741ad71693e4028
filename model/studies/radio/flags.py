"""Translate a training job to the source study's command line and back: flags -> `JobConfig` -> flags. No torch.

    --manifest ./shards/manifest.json --arch gateddeltanet --batch_size 128 --epochs 600

    --lr 3e-4 --dim 512 --depth 4 --heads 8 --head_dim 64 --pooling last --patch_size 64

    --weight_decay 0.0 --patch_embed_type causal_conv --augment --compile

    --label_smoothing 0.05 --focal_loss --save_path ./saved_models/focal_loss.pth

Defaults are those of the source: no augmentation without `--augment`, no compiling without `--compile`, and half
precision on CUDA. `--set KNOB=JSON` sets a knob that has no flag, so the flags can express every configuration.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from model.config import CaptureConfig, DataConfig, JobConfig, ModelConfig, job_from_builtins

PROFILE = "train"
"""Profile name of a job from the command line."""
SOURCE_SEED = 1337

ARCHITECTURES = {"gateddeltanet": "gated_delta", "mamba2": "mamba2"}
POOLINGS = {"last": "last", "mean": "mean", "attn": "attention", "cls_first": "cls_first"}
"""Word of the source -> our word."""
EMBEDDINGS = {name: name for name in ("causal_conv", "stft", "multi_scale")}
MODES = {name: name for name in ("chunk", "fused_recurrent")}
OPTIMIZERS = {name: name for name in ("adamw", "muon")}
CHANNEL = ("multipath", "carrier_offset", "noise")
"""The augmentation that `--augment` means in the source."""
NAMES = ("format", "experiment", "profile")
SAID_ELSEWHERE = (*NAMES, "data.layout", "data.captures", "runtime.precision")
"""Knobs that `--set` refuses: names, the manifest's facts, and the precision, which has its own flag."""


class FlagError(ValueError):
    """A command line that is not valid; its text is a sentence for the user."""


class Flag(NamedTuple):
    """A flag and the knob that it sets. `words` maps each word of the source to the value of the knob."""

    name: str
    knob: str
    kind: type
    help: str
    words: Mapping[str, str] | None = None
    always: bool = False
    """Whether the flag is written even for the default value, as in the source's commands."""


FLAGS = (
    Flag("arch", "model.mixer", str, "what mixes tokens", ARCHITECTURES, always=True),
    Flag("batch_size", "optim.batch_size", int, "bursts a step", always=True),
    Flag("epochs", "optim.epochs", int, "most epochs", always=True),
    Flag("lr", "optim.learning_rate", float, "learning rate", always=True),
    Flag("dim", "model.dim", int, "width of a token", always=True),
    Flag("depth", "model.depth", int, "blocks", always=True),
    Flag("heads", "model.num_heads", int, "heads", always=True),
    Flag("head_dim", "model.head_dim", int, "width of a head's query and key", always=True),
    Flag("pooling", "model.pooling", str, "tokens to one embedding", POOLINGS, always=True),
    Flag("patch_size", "model.patch_size", int, "samples that a token is made of", always=True),
    Flag("patch_stride", "model.patch_stride", int, "samples from one token to the next", always=True),
    Flag("weight_decay", "optim.weight_decay", float, "decoupled weight decay", always=True),
    Flag("patch_embed_type", "model.patch_embed", str, "samples to tokens", EMBEDDINGS, always=True),
    Flag("compile", "runtime.compile", bool, "torch.compile the model"),
    Flag("label_smoothing", "loss.label_smoothing", float, "share of the target spread over all classes", always=True),
    Flag("focal_gamma", "loss.gamma", float, "gamma of --focal_loss"),
    Flag("seed", "seed", int, "random seed", always=True),
    Flag("expand_v", "model.expand_v", float, "a head's value width over its key width"),
    Flag("mlp_ratio", "model.mlp_ratio", float, "inner width of the gated MLP: 2/3 of this times dim"),
    Flag("mlp_multiple", "model.mlp_multiple", int, "that width is rounded up to a multiple of this"),
    Flag("conv_size", "model.conv_size", int, "taps of the short convolutions"),
    Flag("conv_bias", "model.conv_bias", bool, "a bias in the short convolutions"),
    Flag("allow_neg_eigval", "model.allow_neg_eigval", bool, "beta in (0, 2)"),
    Flag("mode", "model.mode", str, "fla's kernel", MODES),
    Flag("resid_dropout", "model.resid_dropout", float, "dropout of what a layer adds"),
    Flag("stochastic_depth", "model.stochastic_depth", float, "chance to skip the last block's layers"),
    Flag("token_dropout", "model.token_dropout", float, "share of patch tokens zeroed in training"),
    Flag("grad_norm", "optim.clip_norm", float, "largest norm of the gradient"),
    Flag("optimizer", "optim.optimizer", str, "what moves the parameters", OPTIMIZERS),
    Flag("early_stopping", "optim.early_stopping", int, "epochs without a lower validation loss"),
    Flag("lr_patience", "optim.schedule.patience", int, "epochs without a lower validation loss; scheduler plateau"),
    Flag("lr_factor", "optim.schedule.factor", float, "the rate times this then; scheduler plateau"),
    Flag("warmup_epochs", "optim.schedule.warmup_epochs", int, "epochs of a rising rate; scheduler plateau or cosine"),
)
BY_KNOB = {flag.knob: flag for flag in FLAGS}
SCHEDULERS = {
    "plateau": ("lr_patience", "lr_factor", "warmup_epochs"),
    "cosine": ("warmup_epochs",),
    "one_cycle": (),
}
"""Schedule -> the flags that have an effect with it."""


class Command(Struct, frozen=True, kw_only=True):
    """A parsed command line, before any file is read."""

    manifest: Path
    save_path: Path
    device: str
    precision: str
    knobs: dict[str, Any]
    """The job's settings as plain values, without data and precision."""
    data: dict[str, Any]
    """Changes of the manifest's facts by `--set data.…`."""

    def job(self, data: DataConfig, device_type: str) -> JobConfig:
        """Return the job, on the data that the manifest describes.

        Args:
            data: the manifest's data configuration.
            device_type: `cuda` or `cpu`. Precision `auto` is fp16 on CUDA and fp32 elsewhere, because the source's
                autocast works only on CUDA.

        Raises:
            FlagError: a value is outside its range, or a knob is unknown.
        """
        automatic = "fp16" if device_type == "cuda" else "fp32"
        precision = automatic if self.precision == "auto" else self.precision
        names = {"experiment": self.save_path.stem, "profile": PROFILE}
        content = {"data": msgspec.to_builtins(data) | self.data, "runtime": {"precision": precision}}
        try:
            return job_from_builtins(names | _merged(content, self.knobs))
        except msgspec.ValidationError as error:
            raise FlagError(_as_flag(str(error))) from None


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        both[key] = _merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
    return both


def _as_flag(message: str) -> str:
    """Replace msgspec's `$.optim.learning_rate` in a message by `--lr`, and so on for all flags."""
    what, _, path = message.partition(" - at `$.")
    knob = path.rstrip("`")
    name = f"--{BY_KNOB[knob].name}" if knob in BY_KNOB else knob
    return f"{name}: {what}" if name else what


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(f"{message}; `python -m model.studies.radio.by_hand --help` lists the flags")


class _Once(argparse.Action):
    """Refuse a repeated flag, because a second value would silently replace the first."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"{option} is said twice")
        setattr(namespace, self.dest, True if self.nargs == 0 else values)


@cache
def build_parser() -> argparse.ArgumentParser:
    """Build the parser; a flag that is not given leaves no attribute in its result."""
    parser = _Parser(
        prog="python -m model.studies.radio.by_hand",
        description="Train the classifier on shards and write its best model to a file.",
        epilog="exit status: 0 trained; 1 failed; 2 a mistake in the command or the data; run again after "
        "74 the disk is full, 75 another process trains there, 130 interrupted",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )

    def add(name: str, text: str, **options: Any) -> None:
        parser.add_argument(f"--{name}", action=_Once, help=text, **options)

    add("manifest", "manifest.json that `knockout data shard` wrote", type=Path, required=True)
    add("save_path", "where the best model goes; its run folder lies beside it", type=Path, required=True)
    for flag in FLAGS:
        if flag.kind is bool:
            add(flag.name, flag.help, nargs=0)
        else:
            add(flag.name, flag.help, type=flag.kind, choices=tuple(flag.words) if flag.words else None)
    add("augment", "multipath, carrier frequency offset and noise", nargs=0)
    add("focal_loss", "focal loss instead of cross-entropy", nargs=0)
    add("scheduler", "how the learning rate moves", choices=tuple(SCHEDULERS))
    add("precision", "auto: fp16 on CUDA, fp32 elsewhere", choices=("auto", "fp32", "bf16", "fp16"))
    add("device", "where to train", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--set", action="append", metavar="KNOB=JSON", help="any other knob, e.g. augment.roll.max_fraction=0.5"
    )
    return parser


def parse(words: Sequence[str]) -> Command:
    """Read a command line.

    Raises:
        FlagError: a flag is unknown, abbreviated, repeated, without its value, or contradicts another.
    """
    said = vars(build_parser().parse_args(words))
    _refuse_contradictions(said)
    knobs = _named_knobs(said)
    claimed = [*SAID_ELSEWHERE, *_claimed(said)]
    for text in said.get("set", ()):
        claimed.append(_set(knobs, text, claimed))
    return Command(
        manifest=said["manifest"],
        save_path=said["save_path"],
        device=said.get("device", "auto"),
        precision=said.get("precision", "auto"),
        data=knobs.pop("data", {}),
        knobs=knobs,
    )


def _refuse_contradictions(said: Mapping[str, Any]) -> None:
    if "focal_gamma" in said and "focal_loss" not in said:
        raise FlagError("--focal_gamma has no effect without --focal_loss; add that, or leave the gamma out")
    scheduler = said.get("scheduler", "plateau")
    for name in SCHEDULERS["plateau"]:
        if name in said and name not in SCHEDULERS[scheduler]:
            raise FlagError(f"--{name} has no effect with --scheduler {scheduler}; leave it out")
    default = ModelConfig()
    if "patch_stride" not in said and said.get("patch_size", default.patch_size) < default.patch_stride:
        raise FlagError(
            f"--patch_size {said['patch_size']} is below the patch stride, {default.patch_stride} if not said, so "
            "samples between patches would be skipped; say --patch_stride"
        )


def _named_knobs(said: Mapping[str, Any]) -> dict[str, Any]:
    """Turn flags into the job's settings, with the source's defaults."""
    knobs: dict[str, Any] = {
        "seed": SOURCE_SEED,
        "loss": {"kind": "focal" if "focal_loss" in said else "cross_entropy"},
        "optim": {"schedule": {"kind": said.get("scheduler", "plateau")}},
        "augment": {} if "augment" in said else dict.fromkeys(CHANNEL),
        "runtime": {"compile": False},
    }
    for flag in FLAGS:
        if flag.name in said:
            value = said[flag.name]
            _put(knobs, flag.knob, flag.words[value] if flag.words else value)
    return knobs


def _put(knobs: dict[str, Any], knob: str, value: object) -> None:
    *path, last = knob.split(".")
    for part in path:
        if not isinstance(knobs.get(part), dict):
            knobs[part] = {}
        knobs = knobs[part]
    knobs[last] = value


def _claimed(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield the knobs that the given flags set."""
    yield from (flag.knob for flag in FLAGS if flag.name in said)
    if "scheduler" in said:
        yield "optim.schedule.kind"
    if "focal_loss" in said:
        yield "loss.kind"


def _set(knobs: dict[str, Any], text: str, claimed: Sequence[str]) -> str:
    """Apply one `--set`; return its knob."""
    knob, equals, value = text.partition("=")
    if not equals:
        raise FlagError(f"--set {text}: it must be KNOB=JSON, e.g. --set augment.roll.max_fraction=0.5")
    for other in claimed:
        if f"{other}.".startswith(f"{knob}.") or knob.startswith(f"{other}."):
            if other in SAID_ELSEWHERE:
                raise FlagError(f"--set {knob}: this is not for --set to say")
            before = f"--{BY_KNOB[other].name}" if other in BY_KNOB else f"`{other}`"
            raise FlagError(f"--set {knob}: {before} says this already; say it once")
    try:
        _put(knobs, knob, json.loads(value))
    except ValueError:
        raise FlagError(f"--set {text}: `{value}` is not JSON; a word needs quotes of its own: '\"last\"'") from None
    return knob


def to_flags(config: JobConfig, manifest: str, save_path: str, data: DataConfig | None = None) -> list[str]:
    """Return the words of a command line that `parse` reads as the same job.

    Args:
        config: the job. Its names and captures are not in the words, because the manifest has them.
        manifest: path of the manifest.
        save_path: file of the best model.
        data: the manifest's data configuration, by default the job's. The words state where the job's data differ.
    """
    words = ["--manifest", manifest, *_named_words(config), "--save_path", save_path]
    plain = parse(words).job(data or config.data, "cuda")
    for knob, value in _differences("", msgspec.to_builtins(plain), msgspec.to_builtins(config)):
        if not knob.startswith((*NAMES, "data.layout", "data.captures")):
            words += ["--set", f"{knob}={json.dumps(value, separators=(',', ':'))}"]
    return words


def _named_words(config: JobConfig) -> Iterator[str]:
    """Yield the settings that have a flag of their own; `--set` states the others."""
    values: dict[str, Any] = msgspec.to_builtins(config)
    defaults = _defaults()
    for flag in FLAGS:
        value = _look_up(values, flag.knob)
        if value is None or (value == _look_up(defaults, flag.knob) and not flag.always):
            continue
        if flag.kind is not bool:
            yield from (f"--{flag.name}", _word(flag, value))
        elif value is True:
            # A flag says no more than yes: `--set` states a mode of the compiler.
            yield f"--{flag.name}"
    if any(values["augment"][name] is not None for name in CHANNEL):
        yield "--augment"
    if values["loss"]["kind"] == "focal":
        yield "--focal_loss"
    if values["optim"]["schedule"]["kind"] != "plateau":
        yield from ("--scheduler", values["optim"]["schedule"]["kind"])
    yield from ("--precision", values["runtime"]["precision"])


@cache
def _defaults() -> dict[str, Any]:
    """Return the job of a command line without flags, as plain values; no flag sets anything of its data."""
    captures = {name: CaptureConfig(path=name, devices=(0, 1), packets=(0, 1)) for name in ("train", "val", "report")}
    data = DataConfig(captures=captures, train=("train",), validate=("val",), report=("report",))
    defaults: dict[str, Any] = msgspec.to_builtins(parse(["--manifest", "m", "--save_path", "s"]).job(data, "cpu"))
    return defaults


def _word(flag: Flag, value: object) -> str:
    if flag.words:
        return next(word for word, ours in flag.words.items() if ours == value)
    return str(value)


def _look_up(values: dict[str, Any], knob: str) -> Any:
    node: Any = values
    for part in knob.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _differences(path: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted knobs that differ; a new part, or one of another `kind`, counts as one knob."""
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and before.get("kind") == value.get("kind"):
            yield from _differences(f"{path}{name}.", before, value)
        elif value != before:
            yield f"{path}{name}", value
