"""Rulings over finished epochs."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.launch.guards import (
    SLOW_TURNS,
    Pace,
    Ruling,
    describe_release,
    fastest_pace,
    is_settled,
    rule,
    rule_on_probe,
)
from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.probes import TURNS, Measurement, Probe
from orchestrator.runs.states import Failure, RunState
from tests.builders.epochs import an_epoch


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
    assert (ruling.state, ruling.is_relative) == (RunState.TOO_SLOW, True)
    assert ruling.reason == (
        "all of the last 2 epochs were slower than 1.5 x the reference's fastest of 1 s, after 1 of warm-up"
    )


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


def test_a_reference_is_measured_after_warm_up_by_its_fastest_epoch() -> None:
    assert fastest_pace(epochs([0.5, 1.0]), RELATIVE) is None
    assert fastest_pace(epochs([0.5, 1.0, 3.0, 2.0]), RELATIVE) == Pace(seconds=1.0, cpu_seconds=None)
    assert fastest_pace(epochs([0.5, 1.0, 3.0], cpu_seconds=0.5), RELATIVE) == Pace(seconds=1.0, cpu_seconds=0.5)


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


def test_the_wall_time_of_all_epochs_after_warm_up_stops_a_run() -> None:
    spec = GuardSpec(wall_seconds=30.0)
    assert rule(epochs([99.0, 20.0, 10.0]), spec, None) is None
    ruling = rule(epochs([99.0, 20.0, 10.0, 0.5]), spec, None)
    assert ruling is not None
    assert (ruling.state, ruling.failure) == (RunState.TOO_SLOW, None)
    assert ruling.reason == "the 3 epochs after 1 of warm-up took 30.50 s together, the limit is 30.00 s"


@given(st.floats(0.01, 1e6), st.lists(st.floats(0.01, 2.0), max_size=8), st.integers(1, 3))
def test_a_first_epoch_that_compiles_is_never_ruled_on(compiling: float, later: list[float], count: int) -> None:
    spec = GuardSpec(
        epoch_seconds=2.0,
        smoke_epoch_seconds=2.0,
        smoke_epochs=3,
        wall_seconds=16.0,
        relative_to_reference=2.0,
        warmup_epochs=1,
        slow_epochs=count,
    )
    records = epochs([compiling, *later])
    assert rule(records, spec, Pace(seconds=1.0, cpu_seconds=None)) is None
    pace = fastest_pace(records, spec)
    assert (None if pace is None else pace.seconds) == (min(later) if len(later) >= count else None)


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


def test_on_a_shared_machine_an_absolute_limit_waits_for_twice_as_many_slow_epochs() -> None:
    assert rule(epochs([1.0, 14.0, 14.0]), ABSOLUTE, None) is not None
    assert rule(epochs([1.0, 14.0, 14.0, 14.0]), ABSOLUTE, None, SHARED) is None
    ruling = rule(epochs([1.0, 14.0, 14.0, 14.0, 14.0]), ABSOLUTE, None, SHARED)
    assert ruling is not None
    assert ruling.reason.endswith(
        "; all of the last 4 epochs were slower, after 1 of warm-up; the machine was shared: load 5.2 for 2 jobs"
    )


def test_on_a_shared_machine_the_probe_is_not_put_off_since_it_measures_both_sides() -> None:
    ruling = rule(epochs([1.0, 14.0, 14.0]), RELATIVE, Pace(seconds=5.0, cpu_seconds=None), SHARED)
    assert ruling is not None
    assert ruling.reason.endswith("after 1 of warm-up; the machine was shared: load 5.2 for 2 jobs")


SUSPECTED = Ruling(state=RunState.TOO_SLOW, reason="all of the last 2 epochs were slower", is_relative=True)


def measured(arm: Sequence[float], reference: Sequence[float] | None = None, **fields: Any) -> Measurement:
    return Measurement(arm_seconds=tuple(arm), reference_seconds=tuple(reference or [1.0] * len(arm)), **fields)


def test_a_run_that_takes_longer_in_turn_with_its_reference_is_too_slow_and_the_printed_numbers_add_up() -> None:
    ruling = rule_on_probe(SUSPECTED, RELATIVE, measured([3.0999] * SLOW_TURNS, [1.4149] * SLOW_TURNS))
    assert ruling == Ruling(
        state=RunState.TOO_SLOW,
        reason="an epoch takes 3.1 s, 2.20 x the reference's 1.41 s, both timed just then in turns on the same slot; "
        "the limit is 1.5 x, and 11 of 11 turns were above it; all of the last 2 epochs were slower",
    )


def test_an_epoch_of_an_hour_is_printed_without_an_exponent() -> None:
    ruling = rule_on_probe(SUSPECTED, RELATIVE, measured([4321.4] * TURNS, [1234.6] * TURNS))
    assert ruling is not None
    assert ruling.reason.startswith("an epoch takes 4321 s, 3.50 x the reference's 1235 s, both")


def test_a_run_that_is_as_fast_as_its_reference_in_turn_with_it_goes_on_however_slow_its_epochs_were() -> None:
    measurement = measured([3.3, 3.2, 3.4], [3.2, 3.3, 3.3])
    assert rule_on_probe(SUSPECTED, RELATIVE, measurement) is None
    assert describe_release(RELATIVE, measurement) == (
        "it looked too slow and goes on: an epoch takes 3.3 s, 1.00 x the reference's 3.3 s, both timed just then in "
        "turns on the same slot; 0 of 3 turns were above the limit of 1.5 x"
    )


def test_a_few_slow_turns_by_chance_rule_on_nobody() -> None:
    turns = [1.6] * (SLOW_TURNS - 1) + [1.0] * (TURNS - SLOW_TURNS + 1)
    assert rule_on_probe(SUSPECTED, RELATIVE, measured(turns)) is None
    assert rule_on_probe(SUSPECTED, RELATIVE, measured([1.6] * SLOW_TURNS + [1.0] * (TURNS - SLOW_TURNS))) is not None


def test_a_run_that_is_slower_than_its_reference_by_less_than_the_limit_goes_on() -> None:
    more, less = TURNS // 2 + 1, TURNS // 2
    assert rule_on_probe(SUSPECTED, RELATIVE, measured([1.6] * less + [1.4] * more)) is None
    assert rule_on_probe(SUSPECTED, RELATIVE, measured([1.6] * more + [1.4] * less)) is not None


def test_without_turns_no_run_is_slower_than_its_reference() -> None:
    assert rule_on_probe(SUSPECTED, RELATIVE, Measurement(problem="out of memory")) is None
    assert describe_release(RELATIVE, Measurement(problem="out of memory")) == (
        "it looked too slow and goes on: it could not be timed against its reference: out of memory"
    )


def test_an_absolute_limit_rules_whatever_was_measured_and_says_it() -> None:
    ruling = rule(epochs([1.0, 14.0, 14.0]), ABSOLUTE, None)
    assert ruling is not None
    fast = rule_on_probe(ruling, ABSOLUTE, measured([1.0, 1.0, 1.0]))
    assert fast is not None
    assert fast.reason == (
        f"{ruling.reason}; an epoch takes 1 s, 1.00 x the reference's 1 s, "
        "both timed just then in turns on the same slot"
    )
    unknown = rule_on_probe(ruling, ABSOLUTE, Measurement(problem="it said nothing"))
    assert unknown is not None
    assert unknown.reason.endswith("after 1 of warm-up; it could not be timed against its reference: it said nothing")


@given(st.lists(st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0)), min_size=1, max_size=TURNS))
def test_a_ruling_by_a_probe_prints_a_ratio_above_the_limit_of_numbers_that_give_it(
    pairs: list[tuple[float, float]],
) -> None:
    measurement = measured([arm for arm, _ in pairs], [reference for _, reference in pairs])
    ruling = rule_on_probe(SUSPECTED, RELATIVE, measurement)
    above = sum(arm / reference > 1.5**0.5 for arm, reference in pairs)
    assert ruling is None or above >= SLOW_TURNS
    if ruling is not None:
        words = ruling.reason.split()
        arm, ratio, reference = float(words[3]), float(words[5]), float(words[9])
        assert ratio == pytest.approx(arm / reference, abs=0.005)
        assert arm / reference > 1.5


@given(st.lists(st.sampled_from([1.0, 1.4, 1.6]), min_size=TURNS, max_size=TURNS), st.integers(0, TURNS))
def test_a_probe_that_is_settled_early_is_settled_rightly(turns: list[float], number: int) -> None:
    assert is_settled(RELATIVE, measured(turns))
    if is_settled(RELATIVE, measured(turns[:number])):
        early, late = (rule_on_probe(SUSPECTED, RELATIVE, measured(of)) for of in (turns[:number], turns))
        assert (early is None) == (late is None)


def probed(epoch: int, paused_seconds: float = 0.5) -> Probe:
    return Probe(
        epoch=epoch, paused_seconds=paused_seconds, measurement=Measurement(), is_slow=False, said="it goes on"
    )


@pytest.mark.parametrize(
    ("probed_at", "suspected_at"), [((), 3), ((3,), 5), ((3, 5), 9), ((3, 5, 9), 17), ((3, 5, 9, 17), 33)]
)
def test_after_each_probe_the_guard_counts_anew_and_for_longer(probed_at: tuple[int, ...], suspected_at: int) -> None:
    probes, pace = [probed(epoch) for epoch in probed_at], Pace(seconds=1.0, cpu_seconds=None)
    found = [number for number in range(40) if rule(epochs([9.0] * number), RELATIVE, pace, None, probes) is not None]
    assert found[0] == suspected_at
    assert found == list(range(suspected_at, 40))


def test_from_the_third_probe_on_pauses_are_a_small_share_of_the_training() -> None:
    probes, pace = [probed(3, 20.0), probed(5, 20.0)], Pace(seconds=1.0, cpu_seconds=None)
    assert rule(epochs([20.0] * 39), RELATIVE, pace, None, probes) is None
    assert rule(epochs([20.0] * 43), RELATIVE, pace, None, probes) is not None


def test_the_seconds_that_a_run_was_paused_count_for_no_limit() -> None:
    wall = GuardSpec(wall_seconds=10.0)
    assert rule(epochs([3.0, 3.0, 9.0]), wall, None) is not None
    assert rule(epochs([3.0, 3.0, 9.0]), wall, None, None, [probed(2, 6.0)]) is None
    assert rule(epochs([3.0, 3.0, 9.0]), wall, None, None, [probed(2, 1.0)]) is not None


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
