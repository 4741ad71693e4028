"""`knockout search`: asks for points as slots come free, lets a worker train them, and tells how they did."""

from dataclasses import dataclass, field
from functools import partial

from msgspec import structs

from orchestrator.campaign.captures import refuse_shared_bursts
from orchestrator.errors import DataError
from orchestrator.launch.loop import Observer, Pacer
from orchestrator.launch.worker import Worker, build_worker
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import Store, open_store
from orchestrator.runs.paths import require_place
from orchestrator.runs.states import RunState
from orchestrator.search.open import Search, SearchOptions
from orchestrator.search.results import Searched
from orchestrator.search.trials import Trials, open_trials, runs_of
from orchestrator.task.ask import describe_jobs

SETTLE_SECONDS = 0.3
"""How often a search looks whether trials have ended."""
INTERRUPTED = "runs of this search were interrupted; `knockout search` again goes on with them"
TAKE_OVER_SECONDS = 15.0
"""How often it looks for trials whose search is gone."""


def search(asked: Search, options: SearchOptions, observer: Observer) -> Searched:
    """Visit points until there are as many as wanted, or somebody asks to stop.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    require_place(asked.selection.paths.reports)
    store = open_store(asked.selection.paths)
    try:
        trials = open_trials(asked, store, options)
        require_trainable(asked)
        reconcile(store, asked.selection.paths, end_jobs=False)
        searcher = Searcher(trials, store, options)
        is_complete = searcher.go_on(observer)
        found = trials.read(is_complete=is_complete, problems=tuple(searcher.problems))
        return structs.replace(found, num_left=max(0, searcher.target - trials.num_visited()))
    finally:
        store.close()


def look(asked: Search, options: SearchOptions) -> Searched:
    """Read what a search has found so far; nothing is trained.

    Raises:
        KnockoutError: something is refused.
    """
    store = open_store(asked.selection.paths)
    try:
        return open_trials(asked, store, options).read()
    finally:
        store.close()


def require_trainable(asked: Search) -> None:
    """Ask `model` about the stack before anything starts.

    Raises:
        DataError: it cannot be trained on this machine or on these captures.
    """
    if asked.stack.code:
        return
    problem = describe_jobs([asked.stack.config], asked.selection.paths.root, with_data=True)[0].problem
    if problem is not None:
        raise DataError(f"{asked.stack.id}: {problem}")
    refuse_shared_bursts([asked.stack.config.data], asked.selection.paths)


@dataclass
class Searcher:
    """Asks as long as points are wanted, and lets a worker train what comes of it."""

    trials: Trials
    store: Store
    options: SearchOptions
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        visited, more = self.trials.num_visited(), self.options.trials
        self.target = self.trials.asked.spec.trials if more is None else visited + more
        self._most_unvisited = more or self.trials.asked.spec.trials
        self._settles, self._takes_over = Pacer(SETTLE_SECONDS), Pacer(TAKE_OVER_SECONDS)
        self._num_failed_before = self.trials.num_unvisited()
        self._stopped: set[str] = set()
        """Runs of trials that were given up."""

    def go_on(self, observer: Observer) -> bool:
        """Search until the target is reached; return whether it was (a request to stop returns False)."""
        paths = self.trials.runs.paths
        worker = build_worker(self.store, paths, self.options.slots, ids=())
        worker.is_time_up = lambda: self._turn(worker)
        self.trials.stop_run = partial(self._stop_run, worker)
        with self.trials.held():
            self.trials.enqueue_points()
        self._turn(worker)
        is_complete = not worker.stays or worker.drain(observer)
        with self.trials.held():
            self.trials.settle()
        self.problems += worker.problems
        if is_complete and self.trials.own():
            self._note(INTERRUPTED)
        return is_complete

    def _turn(self, worker: Worker) -> bool:
        """Tell what has ended and ask for as much; called by the worker at every turn, and never ends its time."""
        if self._settles.is_due():
            with self.trials.held():
                if self._takes_over.is_due():
                    self.trials.take_over()
                self.trials.prune()
                self.trials.settle()
                # What is there already is told at once, so that it takes no slot.
                while not worker.is_stopping and self._wants_more(len(worker.slots)):
                    self.trials.ask()
                    self.trials.settle()
            own = self.trials.own()
            worker.ids = tuple(run for trial in own for run in runs_of(trial))
            # What was interrupted waits for nobody: this search could only wait with it for ever.
            worker.stays = any(row.state is not RunState.INTERRUPTED for row in self.store.runs(worker.ids))
        return False

    def _stop_run(self, worker: Worker, run: str) -> None:
        """Ask a job to stop, once: who is asked twice stops at once and loses its epoch."""
        if run not in self._stopped and worker.stop_run(run):
            self._stopped.add(run)

    def _wants_more(self, num_slots: int) -> bool:
        seeds = len(self.trials.asked.seeds)
        if len(self.trials.own()) * seeds >= num_slots:
            return False
        if self.trials.num_unvisited() - self._num_failed_before >= self._most_unvisited:
            self._note("as many trials failed or were too slow as points are wanted; the search ends here")
            return False
        if self.trials.num_visited() + len(self.trials.under_way()) >= self.target:
            return False
        return not self.trials.why_exhausted()

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
