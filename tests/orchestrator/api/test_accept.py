"""`knockout why RUN --accept`: a result of older code stands for the run of today's."""

import getpass
import json
import os
import platform
from typing import Any

import pytest

from orchestrator.api.accept import accept
from orchestrator.campaign.records import measures_of
from orchestrator.campaign.selection import Request, make_plan, open_campaign
from orchestrator.code.sources import find_code
from orchestrator.errors import KnockoutError, RunError, UsageError
from orchestrator.queue.store import open_store
from orchestrator.runs.record import read_run
from orchestrator.runs.results import finished_results
from orchestrator.runs.states import RunState
from tests.builders.results import write_done


@pytest.fixture
def trained(study: Any) -> str:
    """A run that is done, with predictions; the code has changed since."""
    run_id = study.start("E5", num_epochs=2)
    write_done(study.paths.run(run_id), correct=4, epochs=2)
    edit_code(study)
    return str(run_id)


def edit_code(study: Any) -> None:
    (study.paths.root / "model" / "__main__.py").write_text("print('one')\n# said\n")


def planned_id(study: Any) -> str:
    opened = open_campaign(Request(file=study.file, experiments=("E5",)))
    return make_plan(opened, find_code(study.paths, snapshot=True)).run_of["E5", 0]


def take(study: Any, run_id: str) -> list[str]:
    return accept(Request(file=study.file), run_id)


def test_the_result_stands_for_todays_run(study: Any, trained: str) -> None:
    target = planned_id(study)
    assert target != trained
    said = take(study, trained)
    assert said[0].startswith(f"{target} takes the result of {trained}; the report says that ")
    opened = open_campaign(Request(file=study.file, experiments=("E5",)))
    plan = make_plan(opened, find_code(study.paths, snapshot=True))
    results = finished_results(study.paths, plan.run_ids)
    assert {run_id: result.state for run_id, result in results.items()} == {target: "done"}


def test_an_accepted_run_is_a_finished_one(study: Any, trained: str) -> None:
    """Law 2: a finished run is never trained again."""
    take(study, trained)
    study.add("E5")
    store = open_store(study.paths)
    states = {row.id: row.state for row in store.runs()}
    store.close()
    assert states[planned_id(study)] is RunState.DONE


def test_the_provenance_says_on_whose_word(study: Any, trained: str) -> None:
    target = planned_id(study)
    take(study, trained)
    old, new = (json.loads(study.paths.run(run_id).provenance.read_bytes()) for run_id in (trained, target))
    accepted = new.pop("accepted")
    assert accepted == {
        "run": trained,
        "code_tree": find_code(study.paths, snapshot=True).code_hash,
        "by": f"{getpass.getuser()} on {platform.node()}",
        "files": ["model/__main__.py (+1 -0)"],
    }
    # Where the numbers come from stays what it was.
    assert {name for name in new if new[name] != old[name]} == {"run", "identity"}
    assert new["run"] == target
    assert new["code_tree"] != accepted["code_tree"]


def test_the_reports_data_is_read_from_the_copy(study: Any, trained: str) -> None:
    target = planned_id(study)
    take(study, trained)
    measures = measures_of(open_campaign(Request(file=study.file)).campaign)
    old, new = (read_run(run_id, study.paths.run(run_id), measures) for run_id in (trained, target))
    assert (new.epochs, new.result, new.params) == (old.epochs, old.result, old.params)
    assert (new.scores["LocD"].num_right, new.scores["LocD"].num_items) == (4, 10)
    assert new.provenance["accepted"]["run"] == trained


def test_a_user_without_a_name_accepts_by_number(study: Any, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("orchestrator.api.accept.getpass.getuser", nameless)
    assert f"user {os.getuid()} on {platform.node()} accepted it" in take(study, trained)[0]


def refuse(study: Any, run_id: str, error: type[KnockoutError], words: str) -> None:
    before = sorted(study.paths.runs.glob("*/result.json"))
    with pytest.raises(error) as raised:
        take(study, run_id)
    assert words in str(raised.value)
    assert sorted(study.paths.runs.glob("*/result.json")) == before


class TestRefusals:
    def test_a_run_that_is_todays_already(self, study: Any) -> None:
        run_id = study.end(study.start("E5"))
        refuse(study, run_id, UsageError, f"{run_id} is what would be trained now, so its result is taken as it is")

    @pytest.mark.parametrize("state", ["failed", "too_slow", None])
    def test_a_run_that_is_not_done(self, study: Any, state: str | None) -> None:
        run_id = study.start("E5")
        if state:
            study.end(run_id, state, "crashed" if state == "failed" else None)
        edit_code(study)
        refuse(study, run_id, UsageError, f"{run_id} is not done, so it has no result to accept")

    @pytest.mark.parametrize("with_code", [True, False])
    @pytest.mark.parametrize("what", ["config", "data"])
    def test_a_run_that_differs_in_more_than_its_code(self, study: Any, what: str, with_code: bool) -> None:
        run_id = study.end(study.start("E5"))
        if with_code:
            edit_code(study)
        if what == "config":
            study.edit("loss.gamma: 2.0", "loss.gamma: 1.0")
        else:
            (study.paths.root / "data" / "LocD.h5").write_bytes(b"other bursts")
        words = f"{run_id} differs in more than its code, see `knockout why {run_id}`; only a change of code can"
        refuse(study, run_id, UsageError, words)

    def test_a_run_whose_place_is_taken(self, study: Any, trained: str) -> None:
        target = study.end(study.start("E5"), "too_slow")
        refuse(study, trained, UsageError, f"{target} has its own result, or a job at work on it")

    def test_a_run_whose_place_a_job_is_at_work_in(self, study: Any, trained: str) -> None:
        target = study.start("E5")
        with study.paths.run(target).hold():
            refuse(study, trained, UsageError, f"{target} has its own result, or a job at work on it")

    @pytest.mark.parametrize("name", ["predictions", "epochs"])
    def test_a_run_that_has_lost_a_file(self, study: Any, trained: str, name: str) -> None:
        getattr(study.paths.run(trained), name).unlink()
        refuse(study, trained, RunError, f"{trained}: its result cannot be taken: ")

    def test_a_run_whose_code_of_today_is_refused(self, study: Any) -> None:
        patched = "  P1: {title: Patched, group: code, hypothesis: Why., patch: p1.diff}\n"
        study.file.write_text(study.file.read_text() + patched)
        patch = study.paths.root / "p1.diff"
        diff = "--- a/model/__main__.py\n+++ b/model/__main__.py\n@@ -1 +1 @@\n-print('{}')\n+print('two')\n"
        patch.write_text(diff.format("one"))
        run_id = study.end(study.start("P1"))
        patch.write_text(diff.format("three"))
        refuse(study, run_id, UsageError, "would be rejected, so no result can stand for it: ")
