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


def test_the_silent_observer_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.show([], [])
    SILENT.tell("the disk is full")
    assert capsys.readouterr() == ("", "")
