"""`knockout work` where nothing waits, and the observer that shows nothing."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.work import SILENT, WorkOptions, work
from orchestrator.errors import UsageError

ONE_SLOT = WorkOptions(slots=1)


def test_where_nothing_waits_nothing_is_trained(study: Any) -> None:
    study.queue("E5-s0-1", "done")
    worked = work(study.file, ONE_SLOT)
    assert (worked.rows, worked.problems, worked.is_complete) == ([], (), True)


def test_run_folders_that_the_queue_does_not_know_are_a_problem(study: Any) -> None:
    study.start("E5")
    [problem] = work(study.file, ONE_SLOT).problems
    assert problem.startswith("the queue is empty, but 1 run folder has no result yet")


def test_the_campaign_file_is_not_read(study: Any) -> None:
    study.queue("E5-s0-1", "done")
    study.file.write_text("this is no campaign: [")
    assert work(study.file, ONE_SLOT).is_complete


def test_a_campaign_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        work(tmp_path / "experiments.yml")
    assert list(tmp_path.iterdir()) == []


def test_more_slots_than_gpus_are_refused_if_a_run_that_waits_has_a_limit_by_the_clock(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.contention.count_gpus", lambda: 1)
    monkeypatch.setattr("orchestrator.api.work.build_worker", pytest.fail)
    study.edit("experiments:\n", "guards: {epoch_seconds: 10.0}\nexperiments:\n")
    (run_id, *_) = study.add("E5")
    study.paths.run(run_id).order.unlink()
    with pytest.raises(UsageError, match=r"--slots 2 is more than the 1 GPU of this machine: .*`epoch_seconds` is a"):
        work(study.file, WorkOptions(slots=2))


def test_the_silent_observer_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.show([], [])
    SILENT.tell("the disk is full")
    assert capsys.readouterr() == ("", "")
