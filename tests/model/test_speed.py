import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model import speed
from model.config import JobConfig
from model.endings import NO_SPACE
from model.speed import Speed, main, measure, write_noise
from model.train.device import JobError
from model.train.run_folder import RunFolder

JobBuilder = Callable[..., JobConfig]


def test_noise_has_the_shape_of_the_captures(build_job: JobBuilder, tmp_path: Path) -> None:
    config = build_job()
    data = write_noise(config.data, tmp_path)
    assert data.layout == "shards"
    for name, capture in data.captures.items():
        shard = np.load(tmp_path / capture.path, allow_pickle=False)
        bursts = math.prod(stop - start for start, stop in (capture.devices, capture.packets))
        assert (shard.shape, shard.dtype) == ((bursts, 2, config.data.samples), np.float32), name
        assert shard.std() == pytest.approx(1.0, abs=0.05)


def test_each_epoch_is_timed(build_job: JobBuilder, tmp_path: Path) -> None:
    speed = measure(build_job(optim={"epochs": 600}), 2, "cpu", tmp_path)
    assert len(speed.epoch_seconds) == len(speed.data_seconds) == 2
    assert all(0 < seconds < 60 for seconds in speed.epoch_seconds)
    assert speed.peak_memory_bytes > 1e6


def test_a_training_that_ends_early_is_no_measurement(build_job: JobBuilder, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"ended early: epoch \d: only \d+ of \d+ steps had a finite loss and gradient"):
        measure(build_job(optim={"learning_rate": 1e30}), 3, "cpu", tmp_path)


def ask(monkeypatch: pytest.MonkeyPatch, config: JobConfig, *words: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(msgspec.json.encode(config))))
    return main([*words])


def test_the_command_answers_in_json(
    build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, build_job(), "--epochs", "1", "--device", "cpu") == 0
    assert len(msgspec.json.decode(capsys.readouterr().out, type=Speed).epoch_seconds) == 1


def test_what_cannot_be_done_here_is_said_in_a_sentence(
    build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = build_job(runtime={"precision": "fp16"})
    assert ask(monkeypatch, config, "--epochs", "1", "--device", "cpu") == 2
    assert "fp16, which needs a CUDA GPU" in capsys.readouterr().err


def test_a_training_that_ends_without_a_result_says_what_its_log_says(
    build_job: JobBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_on_a_full_disk(study: object, run: RunFolder, *rest: object) -> int:
        tell = rest[-1]
        assert callable(tell)
        tell("the disk is full")
        return NO_SPACE

    monkeypatch.setattr(speed, "run_job", run_on_a_full_disk)
    with pytest.raises(JobError, match="the training ended early: the disk is full"):
        measure(build_job(), 1, "cpu", tmp_path)
