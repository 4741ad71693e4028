"""Which runs a trial is."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from orchestrator.code.sources import find_code
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.states import RunState
from orchestrator.search.trial_runs import base_code

Lab = Any
"""That of conftest.py."""
CHANGE = {"loss.gamma": 3.0, "loss.label_smoothing": 0.0}


def code_of(lab: Lab, *, snapshot: bool = False) -> OrderedCode:
    return base_code(find_code(lab.study.paths, snapshot=snapshot), lab.opened.stack, datetime.now(UTC))


def test_code_that_is_committed_needs_no_branch(lab: Lab) -> None:
    code = code_of(lab)
    assert (code.commit, code.branch, code.is_own) == (lab.study.git("rev-parse", "HEAD"), None, False)


def test_code_that_is_not_committed_is_on_a_branch_of_the_stack(lab: Lab) -> None:
    (lab.study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
    code = code_of(lab, snapshot=True)
    assert str(code.branch).startswith("experiment/E5-")
    assert code.tree != code_of_head(lab)


def code_of_head(lab: Lab) -> str:
    lab.study.git("checkout", "--quiet", "--", "model")
    return code_of(lab).tree


def test_a_run_of_the_same_identity_is_taken_whatever_it_is_called(lab: Lab) -> None:
    runs = lab.open().runs
    (first,) = runs.plan("focal-t001", CHANGE)
    runs.queue(first, 0)
    (again,) = runs.plan("focal-t009", CHANGE)
    assert (again.id, again.experiment) == (first.id, "focal-t001")


def test_a_run_that_an_experiment_would_have_is_called_after_it(lab: Lab) -> None:
    entry = "  G3: {title: Three, group: loss, hypothesis: Why., on: E5, change: {loss.gamma: 3.0}}\n"
    lab.study.edit("searches:\n", f"{entry}searches:\n")
    (run,) = lab.open().runs.plan("focal-t001", CHANGE)
    assert run.id.startswith("G3-s0-")
    assert lab.study.add("G3")[-1] == run.id


@pytest.mark.parametrize("state", [RunState.INTERRUPTED, RunState.CANCELLED])
def test_a_run_that_was_left_waits_again(lab: Lab, state: RunState) -> None:
    runs = lab.open().runs
    (run,) = runs.plan("focal-t001", CHANGE)
    lab.study.queue(run.id, state.value)
    runs.queue(run, 0)
    assert lab.state_of(run.id) is RunState.QUEUED


def test_a_row_that_says_ended_about_a_folder_without_a_result_waits_again(lab: Lab) -> None:
    runs = lab.open().runs
    (run,) = runs.plan("focal-t001", CHANGE)
    lab.study.queue(run.id, "done")
    runs.queue(run, 0)
    assert lab.state_of(run.id) is RunState.QUEUED


def test_a_run_that_is_being_trained_stays_as_it_is(lab: Lab) -> None:
    runs = lab.open().runs
    (run,) = runs.plan("focal-t001", CHANGE)
    lab.study.queue(run.id, "running")
    runs.queue(run, 0)
    assert lab.state_of(run.id) is RunState.RUNNING
    assert not lab.study.paths.run(run.id).order.exists()


def test_a_slow_run_is_forgotten_beside_a_seed_that_is_done(lab: Lab) -> None:
    runs = lab.open().runs
    planned = [*runs.plan("focal-t001", CHANGE), *runs.plan("focal-t002", CHANGE | {"loss.gamma": 4.0})]
    for run, state in zip(planned, ("too_slow", "done"), strict=True):
        runs.queue(run, 0)
        lab.study.end(run.id, state)
    runs.forget_failures([run.id for run in planned])
    assert [runs.result(run.id) is not None for run in planned] == [False, True]


@pytest.fixture
def two_points(lab: Lab) -> Lab:
    """A search whose second point is the best: 70 of 100 bursts against 50."""
    trials = lab.open()
    trials.enqueue_points()
    for accuracy in (0.5, 0.7):
        trials.ask()
        lab.end(trials.own()[-1].user_attrs["runs"][0], accuracy)
    trials.settle()
    return lab


def test_the_bursts_of_the_best_point_are_paired_with_those_of_the_default_and_the_runner_up(two_points: Lab) -> None:
    trials = two_points.open()
    found = trials.read()
    pairs = trials.runs.pairs(found)
    assert pairs.keys() == {other.number for other in found.compared} == {0}
    assert (pairs[0].num_seeds, pairs[0].num_items) == (1, 100)
    # The best gets 20 bursts right that the other gets wrong, and the others alike.
    assert pairs[0].points.sum() == pytest.approx(2000.0)
    assert np.count_nonzero(pairs[0].points) == 20


def test_a_point_whose_bursts_are_gone_is_compared_without_them(two_points: Lab) -> None:
    trials = two_points.open()
    found = trials.read()
    two_points.study.paths.run(found.scored[0].runs[0]).predictions.unlink()
    assert trials.runs.pairs(found) == {}


def test_only_a_failure_is_forgotten(lab: Lab) -> None:
    runs = lab.open().runs
    (run,) = runs.plan("focal-t001", CHANGE)
    runs.queue(run, 0)
    for state, stays in (("failed", False), ("too_slow", True)):
        lab.study.end(run.id, state)
        runs.forget_failures([run.id])
        assert (runs.result(run.id) is not None) is stays
