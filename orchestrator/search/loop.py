"""`knockout search`: asks Optuna for points as slots come free. A worker trains them, and Optuna gets their scores."""

from dataclasses import dataclass, field

from msgspec import structs

from orchestrator.campaign.captures import missing_captures, refuse_untrainable
from orchestrator.campaign.selection import GPU, profiles_without_gpu
from orchestrator.errors import DataError
from orchestrator.launch.contention import refuse_crowded
from orchestrator.launch.loop import Every, Observer
from orchestrator.launch.slots import find_gpu_problem
from orchestrator.launch.start import Jobs
from orchestrator.launch.worker import build_worker
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import Store, open_store
from orchestrator.runs.paths import require_place
from orchestrator.runs.states import OPEN, RunState
from orchestrator.search.notes import run_ids
from orchestrator.search.open import Search, SearchOptions
from orchestrator.search.results import Searched
from orchestrator.search.trials import Trials, open_trials

SETTLE_SECONDS = 0.3
"""Seconds between two looks whether trials have ended."""
INTERRUPTED = "runs of this search were interrupted; `knockout search` again goes on with them"
TAKE_OVER_SECONDS = 15.0
"""Seconds between two looks for trials whose search is gone."""


def search(opened: Search, options: SearchOptions, observer: Observer) -> Searched:
    """Visit points until there are as many as wanted, or somebody asks to stop.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    require_place(opened.selection.paths.reports)
    _refuse_without_means(opened, options)
    store = open_store(opened.selection.paths)
    try:
        trials = open_trials(opened, store, options)
        require_trainable(opened)
        reconcile(store, opened.selection.paths, end_jobs=False)
        feed = SearchFeed(trials, store, options)
        is_complete = visit_points(feed, observer)
        found = trials.read(is_complete=is_complete, problems=tuple(feed.problems))
        num_left = max(0, feed.target - trials.num_visited())
        return structs.replace(found, pairs=trials.runs.pairs(found), num_left=num_left)
    finally:
        store.close()


def _refuse_without_means(opened: Search, options: SearchOptions) -> None:
    """Refuse more slots than the guards allow, and a stack that needs a GPU that is not there."""
    campaign, selection = opened.selection.campaign, opened.selection
    refuse_crowded(options.slots, [campaign.guards])
    # Asked before captures are made: that may take a minute.
    if GPU in opened.stack.about.needs and missing_captures(selection):
        problem = find_gpu_problem(campaign.profile, profiles_without_gpu(selection))
        if problem is not None:
            raise DataError(problem)


def look(opened: Search, options: SearchOptions) -> Searched:
    """Read what a search has found so far. Nothing is trained.

    Raises:
        KnockoutError: something is refused.
    """
    store = open_store(opened.selection.paths)
    try:
        return open_trials(opened, store, options).read()
    finally:
        store.close()


def require_trainable(opened: Search) -> None:
    """Ask the campaign's code about the stack before anything starts. A stack with code of its own passes.

    Raises:
        DataError: the stack cannot be trained on this machine or on these captures.
    """
    if opened.stack.code:
        return
    refuse_untrainable(opened.selection, [opened.stack])


@dataclass
class SearchFeed:
    """The feed of a search: the runs of its trials under way. Reports finished trials to Optuna and starts new ones."""

    trials: Trials
    store: Store
    options: SearchOptions
    problems: list[str] = field(default_factory=list)
    """Sentences about what keeps the search from its points."""

    def __post_init__(self) -> None:
        visited, more = self.trials.num_visited(), self.options.trials
        self.target = self.trials.search.spec.trials if more is None else visited + more
        """Points to visit, those of earlier commands among them."""
        self._most_unvisited = more or self.trials.search.spec.trials
        self._settles, self._takes_over = Every(SETTLE_SECONDS), Every(TAKE_OVER_SECONDS)
        # Failures of earlier commands are no reason to end this one.
        self._num_failed_before = self.trials.num_unvisited()
        self._ids: tuple[str, ...] = ()
        self._is_under_way = False
        self._stopped: set[str] = set()
        """Runs of pruned trials whose jobs were asked to stop."""

    def ids(self) -> tuple[str, ...]:
        """Return the runs of this search's trials under way."""
        return self._ids

    def is_unfinished(self) -> bool:
        """Whether a run of a trial waits or trains, here or elsewhere."""
        return self._is_under_way or bool(self.store.runs(self._ids, states=OPEN))

    def refill(self, jobs: Jobs) -> None:
        """Report finished trials to Optuna, and start new ones for the free slots."""
        if not self._settles.is_due():
            return
        with self.trials.held():
            if self._takes_over.is_due():
                self.trials.take_over()
            self.trials.prune()
            self._stop_unwanted(jobs)
            self.trials.settle()
            # A point whose runs are done already is settled at once, so that it takes no slot.
            while not jobs.is_stopping and self._wants_more(len(jobs.slots)):
                self.trials.ask()
                self.trials.settle()
        self._ids = tuple(run for trial in self.trials.own() for run in run_ids(trial))
        # An interrupted run goes on with the next command. A search that waited for it would wait for ever.
        self._is_under_way = any(row.state is not RunState.INTERRUPTED for row in self.store.runs(self._ids))

    def _stop_unwanted(self, jobs: Jobs) -> None:
        """Ask the jobs of pruned trials to stop."""
        for run in self.trials.unwanted_runs():
            # A job that is asked twice ends at once and loses its epoch.
            if run not in self._stopped and jobs.stop_run(run):
                self._stopped.add(run)

    def _wants_more(self, num_slots: int) -> bool:
        seeds = len(self.trials.search.seeds)
        if len(self.trials.own()) * seeds >= num_slots:
            return False
        # A space in which every point fails would keep a search busy for ever.
        if self.trials.num_unvisited() - self._num_failed_before >= self._most_unvisited:
            self.note("as many trials failed or were too slow as points are wanted; the search ends here")
            return False
        if self.trials.num_visited() + len(self.trials.under_way()) >= self.target:
            return False
        return not self.trials.why_exhausted()

    def note(self, problem: str) -> None:
        """Note a sentence once."""
        if problem not in self.problems:
            self.problems.append(problem)


def visit_points(feed: SearchFeed, observer: Observer) -> bool:
    """Let a worker train the feed's points; return whether the target is reached (a request to stop returns False)."""
    trials = feed.trials
    runs, slots = trials.runs, feed.options.slots
    worker = build_worker(feed.store, runs.paths, slots, feed, runs.selection.campaign.slots_per_gpu)
    with trials.held():
        trials.enqueue_points()
    # If every point has its score already, no worker starts: it would enter itself in the queue.
    feed.refill(worker.jobs)
    is_complete = not feed.is_unfinished() or worker.drain(observer)
    with trials.held():
        trials.settle()
    feed.problems += worker.problems
    if is_complete and trials.own():
        feed.note(INTERRUPTED)
    return is_complete
