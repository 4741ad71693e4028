"""Follows the probe of one run that looks too slow: pauses its job, looks at the turns, and says what came of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import KnockoutError
from orchestrator.guards import Ruling, describe_release, is_settled, rule_on_probe
from orchestrator.launchers.forked import AnyJob
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.probes import Measurement, Probe


class Timing(Protocol):
    """A probe under way, such as `PairedProbe`."""

    is_over: bool
    """Whether the last measurement is final."""

    def measurement(self) -> Measurement:
        """Return what was measured so far."""

    def close(self) -> None:
        """End it."""


StartProbe = Callable[[AnyJob], Timing]
"""Starts to time a run against its reference, on the slot of its job, which is paused."""


class CannotProbe:
    """The place of a probe that could not be started."""

    is_over = True

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def measurement(self) -> Measurement:
        """Return no turns, and why."""
        return Measurement(problem=self.problem)

    def close(self) -> None:
        """There is nothing to end."""


@dataclass
class Suspicion:
    """A run that looks too slow, while it is timed. Its job is paused from the start until `settle` or `drop`."""

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
            timing = start(job)
        except (KnockoutError, OSError, ValueError) as error:
            timing = CannotProbe(str(error))
        return cls(ruling, job, timing, clock, started)

    def settle(self, guards: GuardSpec, count_epochs: Callable[[], int]) -> tuple[Ruling | None, Probe] | None:
        """Return the ruling and the line about the probe once it has told enough; None while it goes on.

        Args:
            guards: the campaign's limits.
            count_epochs: counts the epochs that the paused job has finished.
        """
        measurement = self.timing.measurement()
        if not self.timing.is_over and not is_settled(guards, measurement):
            # A probe that starts anew with smaller batches has let the job go on.
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
        """End the probe without a word, and let the job go on."""
        self.timing.close()
        self.job.resume()
