"""The numbers and items of a checked run."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checks.numbers import RunPlaces, look_at_items, read_metrics, read_rows
from orchestrator.checks.observed import ItemsSeen
from orchestrator.errors import KnockoutError
from orchestrator.reading.progress import Row, encode_row
from orchestrator.runs.folder import RunFolder
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.spec import TaskSpec, parse_task

LOG = "epoch 1: loss 0.5\nepoch 2: loss 0.25\nAccuracy: 3/4 (75%)\n"


@pytest.fixture
def places(tmp_path: Path) -> RunPlaces:
    for name in ("folder/scores", "checkout/out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "folder/train.log").write_text(LOG)
    return RunPlaces(folder=RunFolder(tmp_path / "folder"), checkout=tmp_path / "checkout", seed=3)


def task_of(**values: Any) -> TaskSpec:
    return parse_task({"command": ["sh", "{seed}"], "code": ["a"]} | values)


def value_of(places: RunPlaces, source: dict[str, Any] | None, **values: Any) -> Any:
    fields = {"better": "lower", "margin": 0.1} | ({} if source is None else {"from": source})
    task, metrics = task_of(**values), parse_metrics({"loss": fields})
    seen = read_metrics(task, metrics, places)["loss"]
    return seen.problem or (seen.value if seen.ratio is None else seen.ratio)


def write(places: RunPlaces) -> None:
    texts = {
        "out/log.csv": "epoch,loss\n1,0.5\n2,0.375\n",
        "out/log.jsonl": '{"loss": 0.5}\n{"loss": 0.3}\n',
        "out/3.json": '{"test": {"loss": 0.2}}',
        "out/trainer_state.json": json.dumps({"log_history": [{"step": 1, "loss": 0.7}]}),
    }
    for name, text in texts.items():
        (places.checkout / name).write_text(text)
    rows = [Row(step=1.0, values={"loss": 0.5}), Row(step=2.0, values={"loss": 0.25})]
    places.folder.progress.write_bytes(b"".join(encode_row(row) for row in rows))
    (places.folder.path / "reported.jsonl").write_text('{"step": 1, "loss": 0.9}\n{"loss": 0.8}\n')
    (places.folder.path / "scores/test.csv").write_text("key,cluster,y,y_hat\na,x,1,2\nb,x,3,3\nc,z,5,4\n")


ITEMS = {"test": {"file": "{run_folder}/scores/test.csv", "key": "key", "cluster": "cluster"}}


@pytest.mark.parametrize(
    ("source", "values", "value"),
    [
        (None, {}, 0.25),
        ({"progress": "loss", "pick": "first"}, {}, 0.5),
        ({"progress": "los"}, {}, "no row tells `los`; did you mean `loss`?"),
        ({"stdout": "Accuracy: {correct}/{total}"}, {}, (3.0, 4.0)),
        ({"stdout": "loss {loss}"}, {}, 0.25),
        ({"stdout": "preset:key_value"}, {}, "`loss`: "),
        ({"file": "out/{seed}.json", "key": "test.loss"}, {}, 0.2),
        ({"csv": "out/*.csv", "column": "loss", "pick": {"best": "epoch", "better": "lower"}}, {}, 0.5),
        ({"csv": "out/log.csv", "column": "loss", "pick": {"best": "loss"}}, {}, 0.375),
        ({"jsonl": "out/log.jsonl", "key": "loss"}, {}, 0.3),
        ({"trainer_state": "out/trainer_state.json", "key": "loss"}, {}, 0.7),
        ({"tensorboard": "out/none", "tag": "loss"}, {}, "there is no such folder"),
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
    assert "no row tells `loss`: there are no rows" in value_of(places, None)


def test_the_rows_that_hold_are_those_of_the_last_attempt(places: RunPlaces) -> None:
    assert read_rows(places.folder) == []
    rows = [Row(step=step, values={"loss": step}, attempt=attempt) for step, attempt in ((1, 0), (2, 0), (2, 1))]
    places.folder.progress.write_bytes(b"".join(encode_row(row) for row in rows))
    assert read_rows(places.folder) == [rows[0], rows[2]]
    places.folder.progress.unlink()
    places.folder.progress.mkdir()
    assert read_rows(places.folder) == []


def test_items_are_counted_or_their_problem_is_told(places: RunPlaces) -> None:
    write(places)
    seen = look_at_items(task_of(items=ITEMS | {"val": {"file": "none.csv", "key": "key"}}), places)
    assert seen["test"] == ItemsSeen(num_items=3, num_clusters=2, num_strata=1)
    assert "there is no such file" in seen["val"].problem


def test_a_path_that_names_no_file_is_an_error(places: RunPlaces) -> None:
    with pytest.raises(KnockoutError, match="no file has such a name"):
        places.find("out/*.none")
