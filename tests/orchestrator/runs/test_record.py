"""Run folders are read whole or refused by name."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.scored import PREDICTIONS
from orchestrator.errors import RunError
from orchestrator.runs.folder import LocationScore, Result, RunConfig, RunFolder
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import NotBelievedError, RunRecord, read_run, read_runs
from orchestrator.runs.scores import Measures
from orchestrator.task.metric_spec import ItemsSource, MetricSpec
from tests.builders.epochs import an_epoch, append_epoch
from tests.builders.results import scored_captures


def result_of(*captures: str) -> Result:
    """The result that `arrays_of` gives on each capture: two of three bursts recognised."""
    score = LocationScore(bursts=3, correct=2, accuracy=2 / 3, loss=0.5)
    return Result(state="done", reason="trained", best_epoch=2, epochs=2, scores=dict.fromkeys(captures, score))


SCORED = result_of("LocB", "LocD")
ARRAYS = {
    "key": np.array(["00/0", "00/1", "03/0"]),
    "device": np.array([0, 0, 3]),
    "label": np.array([0, 0, 1]),
    "logits": np.array([[2.0, 1.0], [0.0, 0.1], [-3.0, -2.0]], dtype=np.float32),
}


def arrays_of(*captures: str, **changes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What `predictions.npz` holds; `changes` are arrays of each capture."""
    return {f"{capture}/{name}": values for capture in captures for name, values in (ARRAYS | changes).items()}


def measures_on(*captures: str) -> Measures:
    """The share of bursts that are right, on each of some captures."""
    metrics = {
        name: MetricSpec(
            name=name, better="higher", source=ItemsSource(items=name, mean="100 * correct"), role="judged", unit="%"
        )
        for name in captures
    }
    return Measures(metrics=metrics, items=dict.fromkeys(captures, PREDICTIONS))


def write_run(folder: RunFolder, run: RunRecord) -> None:
    """Write a finished run, as orchestrator and job leave it."""
    config = RunConfig(experiment=run.experiment, profile="quick", seed=run.seed, params=run.params)
    folder.path.mkdir(parents=True)
    folder.config.write_bytes(msgspec.json.encode(config))
    folder.provenance.write_text(json.dumps({"commit": "abc"}))
    for epoch in run.epochs:
        append_epoch(folder, epoch)
    np.savez_compressed(folder.predictions, allow_pickle=False, **arrays_of(*scored_captures(folder)))
    folder.write_result(result_of(*scored_captures(folder)))


@pytest.fixture
def written(a_plan: Callable[..., Plan], a_run: Callable[..., RunRecord], tmp_path: Path) -> tuple[str, RunFolder]:
    """A finished run, as orchestrator and job leave it."""
    run = a_run(a_plan({"E5": {"change": {"loss.kind": "focal"}}}), "E5", 1, num_epochs=2)
    folder = Paths(tmp_path).run(run.id)
    write_run(folder, run)
    return run.id, folder


def test_a_run_is_read_as_it_was_written(written: tuple[str, RunFolder]) -> None:
    record = read_run(*written)
    assert (record.id, record.experiment, record.seed) == (written[0], "E5", 1)
    assert (record.result, record.provenance) == (SCORED, {"commit": "abc"})
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]


def test_a_burst_is_recognised_where_its_highest_logit_is_its_label(written: tuple[str, RunFolder]) -> None:
    found = read_run(*written, measures_on("LocD")).scores["LocD"]
    assert found.items is not None
    assert found.items.keys_B.tolist() == ["00/0", "00/1", "03/0"]
    assert found.items.stratum_B.tolist() == ["0", "0", "3"]
    assert found.items.columns["correct"].tolist() == [1.0, 0.0, 1.0]
    assert (found.num_right, found.num_items, found.value) == (2, 3, pytest.approx(200 / 3))


def test_metrics_are_read_only_where_somebody_asks(written: tuple[str, RunFolder]) -> None:
    assert read_run(*written).scores == {}


def test_captures_are_kept_apart_whatever_their_names(
    a_plan: Callable[..., Plan], a_run: Callable[..., RunRecord], tmp_path: Path
) -> None:
    captures = {
        name: {"path": f"{place}.h5", "devices": [0, 10], "packets": [0, 20]}
        for place, name in enumerate(("LocA", "LocD", "day 2/LocD"))
    }
    data = {"captures": captures, "validate": ["LocD"], "report": ["day 2/LocD"]}
    run = a_run(a_plan({"E5": {"change": {"loss.kind": "focal"}}}, data=data), "E5", 0)
    write_run(Paths(tmp_path).run(run.id), run)
    folder = Paths(tmp_path).run(run.id)
    assert set(read_run(run.id, folder, measures_on("LocD", "day 2/LocD")).scores) == {"LocD", "day 2/LocD"}


def test_a_run_that_has_not_ended_has_neither_result_nor_bursts(written: tuple[str, RunFolder]) -> None:
    for path in (written[1].result, written[1].predictions, written[1].epochs):
        path.unlink()
    record = read_run(*written, measures_on("LocD"))
    assert (record.result, record.scores, record.unread, record.epochs) == (None, {}, {}, ())


def test_an_epoch_that_was_half_written_is_not_read(written: tuple[str, RunFolder]) -> None:
    with written[1].epochs.open("ab") as file:
        file.write(b'{"epoch": 3, "sec')
    assert [epoch.epoch for epoch in read_run(*written).epochs] == [1, 2]


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", lambda path: path.write_text('{"experiment": 5}')),
        ("provenance.json", Path.unlink),
        ("provenance.json", lambda path: path.write_bytes(b"\xff")),
        ("epochs.jsonl", lambda path: path.write_text("epoch 1 went well\n")),
        ("predictions.npz", lambda path: path.write_bytes(b"")),
        ("predictions.npz", lambda path: path.write_text("no archive")),
        ("predictions.npz", cut_in_half),
        ("predictions.npz", spoil_middle),
        ("predictions.npz", lambda path: np.savez(path, **{"LocD/key": np.array(["00/0"])})),
    ],
)
def test_a_broken_folder_is_named_with_what_to_do(
    written: tuple[str, RunFolder], name: str, spoil: Callable[[Path], object]
) -> None:
    run_id, folder = written
    spoil(folder.path / name)
    with pytest.raises(
        RunError, match=rf"results/runs/{run_id}: this run folder cannot be read: .*; delete it to train"
    ):
        read_run(run_id, folder)


def test_pickled_arrays_are_refused_unopened(written: tuple[str, RunFolder], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "it went off",)

    bomb = np.array([Bomb()] * 3, dtype=object)
    np.savez_compressed(written[1].predictions, allow_pickle=True, **arrays_of("LocB", "LocD", key=bomb))
    with pytest.raises(RunError, match="of type object, which no run writes"):
        read_run(*written)
    assert not (tmp_path / "it went off").exists()


def test_only_runs_that_have_a_folder_are_read(written: tuple[str, RunFolder], tmp_path: Path) -> None:
    (tmp_path / "results" / "runs" / "E5-s9-0000").mkdir()
    found = read_runs(Paths(tmp_path), [written[0], "E5-s9-0000", "baseline-s0-1111"])
    assert (list(found.records), found.refused) == ([written[0]], {})


def test_a_folder_that_cannot_be_read_keeps_no_other_out(written: tuple[str, RunFolder], tmp_path: Path) -> None:
    broken = Paths(tmp_path).run("E5-s9-0000")
    broken.path.mkdir()
    broken.config.write_text("{")
    found = read_runs(Paths(tmp_path), [broken.path.name, written[0]])
    assert list(found.records) == [written[0]]
    assert "E5-s9-0000: this run folder cannot be read: " in str(found.refused["E5-s9-0000"])


def test_what_the_system_refuses_says_nothing_about_the_run(
    written: tuple[str, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, folder = written
    stat = Path.stat
    for number, words in ((errno.EACCES, "its owner can give you the right to read it"), (errno.EIO, "try again once")):

        def refuse(path: Path, number: int = number, **how: Any) -> os.stat_result:
            if path == folder.config:
                raise OSError(number, os.strerror(number), str(path))
            return stat(path, **how)

        monkeypatch.setattr(Path, "stat", refuse)
        found = read_runs(Paths(tmp_path), [run_id])
        assert found.records == {}
        assert words in str(found.refused[run_id])
        assert not isinstance(found.refused[run_id], NotBelievedError)


DIFFERENT_LOGITS = np.array([[2.0, 1.0], [1.0, 0.1], [-3.0, -2.0]], dtype=np.float32)
NAN_LOGITS = np.array([[np.nan, np.nan], [0.0, 0.1], [-3.0, -2.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"logits": DIFFERENT_LOGITS},
            r"result.json says 66.7 % on LocB \(2 of 3 bursts\), predictions.npz says 100.0 % \(3 of 3\)",
        ),
        ({"logits": NAN_LOGITS}, "predictions.npz has logits on LocB that are no finite numbers"),
        ({"label": np.array([0, 0, 2])}, "predictions.npz has labels on LocB outside of its 2 classes"),
        ({"label": np.array([-1, 0, 1])}, "predictions.npz has labels on LocB outside of its 2 classes"),
        ({"key": np.array(["00/0", "00/0", "03/0"])}, "predictions.npz holds a burst of LocB more than once"),
    ],
)
def test_a_result_that_its_predictions_contradict_is_not_believed(
    written: tuple[str, RunFolder], changes: dict[str, NDArray[Any]], words: str
) -> None:
    np.savez(written[1].predictions, **arrays_of("LocB", "LocD", **changes))
    with pytest.raises(
        NotBelievedError, match=rf"results/runs/{written[0]}: this run is not believed: {words}"
    ) as found:
        read_run(*written)
    assert found.value.is_result_alone


def test_a_result_without_its_predictions_is_not_believed(written: tuple[str, RunFolder]) -> None:
    written[1].predictions.unlink()
    with pytest.raises(NotBelievedError, match=r"predictions.npz is on no capture, scored are LocB and LocD"):
        read_run(*written)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "queued"}, "its state is `queued`, wanted is one of"),
        ({"state": "exploded"}, "its state is `exploded`, wanted is one of"),
        ({"best_epoch": 7}, "epoch 7 of 2 was scored"),
        ({"epochs": -1}, "of -1 was scored"),
        ({"state": "failed"}, "the run is failed, and gives scores"),
        ({"scores": {}}, "result.json is on no capture"),
    ],
)
def test_a_result_that_no_run_ends_with_is_not_believed(
    written: tuple[str, RunFolder], change: dict[str, Any], words: str
) -> None:
    written[1].write_result(msgspec.structs.replace(SCORED, **change))
    with pytest.raises(NotBelievedError, match=words):
        read_run(*written)


def test_a_folder_with_files_of_several_runs_is_not_believed(written: tuple[str, RunFolder]) -> None:
    folder = written[1]
    other = folder.path.with_name("E5-s0-3466db1c")
    folder.path.rename(other)
    with pytest.raises(NotBelievedError, match=r"config\.json is of E5 at seed 1") as found:
        read_run(other.name, RunFolder(other))
    assert not found.value.is_result_alone


@pytest.mark.parametrize(
    "provenance",
    [
        [],
        {"commit": ["abc"]},
        {"files": "LocA.h5"},
        {"environment": {"torch": 2}},
        {"accepted": {"run": 5}},
        {"code_changes": 7},
    ],
)
def test_provenance_of_other_types_is_refused(written: tuple[str, RunFolder], provenance: object) -> None:
    written[1].provenance.write_text(json.dumps(provenance))
    with pytest.raises(NotBelievedError, match="this run folder cannot be read: Expected"):
        read_run(*written)


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        ([{"epoch": 1}, {"epoch": 1}], "epochs.jsonl: record 2 is of epoch 1"),
        ([{"epoch": 1}, {"epoch": 3}], "epochs.jsonl: record 2 is of epoch 3"),
        ([{"epoch": -1}], "epochs.jsonl: record 1 is of epoch -1"),
        ([{"epoch": 3e21}], "epochs.jsonl is of epoch 3000000000000000000000|Expected `int`"),
        ([{"epoch": 1, "seconds": -1.0}], "line 1 of epochs.jsonl holds a number that no epoch has"),
        ([{"epoch": 1, "skipped_steps": -1}], "line 1 of epochs.jsonl holds a number that no epoch has"),
        ([{"epoch": 1, "val_accuracy": 90.0}], "line 1 of epochs.jsonl says a validation accuracy of 90.0"),
    ],
)
def test_epochs_that_cannot_be_are_refused(
    written: tuple[str, RunFolder], epochs: list[dict[str, Any]], words: str
) -> None:
    plain = msgspec.to_builtins(an_epoch())
    written[1].epochs.write_text("".join(json.dumps(plain | epoch) + "\n" for epoch in epochs))
    with pytest.raises(NotBelievedError, match=words):
        read_run(*written)


@pytest.mark.parametrize("name", ["config.json", "result.json", "order.json", "provenance.json"])
def test_a_file_that_is_larger_than_any_run_writes_is_refused_unread(written: tuple[str, RunFolder], name: str) -> None:
    with (written[1].path / name).open("ab") as file:
        file.truncate(300 * 10**6)
    with pytest.raises(NotBelievedError, match=rf"{name} has 300,000,000 bytes, at most 16,777,216 are read"):
        read_run(*written)


@pytest.mark.parametrize("name", ["result.json", "provenance.json", "epochs.jsonl", "predictions.npz"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_refused_and_never_waited_for(
    written: tuple[str, RunFolder], name: str, make: Callable[[Path], object]
) -> None:
    path = written[1].path / name
    path.unlink()
    make(path)
    with pytest.raises(NotBelievedError, match=f"{name} is no plain file|Is a directory.*{name}"):
        read_run(*written)
