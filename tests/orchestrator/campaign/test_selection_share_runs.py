"""Law 2 of DESIGN.md, whatever a run is called: "A finished run is never trained again.\""""

import shutil
from typing import Any

import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request, make_plan, open_campaign, share_runs
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.code.sources import find_code
from orchestrator.runs.paths import Paths

StudyFolder = Any
"""That of conftest.py."""
RENAMED = ("  E5: {title: Focal", "  F1: {title: Focal")


@pytest.fixture
def renamed(study: StudyFolder) -> str:
    """The run of an experiment that has another name since; returned as it was called."""
    study.add("E5")
    run_id: str = study.end(study.start("E5"))
    study.edit(*RENAMED)
    study.edit("on: E5", "on: F1")
    return run_id


def request_of(study: StudyFolder, *experiments: str) -> Request:
    return Request(file=study.file, profile="quick", seeds=(0,), experiments=experiments)


def plan_of(study: StudyFolder, *experiments: str) -> Plan:
    return make_plan(open_campaign(request_of(study, *experiments)), find_code(study.paths, snapshot=True))


def test_an_experiment_of_another_name_takes_the_run_and_stays_what_it_is(study: StudyFolder, renamed: str) -> None:
    plan = plan_of(study, "F1")
    assert plan.run_of["F1", 0] == renamed
    assert {run.id: run.experiment for run in plan.runs}[renamed] == "F1"
    assert renamed in study.add("F1")
    assert not list(study.paths.runs.glob("F1-*"))


def test_a_run_of_its_own_comes_first(study: StudyFolder, renamed: str) -> None:
    own = study.paths.run(renamed.replace("E5", "F1"))
    shutil.copytree(study.paths.run(renamed).path, own.path)
    assert plan_of(study, "F1").run_of["F1", 0] == own.path.name


@pytest.mark.parametrize("missing", ["order.json", "config.json"])
def test_a_folder_that_does_not_say_what_it_is_stands_for_nothing(
    study: StudyFolder, renamed: str, missing: str
) -> None:
    (study.paths.run(renamed).path / missing).unlink()
    assert plan_of(study, "F1").run_of["F1", 0] == renamed.replace("E5", "F1")


def test_the_same_first_letters_of_an_identity_are_not_the_same_run(study: StudyFolder, renamed: str) -> None:
    order = study.paths.run(renamed).order
    whole = plan_of(study, "F1").runs[-1].identity
    order.write_text(order.read_text().replace(whole, whole[:8] + "0" * (len(whole) - 8)))
    assert plan_of(study, "F1").run_of["F1", 0] == renamed.replace("E5", "F1")


def test_a_campaign_as_it_was_queued_finds_them_too(study: StudyFolder, renamed: str) -> None:
    study.add("F1")
    study.end(study.start("baseline"))
    (study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
    request = request_of(study, "F1")
    plan, note = choose_plan(open_campaign(request), find_code(study.paths, snapshot=True))
    assert plan.run_of["F1", 0] == renamed
    assert "as it was queued" in note


def test_where_nothing_was_trained_a_plan_is_as_it_is(study: StudyFolder, a_plan: Any) -> None:
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    assert share_runs(plan, Paths(study.paths.root)) == plan
