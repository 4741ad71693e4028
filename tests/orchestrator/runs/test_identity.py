"""Law 1 of DESIGN.md: "The same spec gives the same ids.\""""

from typing import Any

import pytest

from model.config import JobConfig, job_from_builtins
from orchestrator.runs.identity import CodeAndData, identity_hash, identity_parts, run_id

INPUTS = CodeAndData(code_tree="0" * 40, captures={"data/A.h5": "a" * 64, "data/B.h5": "b" * 64, "data/C.h5": "c" * 64})
BEFORE_CHECKPOINT_EPOCHS = "f7786c4cd45f4f93f5e66cbdfdc244337f4101ba23723458b74f78b1df3bd284"
"""The hash of `a_job()` in the versions before there was a knob for checkpoints."""


def a_job(**changes: Any) -> JobConfig:
    data = {
        "captures": {
            "A": {"path": "data/A.h5", "devices": (0, 4), "packets": (0, 30)},
            "B": {"path": "data/B.h5", "devices": (0, 4), "packets": (30, 40)},
            "C": {"path": "data/C.h5", "devices": (0, 4), "packets": (0, 9)},
        },
        "train": ("A",),
        "validate": ("B",),
        "report": ("C",),
        "samples": 64,
    }
    return job_from_builtins({"experiment": "E5", "profile": "quick", "seed": 3, "data": data} | changes)


def test_a_hash_of_an_earlier_version_stays_what_it_was() -> None:
    assert identity_hash(a_job(), INPUTS) == BEFORE_CHECKPOINT_EPOCHS
    assert run_id("E5", 3, BEFORE_CHECKPOINT_EPOCHS) == "E5-s3-f7786c4c"


@pytest.mark.parametrize(
    "changes", [{"experiment": "H2"}, {"profile": "paper"}, {"runtime": {"checkpoint_epochs": 50}}]
)
def test_what_changes_no_number_is_no_part_of_an_identity(changes: dict[str, Any]) -> None:
    assert identity_parts(a_job(**changes), INPUTS) == identity_parts(a_job(), INPUTS)


@pytest.mark.parametrize("changes", [{"seed": 4}, {"runtime": {"compile": False}}, {"optim": {"epochs": 5}}])
def test_what_changes_numbers_changes_the_hash(changes: dict[str, Any]) -> None:
    assert identity_hash(a_job(**changes), INPUTS) != identity_hash(a_job(), INPUTS)


def test_a_capture_counts_by_its_content_and_not_by_where_it_lies() -> None:
    parts = identity_parts(a_job(), INPUTS)
    assert [capture["path"] for capture in parts["config"]["data"]["captures"].values()] == [
        letter * 64 for letter in "abc"
    ]
