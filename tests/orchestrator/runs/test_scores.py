"""Metrics are read from the kept files of a run; what is absent is said with what to mend."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.reading.sources import Reading
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.predictions import Predictions, items_of_predictions
from orchestrator.runs.scores import (
    Measures,
    ReadScores,
    Score,
    is_share_metric,
    read_kept,
    read_scores,
    score_of_reading,
)
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.spec import ItemsSpec
from orchestrator.verdicts.effects import same_numbers

ITEMS = {"test": ItemsSpec(file="test-{seed}.csv", key="key", cluster="trial")}
LOSS: dict[str, Any] = {"better": "lower", "margin": 0.02}
MEND = "nothing is trained again"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run" / "outputs").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def read(folder: RunFolder, metrics: dict[str, Any], items: dict[str, ItemsSpec] | None = None) -> ReadScores:
    return read_scores(folder, 3, Measures(metrics=parse_metrics(metrics), items=ITEMS if items is None else items))


def value(folder: RunFolder, source: dict[str, Any], **fields: Any) -> float:
    found = read(folder, {"m": LOSS | fields | {"from": source}})
    assert found.unread == {}
    return found.scores["m"].value


def test_each_kind_of_source_is_read_where_the_run_keeps_it(folder: RunFolder) -> None:
    outputs = folder.path / "outputs"
    folder.log.write_text("step 1: loss 3.00\nstep 2: loss 2.50\nAccuracy: 45/50\n")
    (outputs / "bench.json").write_text('{"p95": 12.5}')
    (outputs / "metrics.csv").write_text("epoch,val\n0,3.5\n1,2.5\n2,3.0\n")
    (folder.path / "lines.jsonl").write_text('{"val": 4.5}\n')
    (folder.path / "reported.jsonl").write_text('{"score": 0.5}\n')
    (folder.path / "progress.jsonl").write_text('{"step": 1, "values": {"val_loss": 2.25}}\n')
    assert value(folder, {"stdout": "loss {loss}"}) == 2.5
    assert value(folder, {"stdout": "Accuracy: {right}/{all}"}, unit="%") == pytest.approx(90.0)
    assert value(folder, {"stdout": "Accuracy: {right}/{all}"}) == pytest.approx(0.9)
    assert value(folder, {"file": "bench.json", "key": "p95"}) == 12.5
    assert value(folder, {"csv": "metrics.csv", "column": "val"}) == 3.0
    assert value(folder, {"csv": "metrics.csv", "column": "val", "pick": {"best": "val", "better": "lower"}}) == 2.5
    assert value(folder, {"jsonl": "{run_folder}/lines.jsonl", "key": "val"}) == 4.5
    assert value(folder, {"reported": "score"}) == 0.5
    assert value(folder, {"progress": "val_loss"}) == 2.25


def test_epochs_that_a_command_writes_itself_are_its_progress(folder: RunFolder) -> None:
    folder.epochs.write_text('{"epoch": 1, "val_loss": 3.0}\n{"epoch": 2, "val_loss": 2.0}\n')
    assert value(folder, {"progress": "val_loss"}) == 2.0


def test_later_attempt_in_one_log_supersedes_the_earlier(folder: RunFolder) -> None:
    first = "step 1: loss 3\nstep 2: loss 2\n"
    folder.log.write_text(first + "step 1: loss 5\n")
    (folder.path / "attempts.jsonl").write_text(f'{{"log_bytes": 0}}\n{{"log_bytes": {len(first)}}}\n{{"log_')
    metrics = parse_metrics({"m": LOSS | {"from": {"stdout": "step {step}: loss {loss}", "value": "loss"}}})
    assert read_scores(folder, 0, Measures(metrics=metrics, items={}, starts_over=True)).scores["m"].value == 5.0


def test_items_are_read_by_their_key_with_their_clusters(folder: RunFolder) -> None:
    rows = "key,trial,x,y\na,t1,1,2\nb,t1,3,3\nc,t2,0,2\n"
    (folder.path / "outputs" / "test-3.csv").write_text(rows)
    metrics = {
        "error": LOSS | {"from": {"items": "test", "mean": "abs(x - y)"}},
        "far": {"better": "lower", "from": {"items": "test", "quantile": [0.9, "abs(x - y)"]}},
    }
    found = read(folder, metrics)
    assert (found.unread, found.scores["error"].value) == ({}, pytest.approx(1.0))
    items = found.scores["error"].items
    assert items is not None
    assert items.cluster_B is not None
    assert (items.keys_B.tolist(), items.cluster_B.tolist()) == (["a", "b", "c"], ["t1", "t1", "t2"])
    assert sorted(items.columns) == ["x", "y"]
    assert found.scores["far"].num_items == 3


def test_items_that_the_helper_tells_need_no_table_in_the_task(folder: RunFolder) -> None:
    (folder.path / "scores").mkdir()
    (folder.path / "scores" / "test.csv").write_text("key,cluster,correct\na,p1,1\nb,p2,0\n")
    metric = {"better": "higher", "margin": 1, "unit": "%", "from": {"items": "test", "mean": "100 * correct"}}
    score = read(folder, {"accuracy": metric}, {}).scores["accuracy"]
    assert (score.value, score.num_right, score.num_items, score.is_share) == (50.0, 1, 2, True)
    assert score.items is not None
    assert score.items.cluster_B is not None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"stdout": "val loss {v}"}, '`m`: no line of train.log matches "val loss {v}"; the last 2 are:'),
        ({"file": "none.json", "key": "x"}, "`m`: outputs/none.json: there is no such file"),
        ({"csv": "*.csv", "column": "x"}, "`m`: outputs/*.csv: no file has such a name"),
        ({"items": "test", "mean": "x"}, "items of `test`: outputs/test-3.csv: there is no such file"),
        ({"items": "test", "mean": "x + z"}, "there is no column `z`"),
        ({"items": "test", "r2": ["x", "x"]}, "`m`: all true values are equal"),
    ],
)
def test_what_is_not_there_is_said_and_costs_no_other_metric(
    folder: RunFolder, source: dict[str, Any], words: str
) -> None:
    folder.log.write_text("loss 2.0\nbye\n")
    if "items" in source and source.get("mean") != "x":
        (folder.path / "outputs" / "test-3.csv").write_text("key,trial,x\na,t,1\nb,t,1\n")
    found = read(folder, {"m": LOSS | {"from": source}, "loss": {"better": "lower", "from": {"stdout": "loss {l}"}}})
    assert words in found.unread["m"]
    assert MEND in found.unread["m"]
    assert str(folder.path) not in found.unread["m"]
    assert found.scores["loss"].value == 2.0


def test_number_below_zero_has_no_logarithm(folder: RunFolder) -> None:
    folder.log.write_text("loss -2.0\n")
    told = read(folder, {"m": {"better": "lower", "margin": "5%", "from": {"stdout": "loss {l}"}}}).unread["m"]
    assert told == (
        "`m` is -2, and a comparison in per cent needs values above 0; give `metrics.m.margin` in the metric's unit"
    )


def test_wrong_pattern_that_is_mended_is_read_again(folder: RunFolder) -> None:
    folder.log.write_text("loss 2.0\n")
    assert "m" in read(folder, {"m": LOSS | {"from": {"stdout": "lost {l}"}}}).unread
    assert value(folder, {"stdout": "loss {l}"}) == 2.0


def test_two_counts_in_percent_step_by_one_item() -> None:
    found = score_of_reading(Reading(value=0.9, ratio=(45.0, 50.0)), "%")
    assert found == Score(value=90.0, resolution=2.0, num_right=45, num_items=50)
    assert score_of_reading(Reading(value=0.9, resolution=0.1), "") == Score(value=0.9, resolution=0.1)


def test_predictions_are_items_that_are_right_or_wrong_by_device() -> None:
    logits = np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    stored = Predictions(np.array(["a", "b"]), np.array([0, 3]), np.array([0, 1]), logits)
    items = items_of_predictions("LocD", {"LocD": stored})
    assert (items.stratum_B.tolist(), items.columns["correct"].tolist()) == (["0", "3"], [1.0, 0.0])


def test_predictions_without_a_split_say_which_there_are(folder: RunFolder) -> None:
    predicted = {"LocD": ItemsSpec(file="{run_folder}/predictions.npz", key="key", reader="predictions")}
    found = read(folder, {"m": LOSS | {"from": {"items": "LocD", "mean": "correct"}}}, predicted)
    assert "items of `LocD`: predictions.npz has no such part; it has none" in found.unread["m"]


def test_only_a_mean_in_percent_is_a_share() -> None:
    sources = [{"mean": "100 * correct"}, {"rmse": "x"}]
    metrics = parse_metrics(
        {f"m{place}": LOSS | {"unit": "%", "from": {"items": "t"} | of} for place, of in enumerate(sources)}
    )
    assert [is_share_metric(metric) for metric in metrics.values()] == [True, False]


def test_scores_of_json_lines_are_plain(folder: RunFolder) -> None:
    (folder.path / "lines.jsonl").write_text("\n".join(json.dumps({"k": n, "ok": n % 2 == 0}) for n in range(4)) + "\n")
    items = {"t": ItemsSpec(file="{run_folder}/lines.jsonl", key="k")}
    metric = {"better": "higher", "margin": 1, "unit": "%", "from": {"items": "t", "mean": "100 * ok"}}
    assert read(folder, {"m": metric}, items).scores["m"].num_right == 2


class TestKept:
    METRICS = parse_metrics(
        {
            "error": LOSS | {"from": {"items": "test", "mean": "x"}},
            "loss": {"better": "lower", "from": {"stdout": "loss {l}"}},
        }
    )

    def read(self, folder: RunFolder, metrics: Any = METRICS) -> ReadScores:
        return read_kept(folder, 3, Measures(metrics=metrics, items=ITEMS), {})

    @pytest.fixture
    def table(self, folder: RunFolder) -> Path:
        folder.log.write_text("loss 2.0\n")
        path = folder.path / "outputs" / "test-3.csv"
        path.write_text("key,trial,x\na,t1,1\nb,t2,2\n")
        return path

    def test_second_reading_opens_no_file_of_the_run(
        self, folder: RunFolder, table: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.read(folder)
        monkeypatch.setattr("orchestrator.runs.scores.read_scores", None)
        again = self.read(folder)
        assert same_numbers(first.scores, again.scores)
        kept = again.scores["error"].items
        assert kept is not None
        assert kept.cluster_B is not None
        assert kept.cluster_B.tolist() == ["t1", "t2"]

    def test_file_that_changed_and_metric_that_was_mended_are_read_again(self, folder: RunFolder, table: Path) -> None:
        assert self.read(folder).scores["error"].value == 1.5
        table.write_text("key,trial,x\na,t1,1\nb,t2,30\n")
        assert self.read(folder).scores["error"].value == 15.5
        mended = parse_metrics({"error": LOSS | {"from": {"items": "test", "mean": "2 * x"}}})
        assert self.read(folder, mended).scores["error"].value == 31.0

    def test_what_could_not_be_read_is_not_kept(self, folder: RunFolder, table: Path) -> None:
        table.rename(table.with_name("other.csv"))
        assert list(self.read(folder).unread) == ["error"]
        table.with_name("other.csv").rename(table)
        assert self.read(folder).unread == {}

    def test_spoilt_copy_costs_nothing(self, folder: RunFolder, table: Path) -> None:
        self.read(folder)
        (folder.path / "scores.msgpack").write_bytes(b"no copy")
        assert self.read(folder).scores["loss"].value == 2.0
