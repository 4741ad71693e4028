import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from model.classifier import count_parameters
from model.config import JobConfig
from model.describe import describe, main
from model.trainer import build_model

JobBuilder = Callable[..., JobConfig]


def test_a_description_counts_tokens_and_parameters(build_job: JobBuilder) -> None:
    config = build_job()
    answer = describe(config, None)
    assert answer.tokens == 12
    assert answer.parameters == count_parameters(build_model(config, 3, torch.device("cpu")))
    assert answer.problem is None


def test_the_paper_profile_is_described_without_memory_or_captures(build_job: JobBuilder) -> None:
    paper = {"dim": 512, "depth": 4, "num_heads": 8, "head_dim": 64, "mlp_multiple": 256}
    patches = {"patch_size": 64, "patch_stride": 32}
    devices = {name: {"devices": (35, 45)} for name in ("train", "val", "choose", "report")}
    config = build_job(model=paper | patches, data={"captures": devices, "samples": 8192})
    answer = describe(config, None)
    assert (answer.tokens, answer.parameters) == (256, 17_967_690)


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_a_precision_that_the_machine_lacks_is_the_problem(build_job: JobBuilder, captures: Path) -> None:
    assert "fp16, which needs a CUDA GPU" in describe(build_job(runtime={"precision": "fp16"}), captures).problem


def test_many_configurations_are_described_in_their_order(
    build_job: JobBuilder,
    captures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = [build_job(), build_job(model={"patch_stride": 8}), build_job(data={"samples": 99})]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(msgspec.json.encode(asked))))
    assert main(["--data-folder", str(captures)]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["tokens"] for answer in answers] == [12, 6, 25]
    assert [answer["problem"] is None for answer in answers] == [True, True, False]
