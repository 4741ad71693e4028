"""Law 1 of DESIGN.md: "The same spec gives the same ids.\""""

from typing import Any

import pytest
from msgspec import structs

from orchestrator.runs.identity import CodeAndData, identity_hash, identity_parts, run_id
from orchestrator.task.spec import EnvSpec, LabelsSpec, TaskSpec

FILES = {"data/A.h5": "a" * 64, "data/B.h5": "b" * 64}
INPUTS = CodeAndData(code_tree="0" * 40, files=FILES, data={"text": "d" * 64})
TASK = TaskSpec(command=("python", "train.py"), code=("train.py",), cosmetic=("runtime.workers",))
PARAMS: dict[str, Any] = {
    "lr": 1e-3,
    "runtime": {"workers": 2, "compile": True},
    "data": {"A": {"path": "data/A.h5"}, "B": {"path": "data/B.h5"}},
}


def hash_of(task: TaskSpec = TASK, seed: int = 3, inputs: CodeAndData = INPUTS, **params: Any) -> str:
    return identity_hash(task, PARAMS | params, seed, inputs)


def test_a_run_is_named_by_experiment_seed_and_hash() -> None:
    assert run_id("E5", 3, hash_of()) == f"E5-s3-{hash_of()[:8]}"


@pytest.mark.parametrize(
    "task",
    [
        structs.replace(TASK, labels=LabelsSpec(item="burst")),
        structs.replace(TASK, outputs=("out",)),
        structs.replace(TASK, code=("train.py", "model.py")),
    ],
)
def test_what_changes_no_number_of_a_task_is_no_part_of_an_identity(task: TaskSpec) -> None:
    """The content of the code counts, not the way in which it is named."""
    assert hash_of(task) == hash_of()


def test_what_is_cosmetic_is_no_part_of_an_identity() -> None:
    assert hash_of(runtime={"workers": 9, "compile": True}) == hash_of()
    assert identity_parts(TASK, PARAMS, 3, INPUTS)["params"]["runtime"] == {"compile": True}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"lr": 2e-3},
        {"inputs": structs.replace(INPUTS, code_tree="1" * 40)},
        {"inputs": structs.replace(INPUTS, files=FILES | {"data/A.h5": "c" * 64})},
        {"inputs": structs.replace(INPUTS, data={"text": "e" * 64})},
        {"task": structs.replace(TASK, command=("python", "other.py"))},
        {"task": structs.replace(TASK, env=EnvSpec(values={"MODE": "fast"}))},
        {"task": structs.replace(TASK, style="literal")},
        {"task": structs.replace(TASK, reads=("seed",))},
    ],
)
def test_what_changes_numbers_changes_the_hash(changes: dict[str, Any]) -> None:
    assert hash_of(**changes) != hash_of()


def test_a_file_counts_by_its_content_and_not_by_where_it_lies() -> None:
    parts = identity_parts(TASK, PARAMS, 3, INPUTS)
    assert [each["path"] for each in parts["params"]["data"].values()] == ["a" * 64, "b" * 64]
    elsewhere = {"A": {"path": "/mnt/A.h5"}, "B": {"path": "/mnt/B.h5"}}
    moved = structs.replace(INPUTS, files={"/mnt/A.h5": "a" * 64, "/mnt/B.h5": "b" * 64})
    assert hash_of(inputs=moved, data=elsewhere) == hash_of()
