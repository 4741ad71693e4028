import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import torch

from model.config import JobConfig
from model.studies.radio.describe import describe
from model.studies.radio.network import build_classifier, count_parameters

JobBuilder = Callable[..., JobConfig]


def test_a_description_counts_tokens_and_parameters(build_job: JobBuilder) -> None:
    config = build_job()
    answer = describe(config, None)
    assert answer.tokens == 12
    assert answer.parameters == count_parameters(build_classifier(config, 3, torch.device("cpu")))
    assert answer.problem is None


@pytest.mark.parametrize(("num_heads", "head_dim", "parameters"), [(8, 64, 17_967_690), (4, 128, 17_951_786)])
def test_the_paper_profile_is_described_without_memory_or_captures(
    build_job: JobBuilder, num_heads: int, head_dim: int, parameters: int
) -> None:
    paper = {"dim": 512, "depth": 4, "num_heads": num_heads, "head_dim": head_dim, "mlp_multiple": 256}
    patches = {"patch_size": 64, "patch_stride": 32}
    devices = {name: {"devices": (35, 45)} for name in ("train", "val", "choose", "report")}
    config = build_job(model=paper | patches, data={"captures": devices, "samples": 8192})
    answer = describe(config, None)
    assert (answer.tokens, answer.parameters) == (256, parameters)


@pytest.mark.parametrize(
    ("changes", "more_parameters"),
    [
        ({"resid_dropout": 0.5, "stochastic_depth": 0.5, "token_dropout": 0.5}, 0),
        # Real and imaginary parts of 8 frequencies, as many as I and Q of 8 samples.
        ({"patch_embed": "stft"}, 0),
        ({"patch_embed": "multi_scale"}, 16 * (2 * (4 + 16) + 2)),
        ({"learned_positions": True}, 12 * 16),
        ({"pooling": "attention"}, 16),
        ({"pooling": "cls_first"}, 16),
        ({"depth": 2, "aux_head": {"after_block": 1}}, 16 + 16 * 3 + 3),
        ({"depth": 2, "pooling": "attention", "aux_head": {"after_block": 1}}, 16 + 16 + 16 + 16 * 3 + 3),
    ],
    ids=str,
)
def test_each_knob_adds_the_parameters_that_it_names(
    build_job: JobBuilder, changes: dict[str, object], more_parameters: int
) -> None:
    plain = describe(build_job(model={"depth": changes.get("depth", 1)}), None)
    answer = describe(build_job(model=changes), None)
    assert answer.parameters - plain.parameters == more_parameters
    assert answer.tokens == 12 + (changes.get("pooling") == "cls_first")


@pytest.mark.parametrize(
    ("changes", "mixer_parameters"),
    [
        # Width 16, two heads of 8: four projections.
        ({"depth": 2, "softmax_every": 2}, 4 * 16 * 16),
        # 32 channels inside, B and C of 8 each, and two heads: projections, convolution of 4 taps, norm, three a head.
        ({"depth": 2, "mixer": "mamba2"}, 16 * (2 * 32 + 16 + 2) + 48 * 4 + 32 + 32 * 16 + 3 * 2),
    ],
    ids=str,
)
def test_the_parameters_of_another_mixer_are_counted(
    build_job: JobBuilder, changes: dict[str, object], mixer_parameters: int
) -> None:
    config = build_job(model=changes)
    model = build_classifier(config, 3, torch.device("cpu"))
    assert count_parameters(model.backbone.blocks[1].attn) == mixer_parameters
    assert describe(config, None).parameters == count_parameters(model)


def test_captures_that_fit_are_no_problem(build_job: JobBuilder, captures: Path) -> None:
    assert describe(build_job(), captures).problem is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": {"captures": {"report": {"path": "gone.h5"}}}}, "gone.h5: the capture file is not there"),
        ({"data": {"captures": {"val": {"packets": (12, 99)}}}}, "has 20 packets; `packets` asks for [12, 99]"),
        ({"data": {"captures": {"train": {"devices": (2, 4)}}}}, "has devices [4] that no training capture has"),
        ({"data": {"samples": 49}}, "`data` has 48 samples a burst, `samples` asks for 49"),
    ],
)
def test_a_capture_that_does_not_fit_is_the_problem(
    build_job: JobBuilder, captures: Path, changes: dict[str, object], problem: str
) -> None:
    assert problem in describe(build_job(**changes), captures).problem


def state_another_rate(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["sample_rate"] = 2e6


def keep_the_data_elsewhere(path: Path) -> None:
    other = path.rename(path.with_name("other.h5"))
    with h5py.File(other) as old, h5py.File(path, "w") as new:
        new["label"] = old["label"][:]
        new["data"] = h5py.ExternalLink("other.h5", "/data")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (state_another_rate, "there.h5: sampled at 2e+06 Hz, FOLDER/here.h5 at 1e+06 Hz; all captures need one rate"),
        (
            keep_the_data_elsewhere,
            "there.h5: `data` is a link to `/data` in the file other.h5; every byte of a capture",
        ),
    ],
)
def test_captures_that_are_not_what_they_seem_are_the_problem(
    change: Callable[[Path], None], problem: str, build_job: JobBuilder, captures: Path, tmp_path: Path
) -> None:
    """The capture that is only scored at the end is looked at as well."""
    folder = Path(shutil.copytree(captures, tmp_path / "captures"))
    change(folder / "there.h5")
    found = describe(build_job(), folder).problem
    assert found is not None
    assert problem in found.replace(str(folder), "FOLDER")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_a_precision_that_the_machine_lacks_is_the_problem(build_job: JobBuilder, captures: Path) -> None:
    assert "fp16, which needs a CUDA GPU" in describe(build_job(runtime={"precision": "fp16"}), captures).problem
