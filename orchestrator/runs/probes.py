"""`probes.jsonl`: the times of a run and its reference, measured in turns, and the ruling.

A run that looks too slow is paused. A probe then times its training and its reference's in turns on the same slot, so
that both meet the same load. Each probe is a line of this file, written by the orchestrator.
"""

import contextlib
from collections.abc import Sequence
from statistics import median

import msgspec
from msgspec import Struct

from orchestrator.files import write_atomically
from orchestrator.runs.folder import EpochRecord, RunFolder

TURNS = 13
"""Most pairs of turns in a probe."""


def three_digits(seconds: float) -> str:
    """Write seconds with at least three digits and no exponent."""
    return f"{seconds:.0f}" if seconds >= 1000 else f"{seconds:.3g}"


class Measurement(Struct, frozen=True, kw_only=True):
    """The times of two trainings in turns; entry i of both is one pair of turns."""

    arm_seconds: tuple[float, ...] = ()
    """Seconds that an epoch of the run would take, one number a turn."""
    reference_seconds: tuple[float, ...] = ()
    """The same for its reference, which was timed directly after."""
    share: int = 1
    """Divisor of both batch sizes; above 1 if the memory was too small beside the paused run."""
    problem: str | None = None
    """Why there are fewer turns than wanted; None if there are enough."""

    @property
    def ratios(self) -> list[float]:
        """Seconds of the run divided by seconds of the reference, for each pair of turns."""
        # Both turns of a pair meet the same load, so the load is nearly the same factor in both and cancels.
        pairs = zip(self.arm_seconds, self.reference_seconds, strict=True)
        return [arm / reference for arm, reference in pairs]

    @property
    def typical_seconds(self) -> tuple[float, float]:
        """Median seconds of an epoch of the run and of its reference, rounded as they are printed."""
        arm, reference = (float(three_digits(median(of))) for of in (self.arm_seconds, self.reference_seconds))
        return arm, reference

    @property
    def ratio(self) -> float:
        """Median seconds of the run divided by those of the reference, both rounded as they are printed."""
        # A reader who divides the two printed numbers gets the printed ratio.
        arm, reference = self.typical_seconds
        return arm / reference


class Probe(Struct, frozen=True, kw_only=True):
    """A line of `probes.jsonl`."""

    epoch: int
    """Finished epochs when the job was paused."""
    paused_seconds: float
    """Length of the pause; the seconds of the next epoch include it."""
    measurement: Measurement
    is_slow: bool
    """Whether the run was stopped as too slow."""
    said: str
    """The sentence about the ruling."""


def read_probes(folder: RunFolder) -> list[Probe]:
    """Read a run's probes, oldest first; lines that cannot be read are skipped, since no run depends on them."""
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
    """Add a line by writing the whole file anew, so that no reader sees half a line."""
    lines = [msgspec.json.encode(each) + b"\n" for each in (*read_probes(folder), probe)]
    write_atomically(folder.probes, b"".join(lines))


def without_pauses(epochs: Sequence[EpochRecord], probes: Sequence[Probe]) -> list[EpochRecord]:
    """Return the epochs with the pauses for probes subtracted from their seconds."""
    paused: dict[int, float] = {}
    for probe in probes:
        paused[probe.epoch + 1] = paused.get(probe.epoch + 1, 0.0) + probe.paused_seconds
    # An epoch that was trained again after a crash holds no pause, and may be shorter than the recorded one.
    return [
        msgspec.structs.replace(record, seconds=record.seconds - paused[record.epoch])
        if 0.0 < paused.get(record.epoch, 0.0) < record.seconds
        else record
        for record in epochs
    ]
