"""The loop over the looks, with a worker that ends runs without training them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.api import train
from orchestrator.api.queue import RunOptions, add
from orchestrator.api.report import Outcome
from orchestrator.api.train import Budget, Trained, next_run, run_until_decided
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.cli.live import LiveTable
from orchestrator.errors import UsageError
from orchestrator.queue.store import open_store
from orchestrator.runs.folder import Result
from orchestrator.verdicts.staged import SeedDecisionState
from tests.builders.results import write_done

STAGING = "staging: {screen_seeds: 2, max_seeds: 3, confirm_seeds: 2}"
SCREENED = [(name, seed) for seed in (0, 1) for name in ("baseline", "E5", "H2")]


@dataclass
class Ender:
    """Takes the place of `train`: queues for good, and ends what waits with one result."""

    result: Result | None
    seconds: float = 0.0
    """What a round takes, by its own clock."""
    is_complete: bool = True
    now: float = 0.0
    rounds: list[list[tuple[str, int]]] = field(default_factory=list)
    retried: list[bool] = field(default_factory=list)

    def __call__(self, study: Selection, options: RunOptions, observer: Any, *rest: Any) -> Trained:
        *_, current = rest
        store = open_store(study.paths)
        try:
            queued = add(study, store, options, current)
        finally:
            store.close()
        waiting = [run for run in queued.plan.runs if run.id not in queued.finished]
        self.rounds.append([(run.experiment, run.seed) for run in waiting])
        self.retried.append(options.retry)
        self.now += self.seconds
        if self.result is not None:
            for run in waiting:
                folder = study.paths.run(run.id)
                if self.result is UNTOLD:
                    write_done(folder)
                else:
                    folder.write_result(self.result)
        return Trained(queued=queued, is_complete=self.is_complete)


UNTOLD = Result(state="done", reason="trained, with scores that tell nothing", epochs=1)
DIED = Result(state="failed", failure="crashed", reason="it crashed", epochs=1)


@pytest.fixture
def opened(study: Any) -> Selection:
    study.edit("seeds: 2\n", f"seeds: 2\n{STAGING}\n")
    study.commit()
    return open_campaign(Request(file=study.file, profile="quick"))


@pytest.fixture
def decide(opened: Selection, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run the loop with an ender."""

    def run(ender: Ender, budget_seconds: float | None = None, *, retry: bool = False) -> Outcome:
        monkeypatch.setattr(train, "train", ender)
        options = RunOptions(snapshot=True, retry=retry)
        return run_until_decided(opened, options, LiveTable(), Budget(lambda: ender.now, budget_seconds))

    return run


def test_a_budget_of_nothing_trains_nothing_and_queues_nothing(decide: Any, opened: Selection) -> None:
    ender = Ender(UNTOLD)
    ended = decide(ender, 0.0)
    assert ender.rounds == []
    assert ended.is_budget_spent
    assert ended.num_wanted == len(SCREENED)
    assert not opened.paths.runs.exists()


def test_undecided_experiments_are_given_seeds_look_by_look_until_they_have_had_all(decide: Any) -> None:
    ender = Ender(UNTOLD)
    ended = decide(ender)
    assert [sorted(each) for each in ender.rounds] == [
        sorted(SCREENED),
        [("E5", 2), ("H2", 2), ("baseline", 2)],
    ]
    assert {decision.state for decision in ended.decisions.values()} == {SeedDecisionState.EXHAUSTED}
    assert (ended.num_trained, ended.num_finished_before, ended.num_wanted) == (9, 0, 0)
    assert not ended.is_budget_spent


def test_a_second_time_trains_nothing(decide: Any) -> None:
    decide(Ender(UNTOLD))
    ender = Ender(UNTOLD)
    ended = decide(ender)
    assert ender.rounds == []
    assert (ended.num_trained, ended.num_finished_before) == (0, 9)


def test_no_look_begins_once_the_budget_is_spent_and_the_next_command_goes_on(decide: Any) -> None:
    ender = Ender(UNTOLD, seconds=60.0)
    ended = decide(ender, 50.0)
    assert len(ender.rounds) == 1
    assert (ended.is_budget_spent, ended.is_complete, ended.num_wanted) == (True, True, 3)
    later = Ender(UNTOLD)
    assert not decide(later).is_budget_spent
    assert len(later.rounds[0]) == 3


def test_an_interrupt_ends_the_loop_and_is_told(decide: Any) -> None:
    ender = Ender(None, is_complete=False)
    ended = decide(ender)
    assert len(ender.rounds) == 1
    assert not ended.is_complete


def test_runs_that_cannot_be_started_do_not_keep_the_loop_going(decide: Any) -> None:
    ender = Ender(None)
    decide(ender)
    assert len(ender.rounds) == 1


def test_failed_runs_are_trained_again_once_and_only_where_that_is_asked_for(decide: Any) -> None:
    assert {each.verdict for each in decide(Ender(DIED)).decisions.values()} == {"failed"}
    untouched = Ender(DIED)
    decide(untouched)
    assert untouched.rounds == []
    again = Ender(DIED)
    decide(again, retry=True)
    assert (sorted(again.rounds[0]), again.retried) == (sorted(SCREENED), [True])


def test_the_next_run_is_chosen_without_training(opened: Selection) -> None:
    found = next_run(opened.request)
    assert found is not None
    assert (found.seed, found.seconds) == (0, None)
    assert not opened.paths.runs.exists()


def test_a_campaign_without_staging_is_told_what_to_write(study: Any) -> None:
    unstaged = Request(file=study.file, profile="quick")
    with pytest.raises(UsageError, match=r"add `staging: \{screen_seeds: 2, max_seeds: 10, confirm_seeds: 2\}` to its"):
        next_run(unstaged)


def test_a_plain_run_of_a_staged_campaign_queues_the_seeds_of_the_file(study: Any, opened: Selection) -> None:
    study.add("E5", seeds=(0, 1))
    assert len(list(opened.paths.runs.iterdir())) == 4
    assert opened.seeds == (0, 1)
    assert opened.campaign.seeds == (0, 1, 2, 3, 4)
