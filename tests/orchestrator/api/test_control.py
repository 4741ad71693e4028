"""The verbs that see and steer the queue, as a script calls them."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.control import RunState, Wanted, cancel, queue_list, rebuild, retry, status, stop
from orchestrator.errors import RunError, UsageError
from orchestrator.processes import Process


@pytest.fixture
def three(study: Any) -> Path:
    """The campaign file of a queue with a run that is done, one that failed and one that waits."""
    study.queue("E5-s0-1", "done", reason="all epochs trained")
    study.queue("E5-s1-1", "failed", failure="crashed", reason="it broke")
    study.queue("H2-s0-1", profile="paper")
    return Path(study.file)


def states(file: Path) -> dict[str, RunState]:
    return {row.id: row.state for row in status(file).rows}


def test_the_status_has_every_run_and_says_whether_one_is_open(three: Path) -> None:
    found = status(three)
    assert [row.id for row in found.rows] == ["E5-s0-1", "E5-s1-1", "H2-s0-1"]
    assert found.is_open
    assert (found.problems, found.forgotten) == ((), ())


def test_a_status_of_some_runs_is_open_only_if_one_of_them_is(three: Path) -> None:
    found = status(three, Wanted(experiments=("E5",)))
    assert [row.id for row in found.rows] == ["E5-s0-1", "E5-s1-1"]
    assert not found.is_open


def test_a_campaign_that_was_never_queued_has_no_rows_and_gets_no_database(study: Any) -> None:
    found = status(study.file)
    assert (found.rows, found.is_open) == ((), False)
    assert queue_list(study.file).rows == ()
    assert not study.paths.database.exists()


def test_run_folders_that_the_queue_does_not_know_are_told(study: Any) -> None:
    study.start("E5")
    [sentence] = status(study.file).forgotten
    assert sentence.startswith("the queue is empty, but 1 run folder has no result yet")


def test_the_list_holds_what_waits_or_runs_in_the_order_of_the_queue(study: Any, three: Path) -> None:
    own = Process.own()
    study.queue("E5-s2-1", "running", host=own.host, pid=own.pid, born=own.born)
    assert [row.id for row in queue_list(three).rows] == ["H2-s0-1", "E5-s2-1"]


def test_a_waiting_run_is_cancelled_by_the_beginning_of_its_id(three: Path) -> None:
    [sentence] = cancel(three, ["H2"])
    assert sentence.startswith("H2-s0-1 is cancelled")
    assert states(three)["H2-s0-1"] is RunState.CANCELLED


def test_of_several_runs_all_are_cancelled_or_none(three: Path) -> None:
    with pytest.raises(UsageError, match="E5-s0-1 is done, not waiting"):
        cancel(three, ["H2-s0-1", "E5-s0-1"])
    assert states(three)["H2-s0-1"] is RunState.QUEUED


@pytest.mark.parametrize(
    ("runs", "options"),
    [
        ([], {}),
        (["E5-s1-1"], {"all_failed": True}),
        ([], {"failure": "crashed"}),
        (["E5-s1-1"], {"failure": "crashed"}),
    ],
)
def test_a_retry_is_of_named_runs_or_of_all_that_failed(three: Path, runs: list[str], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="name the runs to try again, or say --failed"):
        retry(three, runs, **options)
    assert states(three)["E5-s1-1"] is RunState.FAILED


@pytest.mark.parametrize("options", [{"all_failed": True}, {"all_failed": True, "failure": "crashed"}])
def test_a_failed_run_waits_again_and_has_lost_its_result(study: Any, options: dict[str, Any]) -> None:
    run_id = study.end(study.start("E5"), "failed", "crashed")
    study.queue(run_id, "failed", failure="crashed")
    assert retry(study.file, **options) == [
        f"{run_id} waits again (crashed)",
        "`knockout work` trains what waits",
    ]
    assert states(study.file) == {run_id: RunState.QUEUED}
    assert study.paths.run(run_id).read_result() is None


def test_no_run_of_another_class_is_tried_again(three: Path) -> None:
    assert retry(three, all_failed=True, failure="hung") == ["no run has failed with hung"]
    assert states(three)["E5-s1-1"] is RunState.FAILED


def test_a_class_that_there_is_not_is_refused(three: Path) -> None:
    with pytest.raises(UsageError, match="there is no class of failures `lazy`; there are "):
        retry(three, all_failed=True, failure="lazy")


def test_where_nobody_is_at_work_there_is_nobody_to_stop(three: Path) -> None:
    assert stop(three) == ["nobody is at work"]


def test_a_queue_is_made_again_from_the_run_folders(study: Any) -> None:
    ids = study.add("E5")
    study.end(ids[0])
    study.paths.database.unlink()
    rebuild(study.file)
    assert states(study.file) == {ids[0]: RunState.DONE, ids[1]: RunState.QUEUED}


def test_without_run_folders_there_is_nothing_to_rebuild(study: Any) -> None:
    with pytest.raises(RunError):
        rebuild(study.file)


@pytest.mark.parametrize("verb", [status, queue_list, stop, rebuild])
def test_a_campaign_file_that_is_not_there_is_refused(verb: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        verb(tmp_path / "experiments.yml")
    assert list(tmp_path.iterdir()) == []
