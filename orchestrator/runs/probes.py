"""`probes.jsonl`: when a run and its reference were timed in turn, what that took, and what came of it.

A run that looks too slow is paused while a probe times its training and its reference's, in turns on the same slot.
Each probe is a line here, written by the orchestrator.
"""

import contextlib
from collections.abc import Sequence
from statistics import median

import msgspec
from msgspec import Struct

from model.train.run_folder import EpochRecord, RunFolder
from orchestrator.files import write_atomically

TURNS = 13
"""Pairs of turns that a probe takes at most."""


def three_digits(seconds: float) -> str:
    """Write seconds with at least three digits and no exponent."""
    return f"{seconds:.0f}" if seconds >= 1000 else f"{seconds:.3g}"


class Measurement(Struct, frozen=True, kw_only=True):
    """What two trainings came to that took turns; entries of both go together, one pair of turns each."""

    arm_seconds: tuple[float, ...] = ()
    """Seconds that an epoch of the run would take, from each of its turns."""
    reference_seconds: tuple[float, ...] = ()
    """The same of its reference, timed right after."""
    share: int = 1
    """The batches of both were divided by this, to fit beside what was in memory."""
    problem: str | None = None
    """Why there are no turns, or not as many as were wanted."""

    @property
    def ratios(self) -> list[float]:
        """Of each pair of turns, the run's seconds over the reference's."""
        pairs = zip(self.arm_seconds, self.reference_seconds, strict=True)
        return [arm / reference for arm, reference in pairs]

    @property
    def typical_seconds(self) -> tuple[float, float]:
        """Median seconds of an epoch, the run's and its reference's, as they are printed."""
        arm, reference = (float(three_digits(median(of))) for of in (self.arm_seconds, self.reference_seconds))
        return arm, reference

    @property
    def ratio(self) -> float:
        """How many times as long the run takes, worked out from the two numbers that are printed."""
        arm, reference = self.typical_seconds
        return arm / reference


class Probe(Struct, frozen=True, kw_only=True):
    """A line of `probes.jsonl`."""

    epoch: int
    """How many epochs were finished when the job was paused."""
    paused_seconds: float
    """How long it was paused: the next epoch's seconds hold these too."""
    measurement: Measurement
    is_slow: bool
    """Whether the run was ruled too slow."""
    said: str
    """The sentence about it."""


def read_probes(folder: RunFolder) -> list[Probe]:
    """Read a run's probes, oldest first; what cannot be read is left out, since a run can do without."""
    try:
        lines = folder.probes.read_bytes().splitlines()
    except OSError:
        return []
    probes = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            probes.append(msgspec.json.decode(line, type=Probe))
    return probes


def append_probe(folder: RunFolder, probe: Probe) -> None:
    """Add a line; the file is whole at every moment."""
    lines = [msgspec.json.encode(each) + b"\n" for each in (*read_probes(folder), probe)]
    write_atomically(folder.probes, b"".join(lines))


def without_pauses(epochs: Sequence[EpochRecord], probes: Sequence[Probe]) -> list[EpochRecord]:
    """Return the epochs without the seconds that they were paused for probes."""
    paused: dict[int, float] = {}
    for probe in probes:
        paused[probe.epoch + 1] = paused.get(probe.epoch + 1, 0.0) + probe.paused_seconds
    # An epoch that was trained again since was not paused: it may be shorter than that.
    return [
        msgspec.structs.replace(record, seconds=record.seconds - paused[record.epoch])
        if 0.0 < paused.get(record.epoch, 0.0) < record.seconds
        else record
        for record in epochs
    ]
