"""What of a campaign file a check reads, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.checks.asked import CheckedFile, read_checked, read_file
from orchestrator.errors import KnockoutError

TASK = 'task: {command: [python, train.py, "--seed={seed}", "{params}"], code: [train.py]}\n'


def read(text: str, profile: str | None = None, *sets: str) -> CheckedFile:
    return read_checked(read_file(Path("experiments.yaml"), text), profile, sets)


def test_a_file_that_names_no_metric_is_read() -> None:
    found = read("campaign: a\n" + TASK + "baseline: {lr: 0.1, title: Mine, params: {title: x}}\nseeds: 5\n")
    assert (found.profile, found.params, found.metrics) == ("", {"lr": 0.1, "title": "x"}, {})
    assert (found.num_experiments, found.num_seeds, found.has_guards) == (1, 5, False)


def test_the_smallest_profile_is_taken_and_its_baseline_lies_on_top() -> None:
    text = TASK + "baseline: {epochs: 90, net: {depth: 4, width: 2}}\nseeds: [1, 2]\nguards: {run_seconds: 5}\n"
    text += "experiments: {deep: {change: {net.depth: 8}}}\n"
    text += "profiles: {paper: {}, smoke: {baseline: {epochs: 1, net: {depth: 1}}, seeds: 1}}\n"
    found = read(text)
    assert found.profile == "smoke"
    assert found.params == {"epochs": 1, "net": {"depth": 1, "width": 2}}
    assert (found.num_experiments, found.num_seeds, found.has_guards) == (2, 1, True)
    assert read(text, "paper").params["epochs"] == 90
    assert read(text, "paper").num_seeds == 2


@pytest.mark.parametrize(
    ("head", "profile"),
    [("default_profile: b\n", "b"), ("", "a")],
)
def test_without_smoke_the_usual_profile_is_taken(head: str, profile: str) -> None:
    assert read(head + TASK + "profiles: {a: {}, b: {}}\n").profile == profile


def test_parameters_are_set_for_these_runs_alone() -> None:
    text = TASK + "baseline: {epochs: 90, lr: 0.1, name: x}\n"
    assert read(text, None, "epochs=1", "lr=1", "name=x").params == {"epochs": 1, "lr": 1.0, "name": "x"}


def test_a_task_that_is_written_elsewhere_is_read(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("command: [python, train.py, '{seed}']\ncode: [train.py]\n")
    source = read_file(tmp_path / "experiments.yaml", "task: {from: task.yaml, outputs: [out]}\n")
    assert read_checked(source, None).task.outputs == ("out",)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            "campaign: a\n",
            {},
            "has no section `task`, so there is no command of yours to check; `knockout init SCRIPT`",
        ),
        (
            "task: {command: [a], code: [a], supervised: false}\n",
            {},
            "the command of this task is a job of Knockout's own, which needs no check; `knockout plan`",
        ),
        (TASK, {"profile": "smoke"}, "there is no profile `smoke`; it has none"),
        (TASK + "profiles: {smok: {}}\n", {"profile": "smoke"}, "did you mean `smok`?"),
        (TASK + "baseline: {lr: 1}\n", {"sets": ["lr"]}, "--set lr: write a parameter and its value, such as"),
        (TASK + "baseline: {lr: 1}\n", {"sets": ["l=2"]}, "--set l=2: there is no parameter `l`; did you mean `lr`?"),
        (TASK + "baseline: {lr: 1}\n", {"sets": ["lr=[1"]}, "--set lr=[1: `[1` cannot be read; write it as"),
        ("task: {comand: [a]}\n", {}, "experiments.yaml:1: task"),
        (TASK + "metrics: {loss: {better: up, margin: 1}}\n", {}, "experiments.yaml:2: metrics.loss"),
    ],
)
def test_what_cannot_be_checked_is_told(text: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(KnockoutError) as error:
        read(text, options.get("profile"), *options.get("sets", ()))
    assert said in str(error.value)
