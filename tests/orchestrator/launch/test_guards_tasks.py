"""Rulings over the steps that a stranger's script tells."""

from collections.abc import Sequence

import pytest

from orchestrator.launch.guards import Pace, fastest_pace, find_watched, rule
from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.states import Failure, RunState

PACED = GuardSpec(relative_to_reference=2.0, warmup_epochs=1, slow_epochs=2)
REFERENCE = Pace(seconds=0.01, cpu_seconds=None)


def told(*numbers: float | None, name: str = "loss") -> list[EpochRecord]:
    return [EpochRecord(epoch=place, seconds=1.0, values={name: number}) for place, number in enumerate(numbers, 1)]


def steps(seconds: Sequence[float], num_steps: float = 1.0, is_timed: bool = True) -> list[EpochRecord]:
    return [
        EpochRecord(epoch=place, seconds=one, num_steps=num_steps, is_timed=is_timed, values={"acc": 0.5})
        for place, one in enumerate(seconds, 1)
    ]


def test_what_is_watched_is_what_the_campaign_names_or_a_loss() -> None:
    assert find_watched(told(1.0), GuardSpec()) == "loss"
    assert find_watched(told(1.0, name="train_loss"), GuardSpec()) == "train_loss"
    assert find_watched(told(1.0, name="ppl"), GuardSpec()) is None
    assert find_watched(told(1.0, name="ppl"), GuardSpec(watch="ppl")) == "ppl"
    assert find_watched([], GuardSpec(watch="ppl")) is None


def test_another_number_may_be_not_finite() -> None:
    assert rule(told(1.0, None, name="auc"), GuardSpec(), None) is None
    ruling = rule(told(1.0, None, name="auc"), GuardSpec(watch="auc"), None)
    assert ruling is not None
    assert (ruling.failure, ruling.reason) == (Failure.NONFINITE, "the `auc` of epoch 2 is not a finite number")


def test_a_row_that_does_not_tell_what_is_watched_rules_nothing() -> None:
    rows = [*told(1.0), *told(None, name="grad_norm")]
    assert rule(rows, GuardSpec(divergence_factor=2.0, divergence_epochs=1), None) is None


def test_divergence_counts_the_rows_that_tell_it() -> None:
    spec = GuardSpec(divergence_factor=2.0, divergence_epochs=2)
    rows = told(1.0, 3.0)
    assert rule([*rows, *told(0.5, name="lr")], spec, None) is None
    ruling = rule([*rows, *told(0.5, name="lr"), *told(4.0)], spec, None)
    assert ruling is not None
    assert ruling.failure is Failure.DIVERGED


def test_the_first_row_of_an_attempt_counts_for_no_limit_of_time() -> None:
    spec = GuardSpec(epoch_seconds=10.0, smoke_epoch_seconds=10.0, wall_seconds=10.0, warmup_epochs=0, slow_epochs=1)
    assert rule(steps([99.0] * 3, is_timed=False), spec, None) is None
    assert fastest_pace(steps([99.0] * 3, is_timed=False), spec) is None


class TestPaceWithoutAProbe:
    def test_a_run_is_too_slow_whose_fastest_step_is(self) -> None:
        ruling = rule(steps([9.0, 0.021, 0.03, 0.05, 0.021]), PACED, REFERENCE, can_probe=False)
        assert ruling is not None
        assert (ruling.state, ruling.is_relative) == (RunState.TOO_SLOW, False)
        assert ruling.reason == (
            "the fastest of 4 steps took 0.021 s, 2.10 x the reference's fastest of 0.01 s; the limit is 2 x; nothing "
            "else kept the machine busy"
        )

    @pytest.mark.parametrize(
        "seconds", [[9.0, 0.05, 0.05, 0.05], [9.0, 0.05, 0.02, 0.05, 0.05]], ids=["too few", "one was fast"]
    )
    def test_doubt_speaks_for_the_run(self, seconds: list[float]) -> None:
        assert rule(steps(seconds), PACED, REFERENCE, can_probe=False) is None

    def test_a_busy_machine_excuses_it(self) -> None:
        slow = steps([9.0, *[0.05] * 9])
        assert rule(slow, PACED, REFERENCE, can_probe=False) is not None
        assert rule(slow, PACED, REFERENCE, "load 9.0 for 1 job", can_probe=False) is None

    def test_rows_that_are_more_steps_apart_take_as_much_longer(self) -> None:
        assert rule(steps([0.9] * 9, num_steps=50), PACED, REFERENCE, can_probe=False) is None
        assert fastest_pace(steps([1.0] * 9, num_steps=50), PACED) == Pace(seconds=0.02, cpu_seconds=None)

    def test_nothing_is_compared_without_a_reference_or_a_limit(self) -> None:
        slow = steps([9.0, *[0.05] * 9])
        assert rule(slow, PACED, None, can_probe=False) is None
        assert rule(slow, GuardSpec(), REFERENCE, can_probe=False) is None


def test_a_limit_of_a_whole_run_is_one_by_the_clock() -> None:
    assert GuardSpec(run_seconds=9).clock_limits == ("run_seconds",)
