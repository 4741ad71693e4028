"""Metrics, progress and items that a run told and its file does not name."""

from typing import Any

import pytest

from orchestrator.checks.guesses import guess_items, guess_metrics, guess_progress
from orchestrator.checks.observed import Observed, TableSeen
from orchestrator.reading.progress import Row
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.spec import parse_task

TASK = parse_task({"command": ["sh", "{seed}"], "code": ["a"]})
WITH_PROGRESS = parse_task({"command": ["sh", "{seed}"], "code": ["a"], "progress": {"stdout": "{correct}/{total}"}})


def guessed(observed: Observed, task: Any = TASK) -> dict[str, Any]:
    found = {offer.where[1]: offer.value for offer in guess_metrics(task, observed)}
    # Whatever is offered is a valid section.
    assert not found or parse_metrics(found)
    return found


def table(kind: Any, path: str, *names: str) -> Observed:
    return Observed(seed=0, tables=(TableSeen(path=path, kind=kind, names=names),))


@pytest.mark.parametrize(
    ("lines", "preset"),
    [
        (("val_loss: 1.2",), "key_value"),
        (("{'loss': 0.5, 'epoch': 1.0}",), "huggingface"),
        (("hello",), None),
        ((), None),
    ],
)
def test_lines_of_a_known_form_are_progress(lines: tuple[str, ...], preset: str | None) -> None:
    offer = guess_progress(TASK, lines)
    assert (offer.value if offer else None) == (preset and {"stdout": f"preset:{preset}"})
    assert guess_progress(WITH_PROGRESS, lines) is None


def test_lines_of_a_known_form_tell_metrics() -> None:
    observed = Observed(seed=0, lines=("train_loss: 0.5", "val_loss: 1.2", "epoch: 3"))
    assert guessed(observed) == {
        "val_loss": {"better": "lower", "margin": "1%"},
        "train_loss": {"better": "lower", "role": "shown"},
    }
    assert guessed(observed, WITH_PROGRESS) == {}


def test_a_ratio_of_the_progress_is_an_accuracy() -> None:
    rows = (Row(values={"correct/total": 0.9}),)
    assert guessed(Observed(seed=0, rows=rows), WITH_PROGRESS) == {
        "accuracy": {"better": "higher", "margin": "1%", "from": {"progress": "correct/total"}}
    }


def test_what_is_told_of_the_finished_training_is_judged() -> None:
    rows = (Row(step=1.0, values={"val_loss": 0.9}), Row(values={"f1": 0.5}))
    assert list(guessed(Observed(seed=0, rows=rows))) == ["f1", "val_loss"]


@pytest.mark.parametrize(
    ("kind", "path", "source"),
    [
        ("reported", "reported.jsonl", {"reported": "val_loss"}),
        ("csv", "out/log.csv", {"csv": "out/log.csv", "column": "val_loss"}),
        ("jsonl", "out/log.jsonl", {"jsonl": "out/log.jsonl", "key": "val_loss"}),
        ("json", "out/end.json", {"file": "out/end.json", "key": "val_loss"}),
        ("trainer_state", "out/trainer_state.json", {"trainer_state": "out/trainer_state.json", "key": "val_loss"}),
    ],
)
def test_a_table_tells_metrics(kind: str, path: str, source: dict[str, str]) -> None:
    found = guessed(table(kind, path, "epoch", "val_loss"))
    assert found == {"val_loss": {"better": "lower", "margin": "1%", "from": source}}


def test_items_are_the_strongest_evidence() -> None:
    items = TableSeen(path="{run_folder}/scores/test.csv", kind="scores", names=("key", "y_true", "y_pred", "correct"))
    lines = TableSeen(path="reported.jsonl", kind="reported", names=("val_loss",))
    found = guessed(Observed(seed=0, tables=(lines, items)))
    assert list(found) == ["R2", "RMSE", "accuracy", "val_loss"]
    assert found["R2"] == {"better": "higher", "margin": "1%", "from": {"items": "test", "r2": ["y_true", "y_pred"]}}
    assert found["RMSE"]["from"] == {"items": "test", "rmse": "y_true - y_pred"}
    assert found["accuracy"]["from"] == {"items": "test", "mean": "correct"}


def test_a_table_of_items_is_offered_with_its_groups() -> None:
    names = ("key", "cluster", "stratum", "correct")
    tables = [TableSeen(path="{run_folder}/scores/test.csv", kind="scores", names=names)]
    (offer,) = guess_items(TASK, tables)
    assert offer.where == ("task", "items", "test")
    wanted = {"file": "{run_folder}/scores/test.csv", "key": "key", "cluster": "cluster", "stratum": "stratum"}
    assert offer.value == wanted
    named = parse_task({"command": ["sh", "{seed}"], "code": ["a"], "items": {"test": wanted}})
    assert guess_items(named, tables) == []


def test_names_of_no_metric_are_left_out() -> None:
    assert guessed(table("csv", "a.csv", "epoch", "seconds", "lr")) == {}
