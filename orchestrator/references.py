"""What a run is timed against: the epochs of its reference, and the reference itself, in turn with the run."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from model.run_folder import RunFolder
from orchestrator.code.checkouts import Checkouts
from orchestrator.guards import Pace, fastest_pace
from orchestrator.launchers.forked import AnyJob
from orchestrator.launchers.probing import PairedProbe, Side
from orchestrator.probing import StartProbe, Timing
from orchestrator.runs.order import Order, read_order
from orchestrator.runs.paths import Layout


@dataclass(frozen=True)
class References:
    """The runs that measure how fast others may be expected to be."""

    layout: Layout
    checkouts: Checkouts

    def pace_of(self, order: Order) -> Callable[[], Pace | None]:
        """Return what measures the first reference of a run that has come far enough."""
        return lambda: next((pace for _, pace in self._measured(order)), None)

    def _measured(self, order: Order) -> Iterator[tuple[RunFolder, Pace]]:
        """Yield the references that have come far enough, in their order, with the pace of each."""
        for run in order.references:
            folder = self.layout.run(run)
            # One that cannot be read is told of where it is trained.
            with suppress(OSError, ValueError):
                if (pace := fastest_pace(folder.read_epochs(), order.guards)) is not None:
                    yield folder, pace

    def probe_of(self, order: Order) -> StartProbe | None:
        """Return what times a run in turn with its reference; None for one that has no reference."""

        def start(job: AnyJob) -> Timing:
            if job.pid is None:
                raise ProcessLookupError("the job has no number yet")
            first = next((folder for folder, _ in self._measured(order)), self.layout.run(order.references[0]))
            sides = (self._side(self.layout.run(order.run)), self._side(first))
            return PairedProbe(*sides, job.slot, job.pid)

        return start if order.references else None

    def _side(self, folder: RunFolder) -> Side:
        experiment = folder.read_config().experiment
        return Side(folder.config, self.checkouts.open(experiment, read_order(folder).code))
