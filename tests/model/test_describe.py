"""Configurations are described by a process of their own, in their order."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from model.config import JobConfig
from model.describe import main

JobBuilder = Callable[..., JobConfig]


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
