"""Rulings over finished epochs."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.run_folder import EpochRecord
from orchestrator.guards import Pace, rule, typical_pace
from orchestrator.spec import GuardSpec
from orchestrator.states import Failure, RunState


def epochs(
    seconds: Sequence[float],
    *,
    cpu_seconds: float | None = None,
    val_loss: float | None = 1.0,
    train_loss: float | None = 1.0,
) -> list[EpochRecord]:
    return [
        EpochRecord(
            epoch=number,
            seconds=value,
            cpu_seconds=cpu_seconds,
            train_loss=train_loss,
            val_loss=val_loss,
            val_accuracy=0.5,
            learning_rate=1e-3,
            grad_norm=1.0,
            skipped_steps=0,
            bursts_per_second=1.0,
            peak_memory_bytes=1,
        )
        for number, value in enumerate(seconds, start=1)
    ]


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
