"""Law 10 of DESIGN.md: "A knob that has no effect is an error." So is a knob of a wrong name or out of range."""

import json
import math
from typing import Any

import msgspec
import pytest

from model.config import (
    FocalConfig,
    JobConfig,
    ModelConfig,
    NoiseConfig,
    decode_job,
    decode_run,
    encode_run,
    job_from_builtins,
)
from tests.builders.jobs import capture, values


def test_a_configuration_says_the_same_after_writing_and_reading() -> None:
    job = job_from_builtins(values(loss={"kind": "focal", "gamma": 1.5}, augment={"noise": None, "roll": {}}))
    assert decode_job(msgspec.json.encode(job)) == job
    assert decode_run(encode_run(job)) == job


def test_a_run_has_its_names_beside_its_parameters() -> None:
    run = json.loads(encode_run(job_from_builtins(values())))
    assert list(run) == ["format", "experiment", "profile", "seed", "params"]
    assert (run["format"], run["params"]["optim"]["epochs"]) == (2, 600)
    assert not {"format", "seed", "profile", "experiment"} & set(run["params"])


@pytest.mark.parametrize("content", [values(format=1), values(), {"format": 3}])
def test_a_run_of_another_version_is_told(content: dict[str, Any]) -> None:
    found = content.get("format", 0)
    sentence = f"its format is {found} and this version of Knockout reads format 2; train the run again"
    with pytest.raises(msgspec.ValidationError, match=sentence):
        decode_run(json.dumps(content).encode())


def test_what_is_left_out_is_the_source_study() -> None:
    job = job_from_builtins(values())
    assert (job.model.dim, job.model.depth, job.model.num_heads, job.model.head_dim) == (512, 4, 8, 64)
    assert (job.optim.learning_rate, job.optim.batch_size, job.optim.epochs) == (3e-4, 128, 600)
    assert (job.augment.roll, job.augment.phase_noise) == (None, None)
    assert job.augment.noise == NoiseConfig(min_snr_db=10.0, max_snr_db=40.0)


def test_a_configuration_never_changes() -> None:
    job = job_from_builtins(values())
    with pytest.raises(AttributeError, match="immutable"):
        job.model.dim = 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": {}}, r"unknown field `modle`$"),
        ({"model": {"num_head": 4}}, r"unknown field `num_head` - at `\$.model`"),
        ({"loss": {"kind": "cross_entropy", "gamma": 2.0}}, r"unknown field `gamma` - at `\$.loss`"),
        ({"loss": {"kind": "focl"}}, r"Invalid value 'focl' - at `\$.loss.kind`"),
        ({"loss": {"gamma": 2.0}}, r"missing required field `kind` - at `\$.loss`"),
        ({"augment": {"gain": {}}}, r"unknown field `gain` - at `\$.augment`"),
        ({"augment": {"noise": {"snr_db": 3}}}, r"unknown field `snr_db` - at `\$.augment.noise`"),
        (
            {"optim": {"schedule": {"kind": "plateau", "patients": 3}}},
            r"unknown field `patients` - at `\$.optim.schedule`",
        ),
        ({"runtime": {"precision": "fp8"}}, r"Invalid enum value 'fp8' - at `\$.runtime.precision`"),
        ({"data": {"captures": {"A": capture(packet=[0, 1])}}}, r"unknown field `packet` - at `\$.data.captures"),
        ({"data": {"layout": "csv"}}, r"Invalid enum value 'csv' - at `\$.data.layout`"),
        ({"format": 2}, r"Invalid enum value 2 - at `\$.format`"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        job_from_builtins(values(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, r"`int` >= 0 - at `\$.seed`"),
        ({"seed": 2**32}, r"at `\$.seed`"),
        ({"seed": "0"}, r"Expected `int`, got `str` - at `\$.seed`"),
        ({"model": {"dim": 7}}, r"`int` >= 8 - at `\$.model.dim`"),
        ({"model": {"dim": 64.5}}, r"Expected `int`, got `float` - at `\$.model.dim`"),
        ({"model": {"depth": 0}}, r"`int` >= 1 - at `\$.model.depth`"),
        ({"model": {"conv_bias": "yes"}}, r"Expected `bool`, got `str` - at `\$.model.conv_bias`"),
        ({"model": {"token_dropout": 1.0}}, r"`float` < 1.0 - at `\$.model.token_dropout`"),
        ({"model": {"pooling": "max"}}, r"Invalid enum value 'max' - at `\$.model.pooling`"),
        ({"loss": {"kind": "focal", "gamma": 0}}, r"`float` > 0.0 - at `\$.loss.gamma`"),
        ({"loss": {"kind": "focal", "label_smoothing": 1}}, r"`float` < 1.0 - at `\$.loss.label_smoothing`"),
        ({"augment": {"roll": {"max_fraction": 1.5}}}, r"`float` <= 1.0 - at `\$.augment.roll.max_fraction`"),
        ({"augment": {"multipath": {"num_taps": 17}}}, r"`int` <= 16 - at `\$.augment.multipath.num_taps`"),
        ({"optim": {"learning_rate": 0}}, r"`float` > 0.0 - at `\$.optim.learning_rate`"),
        ({"optim": {"weight_decay": -1e-3}}, r"`float` >= 0.0 - at `\$.optim.weight_decay`"),
        ({"optim": {"schedule": {"kind": "plateau", "factor": 1}}}, r"`float` < 1.0 - at `\$.optim.schedule.factor`"),
        ({"optim": {"epochs": 0}}, r"`int` >= 1 - at `\$.optim.epochs`"),
        ({"data": {"train": []}}, r"length >= 1 - at `\$.data.train`"),
        ({"data": {"report": []}}, r"length >= 1 - at `\$.data.report`"),
        ({"data": {"samples": 0}}, r"`int` >= 1 - at `\$.data.samples`"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_bound_and_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        job_from_builtins(values(**changes))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("model", "expand_v"),
        ("optim", "learning_rate"),
        ("optim", "clip_norm"),
        ("augment.carrier_offset", "max_hz"),
        ("augment.phase_noise", "max_linewidth_hz"),
        ("augment.multipath", "max_delay_spread_s"),
        ("augment.noise", "max_snr_db"),
        ("data", "sample_rate_hz"),
    ],
)
def test_a_number_is_finite(section: str, name: str, value: float) -> None:
    changes: dict[str, Any] = {name: value}
    for part in reversed(section.split(".")):
        changes = {part: changes}
    with pytest.raises(msgspec.ValidationError, match=rf"`{name}` is .*finite|at `\$.{section}.{name}`"):
        job_from_builtins(values(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"head_dim": 9, "expand_v": 1.5}},
            "head_dim 9 times expand_v 1.5 is 13.5, a head's value width must be a whole number",
        ),
        ({"model": {"dim": 8, "mlp_ratio": 0.1}}, "mlp_ratio 0.1 times dim 8 leaves the gated MLP no width"),
        (
            {"augment": {"multipath": {"min_delay_spread_s": 2e-7, "max_delay_spread_s": 1e-7}}},
            "min_delay_spread_s 2e-07 is above max_delay_spread_s 1e-07",
        ),
        ({"augment": {"noise": {"min_snr_db": 50}}}, "min_snr_db 50 is above max_snr_db 40"),
        (
            {"data": {"captures": {"A": capture(devices=[3, 3])}}},
            r"devices \[3, 3\] is empty; a range is \[first, last \+ 1\], counted from 0",
        ),
        ({"data": {"captures": {"A": capture(packets=[-1, 3])}}}, r"packets \[-1, 3\] is empty"),
        ({"data": {"train": ["B"]}}, "`train` names the capture `B`; there are A, V, C, D"),
        ({"data": {"choose": ["B"]}}, "`choose` names the capture `B`; there are A, V, C, D"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused_in_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        job_from_builtins(values(**changes))


def test_a_missing_part_is_named() -> None:
    lacking = values()
    del lacking["data"]["validate"]
    with pytest.raises(msgspec.ValidationError, match=r"missing required field `validate` - at `\$.data`"):
        job_from_builtins(lacking)


def test_a_torn_file_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError, match="truncated"):
        decode_job(json.dumps(values()).encode()[:-5])


def test_every_knob_that_takes_a_number_says_what_it_is() -> None:
    assert isinstance(job_from_builtins(values()), JobConfig)
    for config in (ModelConfig, FocalConfig):
        properties = msgspec.json.schema(config)["$defs"][config.__name__]["properties"]
        assert all("description" in told for name, told in properties.items() if name != "kind"), config
