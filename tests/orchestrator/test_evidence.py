"""Run folders are read whole or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model.run_folder import LocationScore, Result, RunFolder
from orchestrator.errors import RunError
from orchestrator.evidence import RunRecord, read_run, read_runs
from orchestrator.layout import Layout
from orchestrator.plan import Plan

SCORED = Result(
    state="done",
    reason="trained",
    best_epoch=2,
    epochs=2,
    scores={"LocD": LocationScore(bursts=3, correct=2, accuracy=2 / 3, loss=0.5)},
)
ARRAYS = {
    "LocD/key": np.array(["00/0", "00/1", "03/0"]),
    "LocD/device": np.array([0, 0, 3]),
    "LocD/label": np.array([0, 0, 1]),
    "LocD/logits": np.array([[2.0, 1.0], [0.0, 0.1], [-3.0, -2.0]], dtype=np.float32),
}


@pytest.fixture
def written(a_plan: Callable[..., Plan], a_run: Callable[..., RunRecord], tmp_path: Path) -> tuple[str, RunFolder]:
    """A finished run, as orchestrator and job leave it."""
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    run = a_run(plan, "E5", 1, num_epochs=2)
    folder = Layout(tmp_path).run(run.id)
    folder.path.mkdir(parents=True)
    folder.config.write_bytes(msgspec.json.encode(run.config))
    folder.provenance.write_text(json.dumps({"commit": "abc"}))
    for epoch in run.epochs:
        folder.append_epoch(epoch)
    np.savez_compressed(folder.predictions, allow_pickle=False, **ARRAYS)
    folder.write_result(SCORED)
    return run.id, folder


def test_a_run_is_read_as_it_was_written(written: tuple[str, RunFolder]) -> None:
    record = read_run(*written)
    assert (record.id, record.experiment, record.seed) == (written[0], "E5", 1)
    assert (record.result, record.provenance) == (SCORED, {"commit": "abc"})
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]


def test_a_burst_is_recognised_where_its_highest_logit_is_its_label(written: tuple[str, RunFolder]) -> None:
    bursts = read_run(*written).bursts
    assert set(bursts) == {"LocD"}
    assert bursts["LocD"].keys.tolist() == ["00/0", "00/1", "03/0"]
    assert bursts["LocD"].devices.tolist() == [0, 0, 3]
    assert bursts["LocD"].correct.tolist() == [True, False, True]


def test_captures_are_kept_apart_whatever_their_names(written: tuple[str, RunFolder]) -> None:
    other = {f"day 2/{name}": values for name, values in ARRAYS.items()}
    np.savez_compressed(written[1].predictions, allow_pickle=False, **ARRAYS, **other)
    assert set(read_run(*written).bursts) == {"LocD", "day 2/LocD"}


def test_a_run_that_has_not_ended_has_neither_result_nor_bursts(written: tuple[str, RunFolder]) -> None:
    for path in (written[1].result, written[1].predictions, written[1].epochs):
        path.unlink()
    record = read_run(*written)
    assert (record.result, record.bursts, record.epochs) == (None, {}, ())


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
    np.savez_compressed(written[1].predictions, allow_pickle=True, **ARRAYS | {"LocD/key": bomb})
    with pytest.raises(RunError, match="allow_pickle=False"):
        read_run(*written)
    assert not (tmp_path / "it went off").exists()


def test_only_runs_that_have_a_folder_are_read(written: tuple[str, RunFolder], tmp_path: Path) -> None:
    (tmp_path / "results" / "runs" / "E5-s9-0000").mkdir()
    found = read_runs(Layout(tmp_path), [written[0], "E5-s9-0000", "baseline-s0-1111"])
    assert list(found) == [written[0]]
