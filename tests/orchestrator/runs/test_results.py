"""How runs ended, and who is at work in them, as their folders say."""

import fcntl
import os
import platform
import re
from typing import Any

import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request, make_plan, open_campaign
from orchestrator.code.sources import find_code
from orchestrator.errors import RunError
from orchestrator.runs.results import describe_holder, finished_results, read_result


@pytest.fixture
def ids(study: Any) -> list[str]:
    """Three runs that were queued: done, failed, and one that waits."""
    ids = list(study.add("H2"))
    study.end(ids[0])
    study.end(ids[1], "failed", "crashed")
    return ids


def plan_of(study: Any) -> Plan:
    opened = open_campaign(Request(file=study.file, seeds=(0,)))
    return make_plan(opened, find_code(study.paths, snapshot=True))


def test_runs_with_a_result_are_finished(study: Any, ids: list[str]) -> None:
    found = finished_results(study.paths, plan_of(study).run_ids)
    assert {run_id: result.state for run_id, result in found.items()} == {ids[0]: "done", ids[1]: "failed"}


def test_results_may_be_forgotten(study: Any, ids: list[str]) -> None:
    found = finished_results(study.paths, plan_of(study).run_ids, ids[1:])
    assert list(found) == ids[:1]
    assert [study.paths.run(run_id).result.exists() for run_id in ids] == [True, False, False]


def test_a_result_of_another_version_is_refused(study: Any, ids: list[str]) -> None:
    folder = study.paths.run(ids[0])
    folder.result.write_text('{"format": 1, "state": "done", "unknown": 1}')
    with pytest.raises(RunError, match=f"; move {re.escape(str(folder.path))} away to train it again"):
        read_result(folder)


def test_a_job_at_work_is_told_and_gone_once_it_ends(study: Any, ids: list[str]) -> None:
    folder = study.paths.run(ids[2])
    assert describe_holder(folder) is None
    with folder.hold():
        assert describe_holder(folder) == f"process {os.getpid()} on {platform.node()} is at work on it"
    assert describe_holder(folder) is None


def test_a_lock_that_no_job_took_is_told(study: Any, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.runs.job_lock.LOCK_SECONDS", 0.05)
    folder = study.paths.run(ids[2])
    with folder.lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = describe_holder(folder)
    assert told == f"{folder.lock}: this is locked by a process that is no job; end it, and run again"
