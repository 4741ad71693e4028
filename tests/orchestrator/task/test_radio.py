"""What is asked of the installed radio study for `knockout data` and `knockout doctor`."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.errors import DataError
from orchestrator.task.radio import find_shared_bursts, measure_speed

SPEED = b'{"device": "cpu", "epoch_seconds": [1.0], "data_seconds": [null], "skipped_steps": 0, "peak_memory_bytes": 9}'


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The questions that were asked; each is answered by the next text of `said`."""
    questions: list[Any] = []

    def call(words: Any, question: bytes, *_: Any) -> Any:
        questions.append((words[2], msgspec.json.decode(question)))
        return subprocess.CompletedProcess(words, 0, SPEED if words[2] == "model.speed" else b"null", b"")

    monkeypatch.setattr("orchestrator.task.call.call", call)
    return questions


def test_a_speed_is_measured_of_a_job_with_the_parameters(asked: list[Any]) -> None:
    assert measure_speed({"optim": {"epochs": 3}}, 2, "cpu").epoch_seconds == (1.0,)
    [(module, job)] = asked
    assert (module, job["optim"], job["seed"]) == ("model.speed", {"epochs": 3}, 0)


def test_bursts_are_compared_by_the_hashes_of_their_files(asked: list[Any], tmp_path: Path) -> None:
    assert find_shared_bursts({"train": ["A"]}, tmp_path, {"a.h5": "da7a"}, tmp_path / "bursts") is None
    [(module, question)] = asked
    assert (module, question["sha256"]) == ("model.data.shared_bursts", {"a.h5": "da7a"})


def test_a_measurement_without_an_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = subprocess.CompletedProcess([], 0, b"noise", b"")
    monkeypatch.setattr("orchestrator.task.call.call", lambda *_: silent)
    with pytest.raises(DataError, match=r"^`python -m model\.speed .*` gave no answer that can be read; .*: noise$"):
        measure_speed({}, 1)
