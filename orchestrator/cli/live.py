"""The runs under way: a table refreshed in place on a terminal, lines elsewhere."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import mean

from rich.live import Live
from rich.table import Table

from orchestrator.api.control import QueuedRun, RunState
from orchestrator.api.work import LiveRun
from orchestrator.cli.output import say
from orchestrator.cli.streams import showing_progress
from orchestrator.cli.terminal import OUT, cell, show, styled
from orchestrator.wording import one_line

NUM_SHOWN = 5
"""Most runs in the live table that have ended, and most that wait."""


NEW_LINE = "\n"


def is_table() -> bool:
    """Whether the output is a terminal that can be drawn on."""
    return OUT.is_terminal and not OUT.is_dumb_terminal


class LiveTable:
    """The runs under way, refreshed in place on a terminal, as lines elsewhere."""

    def __init__(self) -> None:
        self._live = Live(console=OUT, refresh_per_second=4, transient=True)
        self._ends = ExitStack()
        self.shown_problems: set[str] = set()
        """Problems that were printed when they arose."""
        self._shown_ends: set[tuple[str, str]] = set()

    def __enter__(self) -> "LiveTable":
        self._ends.enter_context(showing_progress())
        self._ends.callback(self._live.stop)
        if is_table():
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.close()

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Show the rows of the queue and the runs under way."""
        if is_table():
            self._live.update(self._table(rows, live))
        for row in rows:
            if row.state.is_final and (row.id, row.state) not in self._shown_ends:
                self._shown_ends.add((row.id, row.state))
                if not is_table():
                    show(f"{row.id}: {row.state.value}; {one_line(row.reason.partition(NEW_LINE)[0])}")

    def tell(self, problem: str) -> None:
        """Print at once, and once, what keeps runs from being trained."""
        if problem not in self.shown_problems:
            self.shown_problems.add(problem)
            show(problem)

    def _table(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> Table:
        ended = [row for row in rows if row.state.is_final]
        waiting = [row for row in rows if row.state is RunState.QUEUED]
        title = f"{len(ended)} of {len(rows)} runs ended, {len(waiting)} waiting{_about(seconds_left(rows, live))}"
        table = Table(title=title, title_justify="left")
        # A script tells steps; nobody knows how many it will tell.
        unit = "step" if live and all(run.num_epochs is None for run in live) else "epoch"
        for heading in ("experiment", "seed", unit, "val loss", f"s/{unit}", "state", "left"):
            table.add_column(heading, justify="right" if heading not in ("experiment", "state") else "left")
        followed = {run.id: run for run in live}
        # A terminal may have 24 lines: show the last runs that ended, those under way, and the next that wait.
        for row in (*ended[-NUM_SHOWN:], *(row for row in rows if row.id in followed), *waiting[:NUM_SHOWN]):
            cells = describe_live(followed[row.id]) if row.id in followed else ["", "", ""]
            remaining = _about(_run_seconds_left(followed[row.id])) if row.id in followed else ""
            table.add_row(
                cell(row.experiment), str(row.seed), *cells, styled(row.state.value), remaining.removeprefix(", ")
            )
        return table


def describe_live(live: LiveRun) -> list[str]:
    """Return three cells of a run under way: how far it is, its loss, and the seconds of its last epoch or step."""
    if not live.epochs:
        return ["" if live.num_epochs is None else f"0{_of(live)}", "", ""]
    last = live.epochs[-1]
    step = last.epoch if last.step is None else last.step
    return [f"{step:.15g}{_of(live)}", _say_loss(last.told), f"{last.seconds:.2f}"]


def _of(live: LiveRun) -> str:
    return "" if live.num_epochs is None else f"/{live.num_epochs}"


def _say_loss(told: Mapping[str, float | None]) -> str:
    name = next((name for name in ("val_loss", "loss", "train_loss") if name in told), None)
    if name is None:
        return ""
    loss = told[name]
    return "not finite" if loss is None else f"{loss:.3f}"


def _run_seconds_left(live: LiveRun) -> float | None:
    if not live.epochs or live.num_epochs is None:
        return None
    return (live.num_epochs - len(live.epochs)) * live.epochs[-1].seconds


def seconds_left(rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> float | None:
    """Estimate the seconds until the last run ends, from the epochs under way; None before the first one."""
    known = [seconds for run in live if (seconds := _run_seconds_left(run)) is not None]
    if not known:
        return None
    whole_run = mean(run.epochs[-1].seconds * run.num_epochs for run in live if run.epochs and run.num_epochs)
    waiting = sum(row.state is RunState.QUEUED for row in rows) * whole_run
    return (sum(known) + waiting) / max(1, len(live))


def _about(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", about {minutes}:{rest:02d} left"


def print_failures(rows: Sequence[QueuedRun]) -> int:
    """Print why runs failed; return the exit status."""
    failed = [row for row in rows if row.state is RunState.FAILED]
    for row in failed:
        say([f"{row.id} failed ({row.failure}): {row.reason}"])
    if failed:
        say(["`knockout retry --failed` lets failed runs wait again, `knockout run --retry` trains them"])
    return 1 if failed else 0
