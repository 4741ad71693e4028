"""Rules over the finished epochs of a run. Pure: no clock, no process, no file.

A machine is fast in one minute and slow in the next. So epochs alone never show that a run is slower than its
reference: they only raise the suspicion. Then a probe trains both in turns, and `rule_on_probe` compares the pairs.
"""

import math
from collections.abc import Sequence
from statistics import median

import msgspec
from msgspec import Struct

from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.probes import TURNS, Measurement, Probe, three_digits, without_pauses
from orchestrator.runs.states import Failure, RunState

SLOW_TURNS = 11
"""Pairs of `TURNS` whose ratio must lie above the root of the limit. More than half must lie above the limit itself.

The second condition measures. The first one keeps noise out: by the sign test, the median ratio lies above the root
with 99 % confidence. Example: an arm that costs as much as its reference has half of its pairs above 1. If a quarter
of them lie above the root, 11 of 13 do so in 1 of 90,000 probes.
"""
MAX_PAUSED_SHARE = 0.05
"""From the third probe on, probes take at most this share of the time that the run has trained."""


class Ruling(Struct, frozen=True, kw_only=True):
    """A decision to stop a run. The report prints its reason."""

    state: RunState
    reason: str
    failure: Failure | None = None
    is_relative: bool = False
    """Whether this is only a suspicion, which a probe against the reference must confirm."""


class Pace(Struct, frozen=True, kw_only=True):
    """How long an epoch takes, or one step where a command counts several between two rows."""

    seconds: float
    """By the clock."""
    cpu_seconds: float | None
    """Of the processor's time; None on a GPU, where it says nothing."""


def rule(
    epochs: Sequence[EpochRecord],
    spec: GuardSpec,
    reference: Pace | None,
    shared_by: str | None = None,
    probes: Sequence[Probe] = (),
    *,
    can_probe: bool = True,
) -> Ruling | None:
    """Return the ruling on the epochs finished so far; None lets the run go on.

    Args:
        epochs: the finished epochs, oldest first.
        spec: the campaign's limits.
        reference: the pace of the reference, once it is measured.
        shared_by: what else the machine was busy with, in words; None if nothing. The limit of `epoch_seconds` then
            waits for twice as many slow epochs, and a ruling for slowness says so.
        probes: the probes of the run so far, oldest first.
        can_probe: whether the run can be timed in turns with its reference. If not, `check_pace` compares them.
    """
    epochs = without_pauses(epochs, probes)
    patient = msgspec.structs.replace(spec, slow_epochs=spec.slow_epochs * 2) if shared_by else spec
    # If a run has failed and is slow too, it has failed: a faster machine would not help it.
    failed = check_finite(epochs, spec) or check_divergence(epochs, spec) or check_memory(epochs, spec)
    slow = (
        check_smoke(epochs, spec)
        or check_speed(epochs, patient)
        or check_wall_time(epochs, spec)
        or (check_relative_speed(epochs, spec, reference, probes) if can_probe else None)
        or (check_pace(epochs, spec, reference) if not can_probe and not shared_by else None)
    )
    if failed or slow is None or not shared_by:
        return failed or slow
    return msgspec.structs.replace(slow, reason=f"{slow.reason}; the machine was shared: {shared_by}")


def rule_on_probe(suspected: Ruling, spec: GuardSpec, measurement: Measurement) -> Ruling | None:
    """Return the ruling on a suspect run after its probe; None lets the run go on.

    An absolute limit rules whatever the probe measured, and quotes it. A relative limit rules only if `is_slow`.
    """
    if not suspected.is_relative:
        return msgspec.structs.replace(suspected, reason=f"{suspected.reason}; {describe_measurement(measurement)}")
    if not is_slow(spec, measurement):
        return None
    above, pairs = count_above(spec, measurement), len(measurement.ratios)
    limit = f"the limit is {spec.relative_to_reference:g} x, and {above} of {pairs} turns were above it"
    reason = f"{describe_measurement(measurement)}; {limit}; {suspected.reason}"
    return msgspec.structs.replace(suspected, reason=reason, is_relative=False)


def is_slow(spec: GuardSpec, measurement: Measurement) -> bool:
    """Whether enough pairs lie above the limit and its root, and the ratio of the medians above the limit."""
    limit = spec.relative_to_reference
    return limit is not None and _has_slow_pairs(measurement.ratios, limit) and measurement.ratio > limit


def is_settled(spec: GuardSpec, measurement: Measurement) -> bool:
    """Whether more pairs of turns would hardly change the ruling.

    If there is only an absolute limit, a few pairs are enough: a reason quotes their ratio, and no rule uses it.
    """
    limit, ratios = spec.relative_to_reference or math.inf, measurement.ratios
    # Example: of 13 pairs 11 must lie above the root. After three pairs below it no later pair can change the ruling.
    missed = sum(ratio <= math.sqrt(limit) for ratio in ratios)
    return missed > TURNS - SLOW_TURNS or len(ratios) >= TURNS or is_slow(spec, measurement)


def _has_slow_pairs(ratios: Sequence[float], limit: float) -> bool:
    above_mark = sum(ratio > math.sqrt(limit) for ratio in ratios)
    return above_mark >= SLOW_TURNS and 2 * sum(ratio > limit for ratio in ratios) > TURNS


def count_above(spec: GuardSpec, measurement: Measurement) -> int:
    """Count the pairs of turns above the relative limit."""
    return sum(ratio > (spec.relative_to_reference or math.inf) for ratio in measurement.ratios)


def describe_measurement(measurement: Measurement) -> str:
    """Say how long an epoch of both took, or why nobody knows. The ratio is that of the two printed numbers."""
    if not measurement.ratios:
        return f"it could not be timed against its reference: {measurement.problem or 'no turn was finished'}"
    arm, reference = measurement.typical_seconds
    part = f", with batches divided by {measurement.share}" if measurement.share > 1 else ""
    return (
        f"an epoch takes {three_digits(arm)} s, {measurement.ratio:.2f} x the reference's {three_digits(reference)} s, "
        f"both timed just then in turns on the same slot{part}"
    )


def describe_release(spec: GuardSpec, measurement: Measurement) -> str:
    """Say why a run that looked too slow goes on."""
    if not measurement.ratios:
        return f"it looked too slow and goes on: {describe_measurement(measurement)}"
    above, pairs = count_above(spec, measurement), len(measurement.ratios)
    limit = f"{above} of {pairs} turns were above the limit of {spec.relative_to_reference:g} x"
    return f"it looked too slow and goes on: {describe_measurement(measurement)}; {limit}"


LOSSES = ("train_loss", "loss")
"""Numbers that are watched if the campaign names none; the first that is told counts."""
VALIDATION_LOSS = "val_loss"
SPOKEN = {"train_loss": "training loss", "val_loss": "validation loss"}


def find_watched(epochs: Sequence[EpochRecord], spec: GuardSpec) -> str | None:
    """Return the name of the number that must stay finite and not diverge; None if no epoch tells one."""
    names = (spec.watch,) if spec.watch else LOSSES
    return next((name for name in names if any(name in record.told for record in epochs)), None)


def _say(name: str) -> str:
    return SPOKEN.get(name, f"`{name}`")


def check_finite(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose last epoch tells no finite number for what is watched, or for the validation loss."""
    told = epochs[-1].told if epochs else {}
    names = [name for name in (find_watched(epochs, spec), VALIDATION_LOSS) if name and name in told]
    broken = next((name for name in names if told[name] is None), None)
    if broken is None:
        return None
    return Ruling(
        state=RunState.FAILED,
        failure=Failure.NONFINITE,
        reason=f"the {_say(broken)} of epoch {epochs[-1].epoch} is not a finite number",
    )


def check_divergence(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose last `divergence_epochs` watched numbers are all far above the lowest so far.

    The limit is a multiple of the lowest one. A lowest loss of 0 or below has no multiple, so nothing is ruled then.
    """
    watched = find_watched(epochs, spec)
    told = [record.told[watched] for record in epochs if watched and watched in record.told]
    losses, newest = [loss for loss in told if loss is not None], told[-spec.divergence_epochs :]
    if spec.divergence_factor is None or len(newest) < spec.divergence_epochs or min(losses, default=0.0) <= 0:
        return None
    limit = spec.divergence_factor * min(losses)
    if any(loss is None or loss <= limit for loss in newest):
        return None
    what = f"the {_say(watched or '')} diverged to {newest[-1]:.4g}: the lowest so far is {min(losses):.4g}"
    how = f"{spec.divergence_epochs} epochs in a row were above {spec.divergence_factor:g} x that"
    return Ruling(state=RunState.FAILED, failure=Failure.DIVERGED, reason=f"{what}, and {how}")


def check_memory(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose memory exceeded `memory_bytes` in an epoch."""
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
    """Stop a run whose smoke phase, its first `smoke_epochs`, took too long by the median epoch after warm-up.

    The rule waits for the end of the phase. Later epochs do not change it.
    """
    if spec.smoke_epoch_seconds is None or len(epochs) < spec.smoke_epochs:
        return None
    timed = [record.seconds for record in _counted(epochs[: spec.smoke_epochs], spec)]
    seconds = median(timed) if timed else 0.0
    if seconds <= spec.smoke_epoch_seconds:
        return None
    what = f"the smoke phase of {spec.smoke_epochs} epochs took {seconds:.2f} s an epoch"
    how = f"the limit is {spec.smoke_epoch_seconds:.2f} s; the median after {spec.warmup_epochs} of warm-up"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}, {how}")


def check_wall_time(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose epochs after warm-up took longer than `wall_seconds` together."""
    # Compiling takes longer than some epochs. It is part of the warm-up, and counts for no limit.
    counted = _counted(epochs, spec)
    seconds = sum(record.seconds for record in counted)
    if spec.wall_seconds is None or seconds <= spec.wall_seconds:
        return None
    what = f"the {len(counted)} epochs after {spec.warmup_epochs} of warm-up took {seconds:.2f} s together"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}, the limit is {spec.wall_seconds:.2f} s")


def check_speed(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Ruling | None:
    """Stop a run whose last `slow_epochs` epochs all took longer than `epoch_seconds`.

    Warm-up epochs do not count: they include compilation and cold caches.
    """
    newest = [record.seconds for record in _newest_counted(epochs, spec)]
    if not newest or spec.epoch_seconds is None or min(newest) <= spec.epoch_seconds:
        return None
    what = f"an epoch takes {median(newest):.2f} s, the limit is {spec.epoch_seconds:.2f} s"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what}; {_describe_count(spec)}")


def check_relative_speed(
    epochs: Sequence[EpochRecord], spec: GuardSpec, reference: Pace | None, probes: Sequence[Probe] = ()
) -> Ruling | None:
    """Suspect a run whose last epochs all took longer than `relative_to_reference` times the reference's epoch.

    On a CPU the processor's time must be longer by as much: an epoch that only waited for a processor is not slow.
    The guard waits for the reference's pace. It looks at `slow_epochs` epochs, after a first probe at 2, after a
    second at 4, and so on.
    """
    newest = _newest_suspected(epochs, spec, probes)
    if not newest or spec.relative_to_reference is None or reference is None:
        return None
    if min(_slowdown(record, reference) for record in newest) <= spec.relative_to_reference:
        return None
    number = len(newest)
    since = f"after the probe at epoch {probes[-1].epoch}" if probes else f"after {spec.warmup_epochs} of warm-up"
    how = f"{spec.relative_to_reference:g} x the reference's fastest of {three_digits(reference.seconds)} s, {since}"
    reason = f"all of the last {number} epochs were slower than {how}"
    return Ruling(state=RunState.TOO_SLOW, reason=reason, is_relative=True)


PATIENCE = 2
"""Without a probe, so many times `slow_epochs` must be finished before a run is compared with its reference."""


def check_pace(epochs: Sequence[EpochRecord], spec: GuardSpec, reference: Pace | None) -> Ruling | None:
    """Stop a run whose fastest step took longer than `relative_to_reference` times the reference's fastest step.

    This is for commands that nobody can time in turns with their reference. The machine of now and that of then may
    differ, so all doubt speaks for the run. Its fastest step counts and not its usual one, because other programs only
    make steps slower. The caller asks only where no other load is found, and takes references of the same device alone.
    A step is what the command counts: two rows that are 50 steps apart are 50 times one step.
    """
    own = fastest_pace(epochs, spec)
    limit = spec.relative_to_reference
    if own is None or limit is None or reference is None or reference.seconds <= 0:
        return None
    number, ratio = len(_counted(epochs, spec)), own.seconds / reference.seconds
    if number < PATIENCE * spec.slow_epochs or ratio <= limit:
        return None
    what = f"the fastest of {number} steps took {three_digits(own.seconds)} s, {ratio:.2f} x the reference's fastest"
    how = f"the limit is {limit:g} x; nothing else kept the machine busy"
    return Ruling(state=RunState.TOO_SLOW, reason=f"{what} of {three_digits(reference.seconds)} s; {how}")


def _newest_suspected(epochs: Sequence[EpochRecord], spec: GuardSpec, probes: Sequence[Probe]) -> Sequence[EpochRecord]:
    """Return the newest epochs that must all be slow for a probe; none if they are too few, or no probe is due."""
    if not probes:
        return _newest_counted(epochs, spec)
    paused = sum(probe.paused_seconds for probe in probes)
    if len(probes) > 1 and paused > MAX_PAUSED_SHARE * sum(record.seconds for record in epochs):
        return []
    # Each probe pauses the run. Waits that double keep a run that is slow now and then from many of them.
    number = 2 ** len(probes)
    counted = [record for record in _counted(epochs, spec) if record.epoch > probes[-1].epoch]
    return counted[-number:] if len(counted) >= number else []


def _slowdown(record: EpochRecord, reference: Pace) -> float:
    # The smaller ratio counts. An epoch that waited for a processor is long by the clock, but not in processor time.
    ratios = [record.seconds / record.num_steps / reference.seconds]
    if record.cpu_seconds is not None and reference.cpu_seconds:
        ratios.append(record.cpu_seconds / reference.cpu_seconds)
    return min(ratios)


def _newest_counted(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Sequence[EpochRecord]:
    """Return the last `slow_epochs` epochs after warm-up; none while there are fewer."""
    counted = _counted(epochs, spec)
    return counted[-spec.slow_epochs :] if len(counted) >= spec.slow_epochs else []


def _counted(epochs: Sequence[EpochRecord], spec: GuardSpec) -> list[EpochRecord]:
    """Return the epochs after warm-up whose seconds count; those of an attempt's first row hold imports too."""
    return [record for record in epochs[spec.warmup_epochs :] if record.is_timed]


def _describe_count(spec: GuardSpec) -> str:
    return f"all of the last {spec.slow_epochs} epochs were slower, after {spec.warmup_epochs} of warm-up"


def fastest_pace(epochs: Sequence[EpochRecord], spec: GuardSpec) -> Pace | None:
    """Return the pace of a run: its fastest epoch after warm-up; None until `slow_epochs` are finished.

    A busy machine only makes epochs slower, so the fastest one is nearest to the cost of the training.
    """
    counted = _counted(epochs, spec)
    if len(counted) < spec.slow_epochs:
        return None
    cpu_seconds = [record.cpu_seconds for record in counted if record.cpu_seconds is not None]
    return Pace(
        seconds=min(record.seconds / record.num_steps for record in counted),
        cpu_seconds=min(cpu_seconds) if len(cpu_seconds) == len(counted) else None,
    )
