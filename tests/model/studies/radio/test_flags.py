"""The source's command line says every job there is, both ways, and nothing that contradicts itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.config import (
    AugmentConfig,
    AuxHeadConfig,
    CaptureConfig,
    CosineConfig,
    DataConfig,
    FocalConfig,
    JobConfig,
    ModelConfig,
    OneCycleConfig,
    OptimConfig,
    PlateauConfig,
    RollConfig,
    RuntimeConfig,
)
from model.studies.radio.flags import (
    BY_KNOB,
    EMBEDDINGS,
    FLAGS,
    MODES,
    OPTIMIZERS,
    POOLINGS,
    SCHEDULERS,
    FlagError,
    build_parser,
    parse,
    to_flags,
)

ROOT = Path(__file__).parents[4]
CAPTURES = {
    name: CaptureConfig(path=f"{name}.npy", devices=(0, 3), packets=(0, 4)) for name in ("LocA", "LocB", "LocC", "LocD")
}
DATA = DataConfig(layout="shards", captures=CAPTURES, train=("LocA",), validate=("LocB",), report=("LocD",))
PATHS = ["--manifest", "./shards/manifest.json", "--save_path", "./saved_models/best.pth"]


def job(*words: str, device_type: str = "cuda") -> JobConfig:
    return parse([*PATHS, *words]).job(DATA, device_type)


def test_what_is_not_said_is_the_sources() -> None:
    assert job() == JobConfig(
        experiment="best",
        profile="train",
        seed=1337,
        data=DATA,
        augment=AugmentConfig(multipath=None, carrier_offset=None, noise=None),
        runtime=RuntimeConfig(precision="fp16", compile=False),
    )


def test_the_flags_of_the_source_set_its_knobs() -> None:
    words = """
        --arch gateddeltanet --batch_size 64 --epochs 60 --lr 1e-4 --dim 768 --depth 6 --heads 4 --head_dim 128
        --pooling attn --patch_size 128 --patch_stride 16 --weight_decay 0.1 --patch_embed_type stft --augment --compile
        --label_smoothing 0.1 --focal_loss --focal_gamma 3.0 --lr_patience 5 --seed 7
    """
    found = job(*words.split())
    assert found == JobConfig(
        experiment="best",
        profile="train",
        seed=7,
        data=DATA,
        model=ModelConfig(
            dim=768,
            depth=6,
            num_heads=4,
            head_dim=128,
            pooling="attention",
            patch_size=128,
            patch_stride=16,
            patch_embed="stft",
        ),
        loss=FocalConfig(gamma=3.0, label_smoothing=0.1),
        optim=OptimConfig(
            batch_size=64, epochs=60, learning_rate=1e-4, weight_decay=0.1, schedule=PlateauConfig(patience=5)
        ),
    )


@pytest.mark.parametrize(
    ("words", "device_type", "precision"),
    [
        ((), "cuda", "fp16"),
        ((), "cpu", "fp32"),
        (("--precision", "auto"), "cpu", "fp32"),
        (("--precision", "bf16"), "cuda", "bf16"),
        (("--precision", "fp16"), "cpu", "fp16"),
    ],
)
def test_precision_is_the_devices_unless_it_is_said(words: tuple[str, ...], device_type: str, precision: str) -> None:
    assert job(*words, device_type=device_type).runtime.precision == precision


def test_mamba2_is_the_mixer_of_that_name() -> None:
    assert job("--arch", "mamba2").model.mixer == "mamba2"


def test_any_knob_can_be_set() -> None:
    found = job(
        *("--set", "augment.roll.max_fraction=0.5", "--augment", "--set", "augment.noise=null"),
        *("--set", "model.aux_head={}", "--set", "data.shuffled_labels=true", "--set", "data.samples=100"),
    )
    assert found.augment == AugmentConfig(roll=RollConfig(max_fraction=0.5), noise=None)
    assert found.model.aux_head == AuxHeadConfig()
    assert found.data == msgspec.structs.replace(DATA, shuffled_labels=True, samples=100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--focal_gamma 2.0", "--focal_gamma has no effect without --focal_loss; add that, or leave the gamma out"),
        ("--scheduler cosine --lr_patience 3", "--lr_patience has no effect with --scheduler cosine; leave it out"),
        ("--scheduler one_cycle --warmup_epochs 3", "--warmup_epochs has no effect with --scheduler one_cycle"),
        ("--patch_size 16", "--patch_size 16 is below the patch stride, 32 if not said, .* say --patch_stride"),
        ("--lr 1 --lr 2", "--lr is said twice"),
        ("--augment --augment", "--augment is said twice"),
        (
            "--batch 64",
            "unrecognized arguments: --batch 64; `python -m model.studies.radio.by_hand --help` lists the flags",
        ),
        ("--mixer mamba2", "unrecognized arguments: --mixer mamba2"),
        ("stray", "unrecognized arguments: stray"),
        ("--dim", "argument --dim: expected one argument"),
        ("--dim wide", "argument --dim: invalid int value: 'wide'"),
        ("--dim 512.0", "argument --dim: invalid int value"),
        ("--arch transformer", "argument --arch: invalid choice: 'transformer'"),
        ("--patch_embed_type fft", "argument --patch_embed_type: invalid choice"),
        ("--device tpu", "argument --device: invalid choice"),
        ("--lr -1", "--lr: Expected `float` > 0.0"),
        ("--lr nan", "--lr: Expected `float` > 0.0"),
        ("--dim 4", "--dim: Expected `int` >= 8"),
        ("--expand_v 1.01", "head_dim 64 times expand_v 1.01"),
        ("--warmup_epochs 9 --epochs 9", "schedule.warmup_epochs 9 leaves nothing of 9 epochs"),
        ("--arch mamba2 --allow_neg_eigval", "allow_neg_eigval and mode have no effect with mixer mamba2"),
        ("--set model.dim", "--set model.dim: it must be KNOB=JSON"),
        ("--set model.pooling=last", "`last` is not JSON; a word needs quotes of its own"),
        ("--set model.width=3", "model: Object contains unknown field `width`"),
        ("--set data.speed=3", "data: Object contains unknown field `speed`"),
        ("--set loss.gamma=3.0", "loss: Object contains unknown field `gamma`"),
        ("--set data.samples=0", "data.samples: Expected `int` >= 1"),
        ("--dim 64 --set model.dim=32", "--set model.dim: --dim says this already; say it once"),
        ("--dim 64 --set model={}", "--set model: --dim says this already; say it once"),
        ("--set model.dim=32 --set model.dim=64", "--set model.dim: --dim says this already"),
        ("--set augment.roll={} --set augment.roll.max_fraction=1", "`augment.roll` says this already; say it once"),
        ('--focal_loss --set loss.kind="focal"', "--set loss.kind: `loss.kind` says this already"),
        ('--scheduler cosine --set optim.schedule={"kind":"plateau"}', "`optim.schedule.kind` says this already"),
        ("--set data.captures={}", "--set data.captures: this is not for --set to say"),
        ("--set data={}", "--set data: this is not for --set to say"),
        ('--set runtime.precision="fp32"', "--set runtime.precision: this is not for --set to say"),
        ('--set profile="paper"', "--set profile: this is not for --set to say"),
    ],
)
def test_what_says_nothing_possible_is_refused_in_a_sentence(words: str, message: str) -> None:
    with pytest.raises(FlagError, match=message):
        job(*words.split())


@pytest.mark.parametrize("left_out", ["--manifest", "--save_path"])
def test_manifest_and_save_path_must_be_said(left_out: str) -> None:
    place = PATHS.index(left_out)
    with pytest.raises(FlagError, match=f"the following arguments are required: {left_out}"):
        parse([*PATHS[:place], *PATHS[place + 2 :]])


def test_help_names_every_flag_and_the_exit_statuses() -> None:
    text = build_parser().format_help()
    assert all(f"--{flag.name} " in text for flag in FLAGS)
    assert "130 interrupted" in " ".join(text.split())


def test_every_flag_stands_for_a_knob_of_its_own() -> None:
    assert len(BY_KNOB) == len(FLAGS) == len({flag.name for flag in FLAGS})


@pytest.mark.parametrize(
    ("config", "field", "words"),
    [
        (ModelConfig, "pooling", POOLINGS.values()),
        (ModelConfig, "patch_embed", EMBEDDINGS.values()),
        (ModelConfig, "mode", MODES.values()),
        (ModelConfig, "mixer", next(flag.words.values() for flag in FLAGS if flag.name == "arch")),
        (OptimConfig, "optimizer", OPTIMIZERS.values()),
    ],
)
def test_a_flag_knows_every_word_of_its_knob(config: type, field: str, words: Any) -> None:
    assert set(words) == set(get_args(get_type_hints(config)[field]))


def test_every_schedule_can_be_said() -> None:
    kinds = {kind.__struct_config__.tag: kind for kind in (PlateauConfig, CosineConfig, OneCycleConfig)}
    assert set(SCHEDULERS) == set(kinds)
    for kind, names in SCHEDULERS.items():
        knobs = {flag.knob.rpartition(".")[2] for flag in FLAGS if flag.name in names}
        assert knobs <= set(kinds[kind].__struct_fields__)
        assert job("--scheduler", kind).optim.schedule == kinds[kind]()


def test_it_needs_no_torch() -> None:
    check = "import sys, model.studies.radio.flags; sys.exit(bool({'torch', 'numpy', 'h5py'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def build(config: type) -> st.SearchStrategy[Any]:
    """Any instance of a config that it accepts itself."""
    fields = {field.name: field for field in msgspec.structs.fields(config)}
    chosen = st.fixed_dictionaries({}, optional={name: values_of(field.type) for name, field in fields.items()})
    return chosen.map(lambda values: attempt(config, values)).filter(lambda made: made is not None)


def attempt(config: type, values: dict[str, Any]) -> Any:
    try:
        return msgspec.convert(msgspec.to_builtins(config(**values)), config)
    except ValueError:
        return None


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    kind = msgspec.inspect.type_info(annotation)
    return from_info(kind)


def from_info(kind: Any) -> st.SearchStrategy[Any]:
    drawn: st.SearchStrategy[Any]
    match kind:
        case msgspec.inspect.Metadata():
            drawn = from_info(kind.type)
        case msgspec.inspect.UnionType():
            drawn = st.one_of(*(from_info(one) for one in kind.types))
        case msgspec.inspect.NoneType():
            drawn = st.none()
        case msgspec.inspect.BoolType():
            drawn = st.booleans()
        case msgspec.inspect.LiteralType():
            drawn = st.sampled_from(kind.values)
        case msgspec.inspect.IntType():
            drawn = st.integers(kind.ge or 0, min(kind.le or 2000, 2000))
        case msgspec.inspect.FloatType():
            drawn = st.floats(kind.ge or kind.gt or 0.0, kind.le or kind.lt or 50.0, exclude_min=kind.gt is not None)
        case msgspec.inspect.StructType():
            drawn = build(kind.cls)
    return drawn


NAMED = ("format", "experiment", "profile", "data", "seed")
PARTS = st.fixed_dictionaries(
    {field.name: values_of(field.type) for field in msgspec.structs.fields(JobConfig) if field.name not in NAMED}
)
SETTINGS = st.fixed_dictionaries(
    {
        "shuffled_labels": st.booleans(),
        "samples": st.integers(1, 9000),
        "train": st.sampled_from([("LocA",), ("LocC", "LocA")]),
    }
)


@pytest.mark.parametrize("how", [True, False, "reduce-overhead"])
def test_each_way_to_compile_comes_back_from_its_flags(how: bool | str) -> None:
    config = job("--set", f"runtime.compile={json.dumps(how)}")
    words = to_flags(config, "m", "s")
    assert config.runtime.compile == how
    assert ("--compile" in words, 'runtime.compile="reduce-overhead"' in words) == (
        how is True,
        how not in (True, False),
    )
    assert parse(words).job(config.data, "cuda").runtime == config.runtime


@settings(max_examples=50, deadline=None)
@given(parts=PARTS, seed=st.integers(0, 2**32 - 1), data=SETTINGS)
def test_any_job_comes_back_from_its_flags(parts: dict[str, Any], seed: int, data: dict[str, Any]) -> None:
    names = {"experiment": "E5", "profile": "train", "seed": seed}
    wanted = attempt(JobConfig, names | parts | {"data": msgspec.structs.replace(DATA, **data)})
    assume(wanted is not None)
    command = parse(to_flags(wanted, "shards/manifest.json", "saved_models/E5.pth", DATA))
    assert (str(command.manifest), str(command.save_path)) == ("shards/manifest.json", "saved_models/E5.pth")
    assert command.job(DATA, "cpu") == command.job(DATA, "cuda") == wanted


def test_flags_of_a_plain_job_are_those_of_the_source() -> None:
    words = to_flags(job("--augment", "--focal_loss", "--compile"), *PATHS[1::2])
    named = [word for word in words if word.startswith("--")]
    assert "--set" not in named
    assert {"--focal_loss", "--augment", "--compile", "--head_dim"} <= set(named)
    assert not {"--lr_patience", "--scheduler", "--conv_bias", "--expand_v"} & set(named)


def test_values_of_set_are_json() -> None:
    words = to_flags(job("--set", "augment.crop={}"), *PATHS[1::2])
    knob, _, value = words[words.index("--set") + 1].partition("=")
    assert (knob, json.loads(value)) == ("augment.crop", {"min_fraction": 0.8})
