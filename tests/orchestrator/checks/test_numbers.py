"""The numbers and items of a checked run."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checks.numbers import RunPlaces, look_at_items, read_metrics, read_progress_rows
from orchestrator.checks.observed import ItemsSeen
from orchestrator.errors import KnockoutError
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.spec import TaskSpec, parse_task

LOG = "epoch 1: loss 0.5\nepoch 2: loss 0.25\nAccuracy: 3/4 (75%)\n"


@pytest.fixture
def places(tmp_path: Path) -> RunPlaces:
    for name in ("folder/scores", "checkout/out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "folder/train.log").write_text(LOG)
    return RunPlaces(
        folder=tmp_path / "folder", checkout=tmp_path / "checkout", log=tmp_path / "folder/train.log", seed=3
    )


def task_of(**values: Any) -> TaskSpec:
    return parse_task({"command": ["sh", "{seed}"], "code": ["a"]} | values)


def value_of(places: RunPlaces, source: dict[str, Any] | None, **values: Any) -> Any:
    fields = {"better": "lower", "margin": 0.1} | ({} if source is None else {"from": source})
    task, metrics = task_of(**values), parse_metrics({"loss": fields})
    rows = read_progress_rows(task, metrics, places, LOG)
    seen = read_metrics(task, metrics, places, rows)["loss"]
    return seen.problem or (seen.value if seen.ratio is None else seen.ratio)


def write(places: RunPlaces, **files: str) -> None:
    texts = {
        "out/log.csv": "epoch,loss\n1,0.5\n2,0.375\n",
        "out/log.jsonl": '{"loss": 0.5}\n{"loss": 0.3}\n',
        "out/3.json": '{"test": {"loss": 0.2}}',
        "out/trainer_state.json": json.dumps({"log_history": [{"step": 1, "loss": 0.7}]}),
    }
    for name, text in texts.items():
        (places.checkout / name).write_text(text)
    (places.folder / "reported.jsonl").write_text('{"step": 1, "loss": 0.9}\n{"loss": 0.8}\n')
    (places.folder / "scores/test.csv").write_text("key,cluster,y,y_hat\na,x,1,2\nb,x,3,3\nc,z,5,4\n")


ITEMS = {"test": {"file": "{run_folder}/scores/test.csv", "key": "key", "cluster": "cluster"}}


@pytest.mark.parametrize(
    ("source", "values", "value"),
    [
        (None, {"progress": {"stdout": "epoch {epoch}: loss {loss}"}}, 0.25),
        ({"progress": "loss", "pick": "first"}, {"progress": {"stdout": "epoch {epoch}: loss {loss}"}}, 0.5),
        (None, {}, 0.8),
        (None, {"progress": {"csv": "out/log.csv"}}, 0.375),
        (None, {"progress": {"jsonl": "out/log.jsonl"}}, 0.3),
        (None, {"progress": {"trainer_state": "out/trainer_state.json"}}, 0.7),
        ({"stdout": "Accuracy: {correct}/{total}"}, {}, (3.0, 4.0)),
        ({"stdout": "loss {loss}"}, {}, 0.25),
        ({"stdout": "preset:key_value"}, {}, "`loss`: "),
        ({"file": "out/{seed}.json", "key": "test.loss"}, {}, 0.2),
        ({"csv": "out/*.csv", "column": "loss", "pick": {"best": "epoch", "better": "lower"}}, {}, 0.5),
        ({"csv": "out/log.csv", "column": "loss", "pick": {"best": "loss"}}, {}, 0.375),
        ({"jsonl": "out/log.jsonl", "key": "loss"}, {}, 0.3),
        ({"trainer_state": "out/trainer_state.json", "key": "loss"}, {}, 0.7),
        ({"tensorboard": "out/none", "tag": "loss"}, {}, "there is no such folder"),
        (None, {"progress": {"tensorboard": "out/none"}}, "there is no such folder"),
        ({"reported": "loss"}, {}, 0.8),
        ({"items": "test", "mean": "y"}, {"items": ITEMS}, 3.0),
        ({"items": "test", "median": "abs(y - y_hat)"}, {"items": ITEMS}, 1.0),
        ({"items": "test", "r2": ["y", "y_hat"]}, {"items": ITEMS}, 0.75),
        ({"items": "test", "quantile": [0.5, "y"]}, {"items": ITEMS}, 3.0),
        ({"items": "test", "mean": "nothing"}, {"items": ITEMS}, "`nothing` names the column `nothing`"),
        ({"items": "val", "mean": "y"}, {"items": ITEMS}, "there is no table of items `val`; give it a line in"),
    ],
)
def test_each_source_has_its_number(places: RunPlaces, source: Any, values: dict[str, Any], value: Any) -> None:
    write(places)
    found = value_of(places, source, **values)
    assert value in found if isinstance(value, str) else found == pytest.approx(value)


def test_a_metric_without_a_file_says_so(places: RunPlaces) -> None:
    assert "there is no such file" in value_of(places, {"csv": "out/log.csv", "column": "loss"})
    assert "there is no such file" in value_of(places, None)


def test_rows_of_progress_come_from_lines_files_or_the_helper(places: RunPlaces) -> None:
    metrics = parse_metrics({"loss": {"better": "lower", "margin": 1}})
    lines = read_progress_rows(task_of(progress={"stdout": "epoch {epoch}: loss {loss}"}), metrics, places, LOG)
    assert [(row.step, row.values) for row in lines] == [(1.0, {"loss": 0.5}), (2.0, {"loss": 0.25})]
    assert read_progress_rows(task_of(), metrics, places, LOG) == []
    assert read_progress_rows(task_of(progress={"csv": "out/log.csv"}), metrics, places, LOG) == []
    write(places)
    assert len(read_progress_rows(task_of(), metrics, places, LOG)) == 1
    assert len(read_progress_rows(task_of(progress={"csv": "out/log.csv"}), metrics, places, LOG)) == 2
    (places.folder / "reported.jsonl").unlink()
    (places.folder / "reported.jsonl").mkdir()
    assert read_progress_rows(task_of(), metrics, places, LOG) == []


def test_items_are_counted_or_their_problem_is_told(places: RunPlaces) -> None:
    write(places)
    seen = look_at_items(task_of(items=ITEMS | {"val": {"file": "none.csv", "key": "key"}}), places)
    assert seen["test"] == ItemsSeen(num_items=3, num_clusters=2, num_strata=1)
    assert "there is no such file" in seen["val"].problem


def test_a_path_that_names_no_file_is_an_error(places: RunPlaces) -> None:
    with pytest.raises(KnockoutError, match="no file has such a name"):
        places.find("out/*.none")
