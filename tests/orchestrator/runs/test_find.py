"""Which run a word means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.runs.find import pick_run

IDS = ["E5-s0-3466db1c", "E5-s1-0a1b2c3d", "E5-s1-0affffff", "H2-s0-11112222"]


@given(st.sets(st.text("ab-", min_size=1, max_size=4), min_size=1), st.data())
def test_a_beginning_means_a_run_exactly_where_no_other_begins_so(ids: set[str], data: st.DataObject) -> None:
    run_id = data.draw(st.sampled_from(sorted(ids)))
    word = run_id[: data.draw(st.integers(1, len(run_id)))]
    others = [other for other in ids if other.startswith(word)]
    if word in ids:
        assert pick_run(word, ids) == word
    elif len(others) == 1:
        assert pick_run(word, ids) == run_id
    else:
        with pytest.raises(UsageError, match="may be any of"):
            pick_run(word, ids)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("E5-s1", "`E5-s1` may be any of E5-s1-0a1b2c3d, E5-s1-0affffff; write more of the run's id"),
        ("e5-s0", "there is no run `e5-s0`; the nearest is `E5-s0-3466db1c`"),
        ("zzz", "there is no run `zzz`; the nearest is `"),
    ],
)
def test_a_word_that_means_no_one_run_is_told_with_the_nearest(word: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        pick_run(word, IDS)
    assert message in str(error.value)


def test_a_long_list_is_cut() -> None:
    with pytest.raises(UsageError, match=r"E5-s4 and more; write"):
        pick_run("E", [f"E5-s{seed}" for seed in range(9)])


def test_without_runs_there_is_no_nearest() -> None:
    with pytest.raises(UsageError, match="there is no run `E5`; there is none at all yet"):
        pick_run("E5", [])
