"""Times a suspect run in turns with its reference, before anybody calls it too slow."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import Struct, structs

from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import KnockoutError, RunError
from orchestrator.launch.commands import fill_own, read_run_config, task_of
from orchestrator.launch.forked import AnyJob
from orchestrator.launch.guards import Pace, Ruling, describe_release, fastest_pace, is_settled, rule_on_probe
from orchestrator.launch.paired_probe import PairedProbe, Side
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.order import GuardSpec, Order, read_order
from orchestrator.runs.paths import Paths
from orchestrator.runs.probes import Measurement, Probe


class Timing(Protocol):
    """A probe under way, such as `PairedProbe`."""

    @property
    def is_over(self) -> bool:
        """Whether the last measurement is final."""

    def measurement(self) -> Measurement:
        """Return what was measured so far."""

    def close(self) -> None:
        """End the probe."""


StartProbe = Callable[[AnyJob], Timing]
"""Starts a probe of a run against its reference, on the slot of the run's paused job."""


class CannotProbe:
    """Stands for a probe that could not start."""

    is_over = True

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def measurement(self) -> Measurement:
        """Return no turns, and the reason."""
        return Measurement(problem=self.problem)

    def close(self) -> None:
        """Do nothing: no process was started."""


@dataclass
class QuietProbe:
    """A probe while the jobs of the other slots of its GPU are paused.

    Jobs on one GPU take turns in its time slices. A side that leaves the GPU idle now and then loses less by that than
    a side that never does. So a neighbour would change the ratio of the two.
    """

    timing: Timing
    beside: Sequence[AnyJob]

    @property
    def is_over(self) -> bool:
        """Whether the last measurement is final."""
        return self.timing.is_over

    def measurement(self) -> Measurement:
        """Return what was measured so far."""
        # The end of processes that ran out of memory has let the jobs run on.
        for job in self.beside:
            job.pause()
        return self.timing.measurement()

    def close(self) -> None:
        """End the probe, and let the jobs run on."""
        self.timing.close()
        for job in self.beside:
            job.resume()


@dataclass
class Suspicion:
    """A run that looks too slow, while it is timed. Its job is paused until `settle` or `drop` lets it run on."""

    ruling: Ruling
    job: AnyJob
    timing: Timing
    clock: Callable[[], float]
    started: float

    @classmethod
    def raise_on(
        cls, ruling: Ruling, job: AnyJob, start: StartProbe, clock: Callable[[], float] = time.monotonic
    ) -> "Suspicion":
        """Pause a job and start to time it."""
        started = clock()
        job.pause()
        try:
            # Paused first: a job that computes beside the probe would slow both sides of it.
            timing = start(job)
        except (KnockoutError, OSError, ValueError) as error:
            timing = CannotProbe(str(error))
        return cls(ruling, job, timing, clock, started)

    def settle(self, guards: GuardSpec, count_epochs: Callable[[], int]) -> tuple[Ruling | None, Probe] | None:
        """Return the ruling, None if the run goes on, with a record of the probe; None while the probe lasts.

        Args:
            guards: the campaign's limits.
            count_epochs: counts the epochs that the paused job has finished.
        """
        measurement = self.timing.measurement()
        if not self.timing.is_over and not is_settled(guards, measurement):
            # The end of processes that ran out of memory has let the job run on.
            self.job.pause()
            return None
        self.timing.close()
        ruling = rule_on_probe(self.ruling, guards, measurement)
        said = ruling.reason if ruling is not None else describe_release(guards, measurement)
        probe = Probe(
            epoch=count_epochs(),
            paused_seconds=self.clock() - self.started,
            measurement=measurement,
            is_slow=ruling is not None,
            said=said,
        )
        if ruling is None:
            self.job.resume()
        return ruling, probe

    def drop(self) -> None:
        """End the probe without a ruling, and let the job run on."""
        self.timing.close()
        self.job.resume()


@dataclass(frozen=True)
class References:
    """Finds the runs that others are compared with for their speed."""

    paths: Paths
    checkouts: Checkouts

    def pace_of(self, order: Order) -> Callable[[], Pace | None]:
        """Return a function that measures a run's first reference with enough epochs; it returns None without one."""
        return lambda: next((pace for _, pace in self._measured(order)), None)

    def _measured(self, order: Order) -> Iterator[tuple[RunFolder, Pace]]:
        """Yield the references with enough epochs, in their order, and the pace of each."""
        for run in order.references:
            folder = self.paths.run(run)
            # The worker that trains an unreadable reference notes that.
            with suppress(OSError, ValueError, RunError):
                if task_of(order).probe is None and not self._is_same_device(order, folder):
                    continue
                if (pace := fastest_pace(folder.read_epochs(), order.guards)) is not None:
                    yield folder, pace

    def probe_of(self, order: Order, beside: Sequence[AnyJob] = ()) -> StartProbe | None:
        """Return a function that starts a probe of a run; None for a run without a reference.

        Args:
            order: the run's order.
            beside: the jobs of other slots on its GPU, which are paused meanwhile.
        """

        def start(job: AnyJob) -> Timing:
            if job.pid is None:
                raise ProcessLookupError("the job has no number yet")
            first = next((folder for folder, _ in self._measured(order)), self.paths.run(order.references[0]))
            sides = (self._side(self.paths.run(order.run)), self._side(first))
            groups = [pid for each in (*beside, job) if (pid := each.pid) is not None]
            for other in beside:
                other.pause()
            try:
                return QuietProbe(PairedProbe(*sides, job.slot, groups), beside)
            except OSError:
                for other in beside:
                    other.resume()
                raise

        return start if order.references and task_of(order).probe is not None else None

    def _is_same_device(self, order: Order, reference: RunFolder) -> bool:
        """Whether a reference was trained where this run is: nobody times the two in turns."""
        ours, theirs = (_read_device(folder) for folder in (self.paths.run(order.run), reference))
        return ours == theirs

    def _side(self, folder: RunFolder) -> Side:
        experiment, order = read_run_config(folder).experiment, read_order(folder)
        command = fill_own(task_of(order).probe or (), structs.replace(order, root=str(self.paths.root)))
        return Side(folder.config, self.checkouts.open(experiment, order.code), command)


class _Origin(Struct, frozen=True):
    """What is read from `provenance.json`."""

    host: str
    environment: dict[str, str | None]


def _read_device(folder: RunFolder) -> tuple[str, str | None]:
    """Return the machine of a run, and its GPU."""
    origin = msgspec.json.decode(folder.provenance.read_bytes(), type=_Origin)
    return origin.host, origin.environment.get("gpu")
