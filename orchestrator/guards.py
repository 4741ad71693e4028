"""Rules over the finished epochs of a run. Pure: no clock, no process, no file."""

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from model.run_folder import EpochRecord
from orchestrator.spec import GuardSpec
from orchestrator.states import Failure, RunState


class Ruling(Struct, frozen=True, kw_only=True):
    """Stop the run in this state, for this reason; the sentence is what the report prints."""

    state: RunState
    reason: str
    failure: Failure | None = None


class Pace(Struct, frozen=True, kw_only=True):
    """How long an epoch takes: by the clock, and of the processor's time where that says something."""

    seconds: float
    cpu_seconds: float | None


def rule(epochs: Sequence[EpochRecord], spec: GuardSpec, reference: Pace | None) -> Ruling | None:
    """Rule on the epochs finished so far; None lets the run go on."""
    return check_finite(epochs) or check_speed(epochs, spec) or check_relative_speed(epochs, spec, reference)


def check_finite(epochs: Sequence[EpochRecord]) -> Ruling | None:
    """Stop a run whose last epoch has no finite training or validation loss."""
    if not epochs or (epochs[-1].train_loss is not None and epochs[-1].val_loss is not None):
        return None
    which = "training" if epochs[-1].train_loss is None else "validation"
    return Ruling(
        state=RunState.FAILED,
        failure=Failure.NONFINITE,
        reason=f"the {which} loss of epoch {epochs[-1].epoch} is not a finite number",
    )


def check_speed(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose newest epochs, `slow_epochs` in a row, all took longer than `epoch_seconds`.

    Warm-up epochs never count: they hold compilation and cold caches.
    """
    newest = [record.seconds for record in _newest_counted(epochs, spec)]
    if not newest or spec.epoch_seconds is None or min(newest) <= spec.epoch_seconds:
        return None
    what = f"an epoch takes {median(newest):.2f} s, the limit is {spec.epoch_seconds:.2f} s"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}; {_how_many(spec)}")


def check_relative_speed(epochs: Sequence[EpochRecord], spec: GuardSpec, reference: Pace | None) -> Ruling | None:
    """Stop a run whose newest epochs, `slow_epochs` in a row, all took longer than so many times the reference's.

    On a CPU the processor's own time must be longer by as much: an epoch that only waited for a shared processor is not
    slow. The guard waits until the reference has been measured.
    """
    newest = _newest_counted(epochs, spec)
    if not newest or spec.relative_to_reference is None or reference is None:
        return None
    slowdowns = [_slowdown(record, reference) for record in newest]
    if min(slowdowns) <= spec.relative_to_reference:
        return None
    what = (
        f"an epoch takes {median(record.seconds for record in newest):.2f} s, {median(slowdowns):.1f} x the "
        f"reference's {reference.seconds:.2f} s; the limit is {spec.relative_to_reference:g} x"
    )
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}; {_how_many(spec)}")


def _slowdown(record: EpochRecord, reference: Pace) -> float:
    ratios = [record.seconds / reference.seconds]
    if record.cpu_seconds is not None and reference.cpu_seconds:
        ratios.append(record.cpu_seconds / reference.cpu_seconds)
    return min(ratios)


def _newest_counted(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Sequence[EpochRecord]:
    """Return the last `slow_epochs` after warm-up, or nothing while there are fewer."""
    counted = epochs[spec.warmup_epochs :]
    return counted[-spec.slow_epochs :] if len(counted) >= spec.slow_epochs else []


def _how_many(spec: GuardSpec) -> str:
    return f"all of the last {spec.slow_epochs} epochs were slower, after {spec.warmup_epochs} of warm-up"


def typical_pace(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Pace | None:
    """Return the median epoch of a reference after warm-up; None until `slow_epochs` of them are finished."""
    counted = epochs[spec.warmup_epochs :]
    if len(counted) < spec.slow_epochs:
        return None
    cpu_seconds = [record.cpu_seconds for record in counted if record.cpu_seconds is not None]
    return Pace(
        seconds=median(record.seconds for record in counted),
        cpu_seconds=median(cpu_seconds) if len(cpu_seconds) == len(counted) else None,
    )
