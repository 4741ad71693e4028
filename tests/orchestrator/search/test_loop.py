"""How long a search goes on, and what it makes up for."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orchestrator.errors import DataError
from orchestrator.launch.loop import Feed
from orchestrator.launch.probing import References
from orchestrator.launch.slots import Slot
from orchestrator.launch.start import Jobs
from orchestrator.launch.watcher import LiveRun
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.states import RunState
from orchestrator.search.loop import SearchFeed, look, require_trainable, visit_points
from orchestrator.search.notes import add_note
from orchestrator.search.open import SearchOptions
from orchestrator.search.results import Searched
from orchestrator.task.ask import Answer, Problem

Lab = Any
"""That of conftest.py."""
SPACE = """\
      loss.gamma: {kind: float, low: 0.01, high: 5.0}
      loss.label_smoothing: {kind: float, low: 0.0, high: 0.2}
"""
POINTS = [f"      - at: {{loss.gamma: {gamma}, loss.label_smoothing: 0.0}}\n" for gamma in (2.0, 3.0)]


def test_a_stack_that_cannot_be_trained_is_told_before_anything_starts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answer(problem=Problem(message="it does not fit"))
    monkeypatch.setattr("orchestrator.campaign.captures.check_configs", lambda *_, **options: [answer])
    with pytest.raises(DataError, match="E5: it does not fit"):
        require_trainable(lab.opened)


class InstantWorker:
    """A worker whose runs end at once, as a test says."""

    def __init__(self, lab: Lab, ends: Callable[[str], dict[str, Any]], feed: Feed) -> None:
        self.lab, self.ends, self.feed = lab, ends, feed
        self.jobs, self.problems = Jobs([Slot("cpu0", {})], References(lab.study.paths, lab)), []

    def drain(self, observer: object) -> bool:
        while self.feed.is_unfinished():
            for run in self.feed.ids() or ():
                if self.lab.state_of(run) is RunState.QUEUED:
                    self.finish(run, self.ends(run))
            self.feed.refill(self.jobs)
        return True

    def finish(self, run: str, ending: dict[str, Any]) -> None:
        if ending.get("state") != "interrupted":
            self.lab.end(run, **ending)
            return
        claimed = self.lab.store.claim(Process.own(), [run])
        assert self.lab.store.end(claimed, RunState.INTERRUPTED, "it cannot be started")


class Unseen:
    """An observer that looks away."""

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        pass

    def tell(self, problem: str) -> None:
        pass


@pytest.fixture
def go_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SearchFeed, Searched]]:
    monkeypatch.setattr("orchestrator.search.loop.SETTLE_SECONDS", 0.0)

    def going(ends: Callable[[str], dict[str, Any]], trials: int | None = None) -> tuple[SearchFeed, Searched]:
        monkeypatch.setattr("orchestrator.search.loop.build_worker", lambda *given: InstantWorker(lab, ends, given[3]))
        feed = SearchFeed(lab.open(), lab.store, SearchOptions(trials=trials))
        assert visit_points(feed, Unseen())
        return feed, look(lab.opened, SearchOptions())

    return going


def test_a_search_ends_at_the_number_of_points_and_goes_on_for_more(go_on: Callable[..., Any]) -> None:
    assert len(go_on(lambda run: {})[1].scored) == 6
    assert len(go_on(lambda run: {})[1].scored) == 6
    assert len(go_on(lambda run: {}, trials=2)[1].scored) == 8


def test_a_space_without_more_points_ends_the_search(lab: Lab, go_on: Callable[..., Any]) -> None:
    lab.study.edit(SPACE, "      loss.gamma: {kind: categorical, choices: [2.0, 3.0]}\n")
    for line in POINTS:
        lab.study.edit(line, "")
    lab.study.edit("    enqueue:\n", "")
    for _ in range(2):
        feed, found = go_on(lambda run: {})
        assert (found.num_visited, feed.problems) == (2, [])
        assert found.exhausted == "its space has 2 points, and all were asked for"
    assert go_on(lambda run: {}, trials=3)[1].num_visited == 2


def test_what_was_too_slow_is_made_up_for(go_on: Callable[..., Any]) -> None:
    _, found = go_on(lambda run: {"state": "too_slow"} if "t001" in run else {})
    assert len(found.scored) == 6
    assert [trial.state for trial in found.trials].count("too_slow") == 1


def test_a_search_in_which_everything_fails_ends_and_says_so(go_on: Callable[..., Any]) -> None:
    feed, found = go_on(lambda run: {"state": "failed", "failure": "crashed"})
    assert feed.problems == ["as many trials failed or were too slow as points are wanted; the search ends here"]
    assert found.scored == []


def test_the_importance_of_knobs_is_told_once_there_are_points(go_on: Callable[..., Any]) -> None:
    numbers = iter(range(100))

    def ends(run: str) -> dict[str, Any]:
        return {"accuracy": next(numbers) / 100}

    assert go_on(ends, trials=19)[1].importance == {}
    found = go_on(ends, trials=1)[1]
    assert set(found.importance) == {"loss.gamma", "loss.label_smoothing"}
    assert sum(found.importance.values()) == pytest.approx(1.0)


def test_a_run_that_cannot_be_started_ends_the_search_and_the_next_one_goes_on_with_it(
    lab: Lab, go_on: Callable[..., Any]
) -> None:
    feed, found = go_on(lambda run: {"state": "interrupted"})
    assert feed.problems == ["runs of this search were interrupted; `knockout search` again goes on with them"]
    assert [trial.state for trial in found.trials] == ["interrupted", "waiting"]
    trials = lab.open()
    add_note(trials.kept.trial(trials.own()[0]), owner="here/1/long ago")
    assert len(go_on(lambda run: {})[1].scored) == 6


def test_a_sampler_that_models_noise_goes_on_past_its_first_points(lab: Lab, go_on: Callable[..., Any]) -> None:
    lab.study.edit("trials: 6", "trials: 7\n    sampler: gp")
    numbers = iter(range(100))
    _, found = go_on(
        lambda run: {"state": "too_slow"} if "t002" in run else {"accuracy": 0.5 + (next(numbers) % 5) / 10}
    )
    assert len(found.scored) == 7
