"""The radio study is a task like any other: its file is one, and its commands answer what the orchestrator asks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from model.config import COSMETIC
from orchestrator.task.ask import find_answers
from orchestrator.task.spec import TaskSpec, parse_task
from tests.builders.jobs import params

ROOT = Path(__file__).parents[2]
FILE = ROOT / "model/studies/radio/task.yaml"


@pytest.fixture(scope="module")
def task() -> TaskSpec:
    return parse_task(YAML(typ="safe").load(FILE.read_text()))


def ask(command: Any, question: dict[str, Any]) -> "subprocess.CompletedProcess[bytes]":
    words = [sys.executable if word == "{python}" else word for word in command]
    return subprocess.run(words, cwd=ROOT, input=json.dumps(question).encode(), capture_output=True, check=False)


def test_its_file_is_a_task_that_writes_its_own_run_folder(task: TaskSpec) -> None:
    assert not task.supervised
    assert task.shares_checkout
    assert task.code == ("model",)
    assert (task.labels.item, task.labels.stratum, task.labels.cluster, task.labels.split) == (
        "burst", "device", "session", "capture",
    )  # fmt: skip


def test_its_cosmetic_parameters_are_those_that_change_no_number(task: TaskSpec) -> None:
    assert {*task.cosmetic, "experiment", "profile"} == set(COSMETIC)


def test_its_check_answers_and_its_control_shuffles_labels(task: TaskSpec) -> None:
    ((parameter, value),) = task.controls["shuffled_labels"].items()
    section, name = parameter.split(".")
    done = ask(task.check, {"root": "/", "configs": [params(), params(**{section: {name: value}})]})
    answers = next(find_answers(done.stdout, list[dict[str, Any]]))
    assert [answer["shuffled"] for answer in answers] == [False, True]
    assert [answer["problem"] for answer in answers] == [None, None]


def test_its_schema_is_one_line_and_its_prepare_makes_nothing_where_nothing_is_asked(task: TaskSpec) -> None:
    schema = next(find_answers(ask(task.schema, {}).stdout, dict[str, Any]))
    assert set(schema["properties"]) == {"data", "model", "loss", "augment", "optim", "runtime", "test_time"}
    done = ask(task.prepare, {"root": "/", "configs": []})
    assert (done.returncode, done.stdout) == (0, b"")


def test_its_file_is_part_of_the_package() -> None:
    assert '"model.studies.radio" = ["task.yaml"]' in (ROOT / "pyproject.toml").read_text()
