"""Rules over the finished epochs of a run. Pure: no clock, no process, no file."""

from collections.abc import Sequence
from statistics import median

import msgspec
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


def rule(
    epochs: Sequence[EpochRecord], spec: GuardSpec, reference: Pace | None, shared_by: str | None = None
) -> Ruling | None:
    """Rule on the epochs finished so far; None lets the run go on.

    Args:
        epochs: the finished epochs, oldest first.
        spec: the campaign's limits.
        reference: the pace of the reference, once it is measured.
        shared_by: what else the machine was busy with, in words, if it was. Then the guards of speed wait for twice as
            many slow epochs, and a ruling for slowness says it.
    """
    patient = msgspec.structs.replace(spec, slow_epochs=spec.slow_epochs * 2) if shared_by else spec
    failed = check_finite(epochs) or check_divergence(epochs, spec) or check_memory(epochs, spec)
    slow = (
        check_smoke(epochs, spec)
        or check_speed(epochs, patient)
        or check_relative_speed(epochs, patient, reference)
        or check_wall_time(epochs, spec)
    )
    if failed or slow is None or not shared_by:
        return failed or slow
    return msgspec.structs.replace(slow, reason=f"{slow.reason}; the machine was shared: {shared_by}")


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


def check_divergence(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose newest training losses, `divergence_epochs` in a row, are all far above the lowest so far.

    A loss that reaches 0 or falls below it has no multiple, and nothing is ruled from there on.
    """
    losses = [record.train_loss for record in epochs if record.train_loss is not None]
    newest = [record.train_loss for record in epochs[-spec.divergence_epochs :]]
    if spec.divergence_factor is None or len(newest) < spec.divergence_epochs or min(losses, default=0.0) <= 0:
        return None
    limit = spec.divergence_factor * min(losses)
    if any(loss is None or loss <= limit for loss in newest):
        return None
    what = f"the training loss diverged to {newest[-1]:.4g}: the lowest so far is {min(losses):.4g}"
    how = f"{spec.divergence_epochs} epochs in a row were above {spec.divergence_factor:g} x that"
    return Ruling(state=RunState.FAILED, failure=Failure.DIVERGED, reason=f"{what}, and {how}")


def check_memory(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run that has held more than `memory_bytes` in an epoch."""
    limit = spec.memory_bytes
    above = [record for record in epochs if limit is not None and record.peak_memory_bytes > limit]
    if not above or limit is None:
        return None
    what = f"epoch {above[0].epoch} held {_gigabytes(above[0].peak_memory_bytes)} of memory at its peak"
    return Ruling(
        state=RunState.FAILED, failure=Failure.OUT_OF_MEMORY, reason=f"{what}, the limit is {_gigabytes(limit)}"
    )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.3f} GB"


def check_smoke(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose smoke phase, its first `smoke_epochs` without warm-up, took too long by the median epoch.

    It rules on nothing before the phase is over, and nothing after the phase changes what it rules.
    """
    if spec.smoke_epoch_seconds is None or len(epochs) < spec.smoke_epochs:
        return None
    seconds = median(record.seconds for record in epochs[spec.warmup_epochs : spec.smoke_epochs])
    if seconds <= spec.smoke_epoch_seconds:
        return None
    what = f"the smoke phase of {spec.smoke_epochs} epochs took {seconds:.2f} s an epoch"
    how = f"the limit is {spec.smoke_epoch_seconds:.2f} s; the median after {spec.warmup_epochs} of warm-up"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}, {how}")


def check_wall_time(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose epochs, warm-up and all, took longer than `wall_seconds` together."""
    seconds = sum(record.seconds for record in epochs)
    if spec.wall_seconds is None or seconds <= spec.wall_seconds:
        return None
    what = f"the {len(epochs)} epochs so far took {seconds:.2f} s together"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}, the limit is {spec.wall_seconds:.2f} s")


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
