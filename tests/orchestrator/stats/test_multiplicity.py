"""Adjusted p-values are those of statsmodels and of R."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from orchestrator.stats.multiplicity import ADJUST

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@settings(max_examples=15, deadline=None)
@given(P_VALUES, st.sampled_from([("holm", "holm"), ("benjamini_hochberg", "fdr_bh")]))
def test_they_are_those_of_statsmodels(p_values: list[float], method: tuple[str, str]) -> None:
    ours, theirs = method
    assert ADJUST[ours](p_values) == pytest.approx(multipletests(p_values, method=theirs)[1])


def test_they_are_those_of_r() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") and "BH".
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert ADJUST["holm"](p_values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ADJUST["benjamini_hochberg"](p_values) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("correction", ADJUST)
def test_family_of_one_or_none_is_left_alone(correction: str) -> None:
    assert ADJUST[correction]([0.03]) == [0.03]
    assert ADJUST[correction]([]) == []


@settings(deadline=None)
@given(P_VALUES, st.sampled_from(sorted(ADJUST)))
def test_adjusting_keeps_order_and_lowers_nothing(p_values: list[float], correction: str) -> None:
    adjusted = ADJUST[correction](p_values)
    assert all(1 >= after >= before for before, after in zip(p_values, adjusted, strict=True))
    assert [p for _, p in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


@given(P_VALUES)
def test_holm_never_finds_more_than_benjamini_and_hochberg(p_values: list[float]) -> None:
    pairs = zip(ADJUST["holm"](p_values), ADJUST["benjamini_hochberg"](p_values), strict=True)
    assert all(holm >= other - 1e-12 for holm, other in pairs)
