"""The states of a run and the moves between them."""

import pytest

from orchestrator.runs.states import MOVES, OPEN, RunState


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(RunState)


def test_a_run_that_is_done_is_never_trained_again() -> None:
    assert MOVES[RunState.DONE] == frozenset()


@pytest.mark.parametrize("state", sorted(set(RunState) - {RunState.DONE}))
def test_any_other_run_can_come_to_wait(state: RunState) -> None:
    assert state is RunState.QUEUED or RunState.QUEUED in MOVES[state]


@pytest.mark.parametrize("state", OPEN)
def test_an_open_run_has_not_ended(state: RunState) -> None:
    assert not state.is_final


def test_only_a_running_run_ends_with_a_result() -> None:
    endings = {RunState.DONE, RunState.TOO_SLOW, RunState.FAILED}
    assert {before for before, after in MOVES.items() if after & endings} == {RunState.RUNNING}
    assert all(state.is_final for state in endings)
