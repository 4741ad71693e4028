"""What one half writes into a run folder, the other half reads alike."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import decode_run, encode_run, job_from_builtins
from orchestrator.files import format_json
from orchestrator.runs.folder import RunConfig
from tests.builders.jobs import params, values
from tests.contract.halves import MODEL, ORCHESTRATOR, Half, fields

PAIRS = [(MODEL, ORCHESTRATOR), (ORCHESTRATOR, MODEL)]
both_ways = pytest.mark.parametrize(("one", "other"), PAIRS, ids=["job writes", "orchestrator writes"])
numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


def append(half: Half, path: Path, record: Any) -> None:
    """Add a line to `epochs.jsonl`, by the half's own writer where it has one."""
    folder = half.folder.RunFolder(path)
    if hasattr(folder, "append_epoch"):
        folder.append_epoch(record)
        return
    with folder.epochs.open("ab") as file:
        file.write(msgspec.json.encode(record) + b"\n")


class TestRunFolder:
    @given(train_loss=numbers, val_loss=numbers, grad_norm=numbers, cpu_seconds=numbers, cut=st.integers(0, 40))
    @settings(deadline=None, max_examples=60)
    def test_epochs_are_read_alike_whatever_they_hold_and_wherever_the_file_is_cut(
        self, cut: int, **changes: float | None
    ) -> None:
        with tempfile.TemporaryDirectory() as name:
            for epoch in (1, 2):
                append(MODEL, Path(name), MODEL.record(epoch, **changes))
            file = MODEL.folder.RunFolder(Path(name)).epochs
            file.write_bytes(file.read_bytes()[: file.stat().st_size - cut])
            ours, theirs = (half.folder.RunFolder(Path(name)).read_epochs() for half in (MODEL, ORCHESTRATOR))
            assert [fields(record) for record in ours] == [fields(record) for record in theirs]
            assert len(ours) == (2 if cut == 0 else 1)

    def test_what_a_job_says_of_an_epoch_the_orchestrator_keeps(self) -> None:
        assert set(MODEL.folder.EpochRecord.__struct_fields__) <= set(ORCHESTRATOR.folder.EpochRecord.__struct_fields__)

    @both_ways
    @pytest.mark.parametrize(
        "changes",
        [{}, {"state": "failed", "failure": "diverged", "best_epoch": None, "scores": {}}, {"state": "too_slow"}],
    )
    def test_a_result_is_read_alike(self, tmp_path: Path, one: Half, other: Half, changes: dict[str, Any]) -> None:
        one.folder.RunFolder(tmp_path).write_result(one.result(**changes))
        written = (tmp_path / "result.json").read_bytes()
        found = other.folder.RunFolder(tmp_path).read_result()
        assert fields(found) == fields(one.result(**changes))
        scores = {name: fields(score) for name, score in found.scores.items()}
        assert scores == {name: fields(score) for name, score in one.result(**changes).scores.items()}
        other.folder.RunFolder(tmp_path).write_result(found)
        assert (tmp_path / "result.json").read_bytes() == written

    @both_ways
    @pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1, "state": "do'])
    def test_a_torn_result_is_none_to_both(self, tmp_path: Path, one: Half, other: Half, content: bytes) -> None:
        (tmp_path / "result.json").write_bytes(content)
        assert one.folder.RunFolder(tmp_path).read_result() is other.folder.RunFolder(tmp_path).read_result() is None

    def test_the_constants_of_both_are_the_same(self) -> None:
        for name in ("RESULT_FORMAT", "ENDED", "SET_ASIDE"):
            assert getattr(MODEL.folder, name) == getattr(ORCHESTRATOR.folder, name)

    def test_a_job_sweeps_what_the_orchestrator_left_half_written(self, tmp_path: Path) -> None:
        (tmp_path / ".provenance.json.x1y2").write_bytes(b"half")
        with MODEL.folder.RunFolder(tmp_path).hold():
            assert [path.name for path in tmp_path.iterdir()] == ["job.lock"]


class TestConfig:
    def test_a_job_trains_what_the_orchestrator_writes(self) -> None:
        run = RunConfig(experiment="E5", profile="quick", seed=7, params=params(optim={"epochs": 3}))
        assert decode_run(format_json(run)) == job_from_builtins(values(seed=7, optim={"epochs": 3}))

    def test_the_orchestrator_reads_what_a_job_writes(self) -> None:
        job = job_from_builtins(values(seed=7))
        run = msgspec.json.decode(encode_run(job), type=RunConfig)
        assert (run.experiment, run.profile, run.seed) == ("E5", "quick", 7)
        assert decode_run(format_json(run)) == job


class TestJobLock:
    @both_ways
    def test_attempts_count_on_whoever_holds(self, tmp_path: Path, one: Half, other: Half) -> None:
        for attempt, half in enumerate((one, other, one), start=1):
            with half.folder.RunFolder(tmp_path).hold() as held:
                assert held.held_as.attempt == attempt
                assert fields_of(other, tmp_path) == fields_of(one, tmp_path)

    @both_ways
    def test_what_one_holds_the_other_does_not_take(
        self, tmp_path: Path, one: Half, other: Half, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(other.lock, "LOCK_SECONDS", 0.0)
        with (
            one.folder.RunFolder(tmp_path).hold(),
            pytest.raises(other.lock.HeldError, match="is at work on this run"),
            other.folder.RunFolder(tmp_path).hold(),
        ):
            pytest.fail("two hold it")

    @both_ways
    def test_who_is_overtaken_by_the_other_writes_no_more(self, tmp_path: Path, one: Half, other: Half) -> None:
        with one.folder.RunFolder(tmp_path).hold() as held:
            overtake = other.lock.Holder.own(attempt=held.held_as.attempt + 1)
            held.lock.write_bytes(msgspec.json.encode(overtake))
            with pytest.raises(one.lock.HeldError, match="has taken over"):
                held.write_result(one.result())
        assert not (tmp_path / "result.json").exists()

    def test_both_name_a_process_alike(self) -> None:
        ours, theirs = (half.lock.Holder.own(attempt=1) for half in (MODEL, ORCHESTRATOR))
        assert (str(ours), ours.born, ours.is_here, ours.is_alive) == (str(theirs), theirs.born, True, True)


def fields_of(half: Half, path: Path) -> dict[str, Any]:
    """Return what `job.lock` says, read by a half's type."""
    read: Callable[..., Any] = msgspec.json.decode
    return dict(msgspec.structs.asdict(read((path / "job.lock").read_bytes(), type=half.lock.Holder)))
