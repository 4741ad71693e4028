"""Which points a search prunes, and that nothing of them stays in the queue."""

from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

from orchestrator.runs.states import RunState
from orchestrator.search.notes import add_note
from orchestrator.search.trials import Trials
from tests.builders.epochs import an_epoch, append_epoch

Lab = Any
"""That of conftest.py."""
MEDIAN = "    trials: 6\n    pruner: {kind: median, startup_trials: 2, warmup_epochs: 2}\n"
WILCOXON = "    trials: 6\n    pruner: {kind: wilcoxon, p_threshold: 0.1, warmup_epochs: 3}\n"


def runs_of(trials: Trials, number: int) -> list[str]:
    runs: list[str] = trials.all()[number].user_attrs["runs"]
    return runs


@pytest.fixture
def train(lab: Lab) -> Callable[..., None]:
    """Give a run epochs of these validation accuracies, after those that it has."""

    def training(run: str, *accuracies: float) -> None:
        folder = lab.study.paths.run(run)
        for number, accuracy in enumerate(accuracies, start=len(folder.read_epochs()) + 1):
            append_epoch(folder, an_epoch(number, val_accuracy=accuracy))

    return training


@pytest.fixture
def race(lab: Lab, train: Callable[..., None]) -> Callable[..., Trials]:
    """Trials of which two have ended, at 60 and 70 % of accuracy in every epoch, and a third is under way."""

    def racing(pruner: str, seeds: str = "") -> Trials:
        lab.study.edit("    trials: 6\n", pruner + seeds)
        trials: Trials = lab.open()
        trials.enqueue_points()
        for number, accuracy in ((0, 0.6), (1, 0.7)):
            trials.ask()
            for run in runs_of(trials, number):
                train(run, *[accuracy] * 6)
                lab.end(run, accuracy)
            trials.settle()
        trials.ask()
        return trials

    return racing


@pytest.mark.parametrize("pruner", [MEDIAN, WILCOXON])
def test_a_point_that_lies_below_the_others_is_pruned_after_its_warm_up(
    pruner: str, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(pruner)
    (run,) = runs_of(trials, 2)
    train(run, 0.3, 0.3)
    trials.prune()
    trials.settle()
    assert trials.all()[2].state is TrialState.RUNNING
    train(run, 0.3, 0.3)
    trials.prune()
    trials.settle()
    pruned = trials.all()[2]
    assert (pruned.state, pruned.value) == (TrialState.PRUNED, 30.0)
    assert pruned.constraints == {"too_slow": -1.0}
    against = "the median of the others" if pruner is MEDIAN else "the best point"
    record = trials.read().trials[2]
    assert record.reason == f"pruned after 4 epochs: its validation accuracy lies below {against}"
    assert (record.state, record.score) == ("pruned", None)


@pytest.mark.parametrize("pruner", [MEDIAN, WILCOXON])
def test_a_point_that_keeps_up_goes_on(pruner: str, train: Callable[..., None], race: Callable[..., Trials]) -> None:
    trials = race(pruner)
    for _ in range(6):
        train(runs_of(trials, 2)[0], 0.72)
        trials.prune()
        trials.settle()
    assert trials.all()[2].state is TrialState.RUNNING
    assert len(trials.all()[2].intermediate_values) == 6


def test_without_a_pruner_nothing_is_told_of_epochs(train: Callable[..., None], race: Callable[..., Trials]) -> None:
    trials = race("    trials: 6\n")
    train(runs_of(trials, 2)[0], *[0.1] * 6)
    trials.prune()
    trials.settle()
    assert [trial.intermediate_values for trial in trials.all()] == [{}, {}, {}]


def test_a_point_that_was_pruned_counts_as_visited(train: Callable[..., None], race: Callable[..., Trials]) -> None:
    trials = race(MEDIAN)
    train(runs_of(trials, 2)[0], *[0.3] * 4)
    trials.prune()
    trials.settle()
    assert (trials.num_visited(), trials.num_unvisited()) == (3, 0)
    assert [trial.arm for trial in trials.read().scored] == ["focal-t001", "focal-t000"]


def test_seeds_are_held_against_others_at_the_epoch_that_all_of_them_have_come_to(
    train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(MEDIAN, "    seeds: 2\n")
    first, second = runs_of(trials, 2)
    train(first, *[0.3] * 6)
    trials.prune()
    trials.settle()
    assert trials.all()[2].state is TrialState.RUNNING
    train(second, *[0.3] * 4)
    trials.prune()
    trials.settle()
    assert trials.all()[2].state is TrialState.PRUNED
    assert set(trials.all()[2].intermediate_values) == {0, 1, 2, 3}


def test_the_run_of_a_point_that_was_pruned_is_stopped_and_waits_for_nobody(
    lab: Lab, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(MEDIAN)
    (run,) = runs_of(trials, 2)
    claimed = lab.store.claim(trials.process, [run])
    train(run, *[0.3] * 4)
    trials.prune()
    trials.settle()
    assert (trials.unwanted_runs(), lab.state_of(run), trials.all()[2].state) == (
        [run],
        RunState.RUNNING,
        TrialState.RUNNING,
    )
    lab.store.end(claimed, RunState.INTERRUPTED, "stopped after an epoch; it goes on from there")
    trials.settle()
    row = lab.store.runs([run])[0]
    assert (row.state, row.reason) == (RunState.CANCELLED, trials.read().trials[2].reason)
    assert trials.all()[2].state is TrialState.PRUNED


def test_a_run_that_ends_before_it_can_be_stopped_gives_its_point_a_score(
    lab: Lab, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(MEDIAN)
    (run,) = runs_of(trials, 2)
    train(run, *[0.3] * 4)
    trials.prune()
    lab.end(run, 0.65)
    trials.settle()
    assert (trials.all()[2].state, trials.all()[2].value) == (TrialState.COMPLETE, 65.0)


def test_a_dead_search_that_pruned_a_point_leaves_it_to_the_next_one(
    lab: Lab, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    died = race(MEDIAN)
    train(runs_of(died, 2)[0], *[0.3] * 4)
    died.prune()
    add_note(died.kept.trial(died.all()[2]), owner="here/1/long ago")
    trials = lab.open()
    trials.take_over()
    trials.settle()
    assert trials.all()[2].state is TrialState.PRUNED
    assert lab.state_of(runs_of(trials, 2)[0]) is RunState.CANCELLED


def test_a_run_that_another_point_needs_goes_on(
    lab: Lab, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(MEDIAN)
    train(runs_of(trials, 2)[0], *[0.3] * 4)
    trials.study.enqueue_trial(trials.all()[2].params)
    trials.ask()
    assert runs_of(trials, 3) == runs_of(trials, 2)
    trials.prune()
    trials.settle()
    assert [trial.state for trial in trials.own()] == [TrialState.RUNNING] * 2
    assert lab.state_of(runs_of(trials, 3)[0]) is RunState.QUEUED


@pytest.mark.parametrize("attributes", [{}, {"point": {"loss.gamma": 7.0}}])
def test_a_point_of_the_file_or_an_experiment_goes_on(
    attributes: dict[str, Any], lab: Lab, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(MEDIAN)
    default, ours = runs_of(trials, 0)[0], runs_of(trials, 1)[0]
    assert (default[:3], ours[:6]) == ("E5-", "focal-")
    run, same = (ours, 1) if attributes else (default, 0)
    lab.study.paths.run(run).result.unlink()
    lab.study.paths.run(run).epochs.unlink()
    trials.study.enqueue_trial(trials.all()[same].params, user_attrs=attributes)
    trials.ask()
    assert runs_of(trials, 3) == [run]
    train(run, *[0.1] * 4)
    trials.prune()
    trials.settle()
    assert trials.all()[3].state is TrialState.RUNNING


def test_a_point_that_was_pruned_can_be_trained_to_its_end_as_another_trial(
    lab: Lab, train: Callable[..., None], race: Callable[..., Trials]
) -> None:
    trials = race(MEDIAN)
    (run,) = runs_of(trials, 2)
    train(run, *[0.3] * 4)
    trials.prune()
    trials.settle()
    assert lab.state_of(run) is RunState.CANCELLED
    trials.study.enqueue_trial(trials.all()[2].params)
    trials.ask()
    assert (runs_of(trials, 3), lab.state_of(run)) == ([run], RunState.QUEUED)
