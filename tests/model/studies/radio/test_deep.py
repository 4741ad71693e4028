"""A deep check opens the captures: sizes, what this machine cannot train, and bursts that roles share."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.studies.radio import deep
from model.studies.radio.params import Answer
from model.studies.radio.task import Check, check
from tests.model.conftest import job_values, merged


def params(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(merged(job_values(), changes)))
    return {name: value for name, value in found.items() if name not in ("experiment", "profile", "seed")}


@pytest.fixture
def folder(captures: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(captures, tmp_path / "captures"))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The comparisons that were made."""
    found: list[object] = []
    original = deep.find_shared_bursts

    def counting(question: Any) -> str | None:
        found.append(question.data)
        return original(question)

    monkeypatch.setattr(deep, "find_shared_bursts", counting)
    return found


def look(folder: Path, *configs: dict[str, Any], there: str = "1") -> list[Answer]:
    hashes = {"here.h5": "0", "there.h5": there}
    return check(
        Check(root=str(folder), deep=True, configs=list(configs), hashes=hashes, remembered=str(folder.parent / "kept"))
    )


def test_a_deep_check_counts_tokens_and_parameters(folder: Path) -> None:
    (found,) = check(Check(root=str(folder), deep=True, configs=[params()]))
    assert found.problem is None
    assert found.facts["tokens"] == 12
    assert found.facts["parameters"] > 1000


def test_a_capture_that_does_not_fit_is_the_problem_of_its_configuration_alone(folder: Path) -> None:
    wrong = params(data={"captures": {"report": {"path": "gone.h5"}}})
    unknown = params(modle={})
    good, gone, refused = check(Check(root=str(folder), deep=True, configs=[params(), wrong, unknown]))
    assert good.problem is None
    assert gone.problem is not None
    assert "gone.h5: the capture file is not there" in gone.problem.message
    assert (refused.problem is not None, refused.facts) == (True, {})


def test_captures_that_were_found_apart_are_compared_once(folder: Path, compared: list[object]) -> None:
    shuffled = params(data={"shuffled_labels": True})
    for _ in range(2):
        assert [one.problem for one in look(folder, params(), shuffled, params())] == [None] * 3
    assert len(compared) == 1
    look(folder, params(), there="2")
    assert len(compared) == 2


def test_a_copy_under_another_name_is_refused_each_time(folder: Path, compared: list[object]) -> None:
    with h5py.File(folder / "here.h5") as old, h5py.File(folder / "there.h5", "w") as new:
        new["data"], new["label"] = old["data"][:].astype("f8"), old["label"][:]
    for _ in range(2):
        (found,) = look(folder, params())
        assert found.problem is not None
        assert "share" in found.problem.message
        assert "by content" in found.problem.message
        assert found.problem.at == ("data",)
    assert len(compared) == 2


def test_where_nothing_can_be_remembered_captures_are_compared_each_time(folder: Path, compared: list[object]) -> None:
    (folder.parent / "kept").write_text("a file")
    for _ in range(2):
        assert look(folder, params())[0].problem is None
    assert len(compared) == 2


def test_a_spoilt_capture_is_told_when_bursts_are_compared(folder: Path) -> None:
    with h5py.File(folder / "there.h5", "r+") as opened:
        opened["data"][2] = np.nan
    (found,) = look(folder, params())
    assert found.problem is not None
    assert "there.h5: has NaN" in found.problem.message
