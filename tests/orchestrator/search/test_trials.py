"""What Optuna is asked and told, and that no death loses a trial or tells it twice."""

from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from msgspec import structs
from optuna.trial import TrialState
from sqlalchemy import create_engine, inspect

from orchestrator.campaign.selection import Request
from orchestrator.errors import QueueError, UsageError
from orchestrator.processes import Process, birth_of
from orchestrator.runs.order import read_order
from orchestrator.runs.states import RunState
from orchestrator.search.objective import combine
from orchestrator.search.open import SearchOptions, open_search
from orchestrator.search.trials import Trials, open_trials

StudyFolder = Any
"""That of conftest.py."""
Lab = Any
"""Likewise."""
SPACE = """\
      loss.gamma: {kind: float, low: 0.01, high: 5.0}
      loss.label_smoothing: {kind: float, low: 0.0, high: 0.2}
"""
CROSSED_SPACE = """\
      model.depth: {kind: int, low: 2, high: 4}
      model.softmax_every: {kind: int, low: 2, high: 4}
"""
POINTS = """\
    enqueue:
      - at: {loss.gamma: 2.0, loss.label_smoothing: 0.0}
      - at: {loss.gamma: 3.0, loss.label_smoothing: 0.0}
"""


def states(trials: Trials) -> list[TrialState]:
    return [trial.state for trial in trials.all()]


def runs_of(trials: Trials, number: int) -> list[str]:
    runs: list[str] = trials.all()[number].user_attrs["runs"]
    return runs


def a_dead_process() -> Process:
    return structs.replace(Process.own(), born="long ago/1")


@pytest.fixture
def ask(lab: Lab) -> Callable[..., Trials]:
    """Trials of which the file's first points, or more, are under way."""

    def asking(number: int = 1, process: Process | None = None) -> Trials:
        trials = lab.open(process)
        trials.enqueue_points()
        for _ in range(number):
            trials.ask()
        return trials

    return asking


def test_a_trial_is_a_run_that_waits_with_the_commit_of_the_checkout_and_no_branch(
    lab: Lab, ask: Callable[..., Trials]
) -> None:
    trials = ask(2)
    (run,) = runs_of(trials, 1)
    order, config = read_order(lab.study.paths.run(run)), lab.study.paths.run(run).read_config()
    assert run.startswith("focal-t001-s0-")
    assert lab.state_of(run) is RunState.QUEUED
    assert (order.code.commit, order.code.branch) == (lab.study.git("rev-parse", "HEAD"), None)
    assert (config.experiment, config.params["loss"]["gamma"]) == ("focal-t001", 3.0)
    assert lab.study.git("branch", "--list", "experiment/*") == ""


def test_the_default_point_is_the_run_of_the_stack_and_the_others_are_paced_by_it(
    lab: Lab, ask: Callable[..., Trials]
) -> None:
    trials = ask(2)
    (default,), (other,) = runs_of(trials, 0), runs_of(trials, 1)
    assert default.startswith("E5-s0-")
    assert lab.study.add("E5") == (lab.study.add("E5")[0], default)
    assert read_order(lab.study.paths.run(other)).references == (default,)


def test_a_trial_that_equals_a_finished_run_costs_nothing(lab: Lab, ask: Callable[..., Trials]) -> None:
    _, there = lab.study.add("E5")
    lab.end(there, 0.61)
    trials = ask(1)
    trials.settle()
    assert runs_of(trials, 0) == [there]
    assert trials.all()[0].value == 61.0
    assert not lab.store.runs(states=[RunState.RUNNING])


def test_the_score_told_is_that_of_the_choosing_location(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(1)
    lab.end(runs_of(trials, 0)[0], 0.4)
    trials.settle()
    told = trials.all()[0]
    assert (told.state, told.value, told.constraints) == (TrialState.COMPLETE, 40.0, {"too_slow": -1.0})
    assert (trials.read().scored[0].arm, trials.num_visited()) == ("focal-t000", 1)


def test_a_trial_that_was_too_slow_is_infeasible_and_not_visited(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(2)
    lab.end(runs_of(trials, 0)[0], 0.4)
    lab.end(runs_of(trials, 1)[0], state="too_slow")
    trials.settle()
    slow = trials.all()[1]
    assert (slow.state, slow.value, slow.constraints) == (TrialState.COMPLETE, 40.0, {"too_slow": 1.0})
    assert trials.study.best_trial.number == 0
    assert trials.num_visited() == 1
    assert trials.read().trials[1].state == "too_slow"


def test_a_trial_that_failed_is_tried_once_more_and_not_twice(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(2)
    (run,) = runs_of(trials, 1)
    lab.end(run, state="failed", failure="crashed")
    trials.settle()
    assert states(trials) == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    trials.ask()
    again = trials.all()[2]
    assert (again.params, again.user_attrs["again_of"]) == (trials.all()[1].params, 1)
    assert (runs_of(trials, 2), lab.state_of(run)) == ([run], RunState.QUEUED)
    assert lab.study.paths.run(run).read_result() is None
    lab.end(run, state="failed", failure="crashed")
    trials.settle()
    assert states(trials) == [TrialState.RUNNING, TrialState.FAIL, TrialState.FAIL]
    assert trials.num_visited() == 0


def test_a_trial_whose_seeds_disagree_whether_it_is_too_slow_is_tried_once_more(lab: Lab, ask: Any) -> None:
    lab.study.edit("    trials: 6\n", "    trials: 6\n    seeds: 2\n")
    trials = ask(2)
    slow, done = runs_of(trials, 0)
    lab.end(slow, state="too_slow")
    lab.end(done, 0.4)
    trials.settle()
    assert states(trials)[0] is TrialState.FAIL
    assert trials.read().trials[0].reason.startswith("its seeds disagree whether it is too slow: ")
    trials.ask()
    assert (lab.state_of(slow), lab.state_of(done)) == (RunState.QUEUED, RunState.DONE)


def test_a_trial_whose_result_is_not_believed_is_trained_once_more(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(2)
    (run,) = runs_of(trials, 1)
    lab.end(run, 0.4)
    folder = lab.study.paths.run(run)
    said = folder.result.read_text()
    folder.result.write_text(
        said.replace('"correct": 40', '"correct": 90').replace('"accuracy": 0.4', '"accuracy": 0.9')
    )
    assert folder.result.read_text() != said
    trials.settle()
    assert states(trials) == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    assert trials.all()[1].user_attrs["reason"].startswith(f"{run} is not believed: result.json says 90.0 % on LocC")
    trials.ask()
    assert (runs_of(trials, 2), lab.state_of(run)) == ([run], RunState.QUEUED)
    assert folder.read_result() is None
    assert folder.result.with_name("result.json.set-aside").exists()
    lab.end(run, 0.4)
    trials.settle()
    assert trials.all()[2].value == 40.0


def test_a_cancelled_run_ends_its_trial_for_good(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(1)
    lab.store.move(runs_of(trials, 0)[0], RunState.QUEUED, RunState.CANCELLED)
    trials.settle()
    assert states(trials) == [TrialState.FAIL, TrialState.WAITING]
    assert "was cancelled" in trials.read().trials[0].reason
    assert trials.all()[1].user_attrs == {"point": {"loss.gamma": 3.0, "loss.label_smoothing": 0.0}}


def test_the_trials_of_a_dead_search_are_taken_over_and_told(lab: Lab, ask: Callable[..., Trials]) -> None:
    died = ask(2, a_dead_process())
    lab.end(runs_of(died, 0)[0], 0.5)
    lab.store.forget(runs_of(died, 1))
    trials = lab.open()
    trials.settle()
    assert states(trials) == [TrialState.RUNNING, TrialState.RUNNING]
    trials.take_over()
    trials.settle()
    assert states(trials) == [TrialState.COMPLETE, TrialState.RUNNING]
    assert lab.state_of(runs_of(trials, 1)[0]) is RunState.QUEUED


def test_a_trial_whose_search_died_before_it_noted_the_runs_is_asked_again(
    lab: Lab, ask: Callable[..., Trials]
) -> None:
    died = ask(0)
    died.study.ask()
    trials = lab.open()
    trials.take_over()
    assert states(trials) == [TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    trials.ask()
    trials.ask()
    wanted = [{"loss.gamma": gamma, "loss.label_smoothing": 0.0} for gamma in (3.0, 2.0)]
    assert [trial.params for trial in trials.all()[1:]] == wanted


def test_the_trials_of_a_living_search_are_left_alone(lab: Lab, ask: Callable[..., Trials], sleeper: Any) -> None:
    living = Process(Process.own().host, sleeper.pid, str(birth_of(sleeper.pid)))
    theirs = ask(1, living)
    lab.end(runs_of(theirs, 0)[0], 0.5)
    trials = lab.open()
    trials.take_over()
    trials.settle()
    assert states(trials)[0] is TrialState.RUNNING


def test_a_trial_is_told_once_whoever_tells_it_again(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(1)
    before = trials.own()[0]
    lab.end(runs_of(trials, 0)[0], 0.5)
    trials.settle()
    trials._tell(before, 99.0, too_slow=False)
    assert trials.all()[0].value == 50.0


def test_the_first_points_are_enqueued_once_however_often_a_search_starts(ask: Callable[..., Trials]) -> None:
    ask(1)
    assert len(ask(0).all()) == 2


def test_first_points_are_known_by_their_values_wherever_the_file_lists_them(
    lab: Lab, ask: Callable[..., Trials]
) -> None:
    first, second = POINTS.splitlines()[1:]
    ask(2)
    lab.study.edit(f"{first}\n{second}", f"{second}\n{second.replace('3.0', '4.0')}\n{first}\n{first}")
    trials = ask(1)
    assert [trial.params["loss.gamma"] for trial in trials.all()] == [2.0, 3.0, 4.0]


def test_a_point_that_comes_again_is_visited_once(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(1)
    lab.end(runs_of(trials, 0)[0], 0.5)
    trials.settle()
    trials.study.enqueue_trial(trials.all()[0].params)
    for _ in range(2):
        trials.ask()
        trials.settle()
    assert [trial.state for trial in trials.all()].count(TrialState.COMPLETE) == 2
    assert (trials.num_visited(), trials.read().num_visited) == (1, 1)


def test_a_trial_under_way_is_said_to_be_what_its_runs_are(lab: Lab, ask: Callable[..., Trials]) -> None:
    trials = ask(2)
    (run,) = runs_of(trials, 0)
    assert [trial.state for trial in trials.read().trials] == ["waiting", "waiting"]
    claimed = lab.store.claim(trials.process, [run])
    assert [trial.state for trial in trials.read().trials] == ["running", "waiting"]
    lab.store.end(claimed, RunState.INTERRUPTED, "stopped after an epoch")
    assert [trial.state for trial in trials.read().trials] == ["interrupted", "waiting"]


def test_a_trial_notes_who_suggested_it(lab: Lab, ask: Callable[..., Trials]) -> None:
    ask(3)
    lab.study.edit("trials: 6", "trials: 6\n    sampler: random")
    assert [trial.sampler for trial in ask(1).read().trials] == ["", "", "tpe", "random"]


def test_a_point_that_was_not_trained_is_written_with_as_many_digits_as_the_others(
    lab: Lab, ask: Callable[..., Trials]
) -> None:
    trials = ask(2)
    trials.study.enqueue_trial({"loss.label_smoothing": 0.1, "loss.gamma": 1.23456789, "loss.alpha": 1.0})
    assert trials.read().trials[2].change == {"loss.gamma": 1.23457, "loss.label_smoothing": 0.1}


def test_a_search_that_goes_on_suggests_what_it_would_have_suggested(lab: Lab, ask: Callable[..., Trials]) -> None:
    asked = [trial.params for trial in ask(4).all()]
    (lab.study.paths.results / "optuna.db").unlink()
    ask(2)
    ask(2)
    assert [trial.params for trial in lab.open().all()] == asked


def test_another_stack_or_other_code_is_another_study(lab: Lab, ask: Callable[..., Trials]) -> None:
    before = ask(1).study.study_name
    lab.study.edit("loss.gamma: 2.0}}", "loss.gamma: 2.5}}")
    assert lab.open().study.study_name != before
    assert before.startswith("tiny/quick/focal/")


def test_each_seed_of_a_point_is_a_run(lab: Lab, ask: Callable[..., Trials]) -> None:
    lab.study.edit("    trials: 6\n", "    trials: 6\n    seeds: 2\n")
    trials = ask(1)
    first, second = runs_of(trials, 0)
    lab.end(first, 0.5)
    trials.settle()
    assert states(trials)[0] is TrialState.RUNNING
    lab.end(second, 0.6)
    trials.settle()
    score = trials.read().scored[0].score
    assert score is not None
    assert (score.per_seed, score.mean) == ((50.0, 60.0), 55.0)
    assert score == combine([(50.0, 100), (60.0, 100)])


def test_knobs_that_do_not_go_together_fail_their_trial(lab: Lab) -> None:
    lab.study.edit(SPACE, CROSSED_SPACE)
    lab.study.edit(POINTS, "")
    trials = lab.open()
    trials.study.enqueue_trial({"model.depth": 2, "model.softmax_every": 4})
    trials.ask()
    assert states(trials) == [TrialState.FAIL]
    assert "softmax_every" in trials.read().trials[0].reason


def test_a_storage_that_cannot_be_opened_is_a_sentence(lab: Lab) -> None:
    with pytest.raises(QueueError, match="the trials cannot be used: "):
        open_trials(lab.opened, lab.store, SearchOptions(url="sqlite:////no/such/folder/optuna.db"))


@pytest.mark.parametrize(
    ("url", "end"),
    [
        ("sqlite:////no/such/folder/optuna.db", "; it cannot be written; give the user who runs Knockout the right to"),
        ("nothing://folder/optuna.db", "Can't load plugin: sqlalchemy.dialects:nothing"),
        ("postgresql://ada@host:port/trials", "invalid literal for int() with base 10: 'port'"),
    ],
)
def test_a_refusal_of_the_storage_is_one_line_without_statements(lab: Lab, url: str, end: str) -> None:
    with pytest.raises(QueueError) as caught:
        open_trials(lab.opened, lab.store, SearchOptions(url=url))
    assert str(caught.value).endswith(end)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["knockout.db", "link.db"])
def test_trials_are_not_kept_in_the_queues_own_database(lab: Lab, name: str) -> None:
    """`rebuild` makes that anew of the run folders."""
    results = lab.study.paths.results
    (results / "link.db").symlink_to("knockout.db")
    with pytest.raises(QueueError, match=r"it is the queue's own, and `knockout rebuild` makes it again without them"):
        open_trials(lab.opened, lab.store, SearchOptions(url=f"sqlite:///{results}/../results/{name}"))
    assert "studies" not in inspect(create_engine(lab.study.paths.database_url)).get_table_names()


def test_a_search_that_is_not_there_is_a_mistake(lab: Lab) -> None:
    with pytest.raises(UsageError, match="there is no search `focl`; did you mean `focal`"):
        open_search(Request(file=lab.study.file), "focl")


def test_the_dashboard_of_optuna_opens_the_storage(lab: Lab, ask: Callable[..., Trials]) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    name = ask(2).study.study_name
    application = dashboard.wsgi(optuna.storages.RDBStorage(lab.study.paths.searches_url))

    def get(path: str) -> tuple[str, str]:
        statuses: list[str] = []
        environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        answer = application(environ, lambda status, headers, *rest: statuses.append(status))
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return statuses[0], body.decode()

    assert get("/dashboard")[0] == "200 OK"
    assert name in get("/api/studies")[1]
