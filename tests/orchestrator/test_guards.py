"""Rulings over finished epochs."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.run_folder import EpochRecord
from orchestrator.guards import Pace, rule, typical_pace
from orchestrator.spec import GuardSpec
from orchestrator.states import Failure, RunState
from tests.epochs import an_epoch


def epochs(seconds: Sequence[float], **fields: Any) -> list[EpochRecord]:
    return [an_epoch(number, seconds=value, **fields) for number, value in enumerate(seconds, start=1)]


def epochs_of_losses(*losses: float | None) -> list[EpochRecord]:
    records = epochs([1.0] * len(losses))
    return [msgspec.structs.replace(record, train_loss=loss) for record, loss in zip(records, losses, strict=True)]


ABSOLUTE = GuardSpec(epoch_seconds=10.0, warmup_epochs=1, slow_epochs=2)
RELATIVE = GuardSpec(relative_to_reference=1.5, warmup_epochs=1, slow_epochs=2)


def test_slow_epochs_in_a_row_stop_a_run_with_the_sentence_for_the_report() -> None:
    ruling = rule(epochs([5.0, 14.0, 15.0]), ABSOLUTE, None)
    assert ruling is not None
    assert ruling.state is RunState.TOO_SLOW
    assert ruling.reason == (
        "an epoch takes 14.50 s, the limit is 10.00 s; all of the last 2 epochs were slower, after 1 of warm-up"
    )


@pytest.mark.parametrize("seconds", [[], [99.0], [99.0, 14.0], [99.0, 14.0, 9.0], [5.0, 9.0, 14.0], [99.0, 10.0, 10.0]])
def test_warm_up_and_single_slow_epochs_let_a_run_go_on(seconds: list[float]) -> None:
    assert rule(epochs(seconds), ABSOLUTE, None) is None


def test_the_relative_limit_waits_for_the_reference() -> None:
    slow = epochs([1.0, 1.6, 1.6])
    assert rule(slow, RELATIVE, None) is None
    ruling = rule(slow, RELATIVE, Pace(seconds=1.0, cpu_seconds=None))
    assert ruling is not None
    assert ruling.state is RunState.TOO_SLOW
    assert ruling.reason.startswith("an epoch takes 1.60 s, 1.6 x the reference's 1.00 s; the limit is 1.5 x; all of")


@pytest.mark.parametrize(("cpu_seconds", "is_slow"), [(1.0, False), (1.4, False), (1.6, True), (None, True)])
def test_an_epoch_that_only_waited_for_a_shared_processor_is_not_slow(cpu_seconds: float | None, is_slow: bool) -> None:
    reference = Pace(seconds=1.0, cpu_seconds=1.0)
    ruling = rule(epochs([1.0, 2.0, 2.0], cpu_seconds=cpu_seconds), RELATIVE, reference)
    assert (ruling is not None) == is_slow


@pytest.mark.parametrize(("which", "word"), [("train_loss", "training"), ("val_loss", "validation")])
def test_a_loss_that_is_not_finite_stops_a_run(which: str, word: str) -> None:
    ruling = rule(epochs([1.0], **{which: None}), ABSOLUTE, None)
    assert ruling is not None
    assert (ruling.state, ruling.failure) == (RunState.FAILED, Failure.NONFINITE)
    assert ruling.reason == f"the {word} loss of epoch 1 is not a finite number"


def test_a_reference_is_measured_after_warm_up() -> None:
    assert typical_pace(epochs([9.0, 1.0]), RELATIVE) is None
    assert typical_pace(epochs([9.0, 1.0, 3.0, 2.0]), RELATIVE) == Pace(seconds=2.0, cpu_seconds=None)
    assert typical_pace(epochs([9.0, 1.0, 3.0], cpu_seconds=0.5), RELATIVE) == Pace(seconds=2.0, cpu_seconds=0.5)


@given(st.lists(st.floats(0.01, 100.0), max_size=12), st.floats(0.1, 100.0))
def test_no_run_is_stopped_whose_epochs_all_keep_the_limit(seconds: list[float], limit: float) -> None:
    spec = GuardSpec(epoch_seconds=limit, warmup_epochs=0, slow_epochs=1)
    kept = [min(value, limit) for value in seconds]
    assert rule(epochs(kept), spec, None) is None


DIVERGENCE = GuardSpec(divergence_factor=2.0, divergence_epochs=2)
SMOKE = GuardSpec(smoke_epochs=3, smoke_epoch_seconds=10.0, warmup_epochs=1)
ALL = GuardSpec(
    epoch_seconds=10.0,
    slow_epochs=3,
    warmup_epochs=1,
    smoke_epochs=4,
    smoke_epoch_seconds=10.0,
    divergence_factor=2.0,
    divergence_epochs=2,
    wall_seconds=50.0,
)


def test_without_limits_nothing_but_a_loss_that_is_not_finite_is_ruled_on() -> None:
    bad = epochs([1e6] * 20, peak_memory_bytes=10**12)
    diverged = [msgspec.structs.replace(record, train_loss=float(record.epoch**9)) for record in bad]
    assert rule(diverged, GuardSpec(), Pace(seconds=1.0, cpu_seconds=None)) is None


def test_training_losses_far_above_the_lowest_fail_a_run_as_diverged_with_the_numbers() -> None:
    ruling = rule(epochs_of_losses(1.5, 0.5, 1.1, 1.25), DIVERGENCE, None)
    assert ruling is not None
    assert (ruling.state, ruling.failure) == (RunState.FAILED, Failure.DIVERGED)
    assert ruling.reason == (
        "the training loss diverged to 1.25: the lowest so far is 0.5, and 2 epochs in a row were above 2 x that"
    )


@pytest.mark.parametrize(
    "losses",
    [(), (9.0,), (1.0, 9.0), (0.5, 1.1, 0.9, 1.1), (0.5, 1.0, 1.0), (0.0, 5.0, 5.0), (-1.0, 5.0, 5.0), (9.0, 9.0)],
)
def test_a_loss_that_jumps_once_or_has_no_multiple_has_not_diverged(losses: tuple[float, ...]) -> None:
    assert rule(epochs_of_losses(*losses), DIVERGENCE, None) is None


def test_a_loss_that_was_not_finite_in_between_is_not_counted_as_diverged() -> None:
    assert rule(epochs_of_losses(0.5, None, 9.0), DIVERGENCE, None) is None
    assert rule(epochs_of_losses(None, 0.5, 9.0, 9.0), DIVERGENCE, None) is not None


def test_memory_above_the_limit_fails_a_run_in_gigabytes() -> None:
    spec = GuardSpec(memory_bytes=4_000_000_000)
    assert rule(epochs([1.0], peak_memory_bytes=4_000_000_000), spec, None) is None
    ruling = rule(epochs([1.0, 1.0], peak_memory_bytes=5_200_000_000), spec, None)
    assert ruling is not None
    assert (ruling.state, ruling.failure) == (RunState.FAILED, Failure.OUT_OF_MEMORY)
    assert ruling.reason == "epoch 1 held 5.200 GB of memory at its peak, the limit is 4.000 GB"


def test_the_wall_time_of_all_epochs_stops_a_run() -> None:
    spec = GuardSpec(wall_seconds=30.0)
    assert rule(epochs([20.0, 10.0]), spec, None) is None
    ruling = rule(epochs([20.0, 10.0, 0.5]), spec, None)
    assert ruling is not None
    assert (ruling.state, ruling.failure) == (RunState.TOO_SLOW, None)
    assert ruling.reason == "the 3 epochs so far took 30.50 s together, the limit is 30.00 s"


def test_the_smoke_phase_rules_once_it_is_over_without_its_warm_up() -> None:
    assert rule(epochs([99.0, 12.0]), SMOKE, None) is None
    assert rule(epochs([99.0, 9.0, 10.0]), SMOKE, None) is None
    ruling = rule(epochs([1.0, 12.0, 13.0]), SMOKE, None)
    assert ruling is not None
    assert ruling.state is RunState.TOO_SLOW
    assert ruling.reason == (
        "the smoke phase of 3 epochs took 12.50 s an epoch, the limit is 10.00 s; the median after 1 of warm-up"
    )
    assert rule(epochs([1.0, 12.0, 13.0, 1.0, 1.0]), SMOKE, None) == ruling


def test_a_smoke_phase_that_is_all_warm_up_is_refused() -> None:
    with pytest.raises(ValueError, match="smoke_epochs 2 leaves nothing to measure after 2 of warm-up"):
        GuardSpec(smoke_epochs=2, smoke_epoch_seconds=1.0, warmup_epochs=2)
    assert GuardSpec(smoke_epochs=2, warmup_epochs=2).smoke_epoch_seconds is None


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="wall_seconds"):
        GuardSpec(wall_seconds=float("nan"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("smoke_epoch_seconds", 0),
        ("smoke_epochs", 0),
        ("wall_seconds", 0),
        ("divergence_factor", 1.0),
        ("divergence_epochs", 0),
        ("memory_bytes", 0),
        ("hang_seconds", 0),
        ("hang_grace_seconds", -1),
    ],
)
def test_a_limit_that_would_stop_every_run_is_refused(field: str, value: float) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"{field}`"):
        msgspec.convert({field: value}, GuardSpec)


SHARED = "load 5.2 for 2 jobs"


@pytest.mark.parametrize(
    ("spec", "reference"), [(ABSOLUTE, None), (RELATIVE, Pace(seconds=5.0, cpu_seconds=None))], ids=["abs", "rel"]
)
def test_on_a_shared_machine_speed_is_ruled_after_twice_as_many_slow_epochs(
    spec: GuardSpec, reference: Pace | None
) -> None:
    assert rule(epochs([1.0, 14.0, 14.0]), spec, reference) is not None
    assert rule(epochs([1.0, 14.0, 14.0, 14.0]), spec, reference, SHARED) is None
    ruling = rule(epochs([1.0, 14.0, 14.0, 14.0, 14.0]), spec, reference, SHARED)
    assert ruling is not None
    assert ruling.reason.endswith(
        "; all of the last 4 epochs were slower, after 1 of warm-up; the machine was shared: load 5.2 for 2 jobs"
    )


def test_only_a_ruling_for_slowness_says_that_the_machine_was_shared() -> None:
    smoke = rule(epochs([1.0, 12.0, 13.0]), SMOKE, None, SHARED)
    assert smoke is not None
    assert smoke.reason.endswith("of warm-up; the machine was shared: load 5.2 for 2 jobs")
    diverged = epochs_of_losses(0.5, 9.0, 9.0)
    assert rule(diverged, DIVERGENCE, None, SHARED) == rule(diverged, DIVERGENCE, None)


SECONDS = st.lists(st.floats(0.01, 100.0), max_size=12)
SHARES = st.sampled_from([None, SHARED])


@given(st.lists(st.floats(10.01, 100.0), max_size=12), st.integers(0, 3), st.integers(1, 4), SHARES)
def test_no_guard_rules_on_fewer_epochs_than_it_says(
    seconds: list[float], warmup: int, count: int, shared_by: str | None
) -> None:
    losses = [1.0] + [9.0] * (len(seconds) - 1) if seconds else []
    records = [
        msgspec.structs.replace(record, train_loss=loss) for record, loss in zip(epochs(seconds), losses, strict=True)
    ]
    slow = GuardSpec(epoch_seconds=10.0, warmup_epochs=warmup, slow_epochs=count)
    smoke = GuardSpec(smoke_epoch_seconds=10.0, warmup_epochs=warmup, smoke_epochs=warmup + count)
    diverged = GuardSpec(divergence_factor=2.0, divergence_epochs=count)
    needed = 2 * count if shared_by else count
    assert (rule(records, slow, None, shared_by) is not None) == (len(seconds) >= warmup + needed)
    assert (rule(records, smoke, None, shared_by) is not None) == (len(seconds) >= warmup + count)
    assert (rule(records, diverged, None, shared_by) is not None) == (len(seconds) >= 1 + count)


@given(SECONDS, SECONDS, SHARES)
def test_slower_epochs_never_take_a_ruling_back(seconds: list[float], more: list[float], shared_by: str | None) -> None:
    before = rule(epochs(seconds), ALL, None, shared_by)
    slower = [max(seconds, default=0.0) + value for value in more]
    after = rule(epochs([*seconds, *slower]), ALL, None, shared_by)
    assert before is None or after is not None
