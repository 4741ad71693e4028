"""Adjusted p-values are those of statsmodels, of R, and of Dunnett's tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from statsmodels.stats.multitest import multipletests

from orchestrator.stats.multiplicity import ADJUST, dunnett_adjust, holm_adjust

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def unrelated(p_values: list[float]) -> NDArray[np.float64]:
    return np.eye(len(p_values))


def alike(number: int, correlation: float) -> NDArray[np.float64]:
    return np.full((number, number), correlation) + (1.0 - correlation) * np.eye(number)


def chance_beyond(number: int, critical: float) -> float:
    """The chance that the largest of so many deviates with correlations of a half lies farther out: one integral."""

    def inside(common: float) -> float:
        high, low = norm.cdf(np.array([critical, -critical]) * 2**0.5 - common)
        return float(norm.pdf(common) * (high - low) ** number)

    return 1 - float(quad(inside, -8, 8)[0])


@settings(max_examples=15, deadline=None)
@given(P_VALUES, st.sampled_from([("holm", "holm"), ("benjamini_hochberg", "fdr_bh")]))
def test_they_are_those_of_statsmodels(p_values: list[float], method: tuple[str, str]) -> None:
    ours, theirs = method
    assert ADJUST[ours](p_values, unrelated(p_values)) == pytest.approx(multipletests(p_values, method=theirs)[1])


def test_they_are_those_of_r() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") and "BH".
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert ADJUST["holm"](p_values, np.eye(4)) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ADJUST["benjamini_hochberg"](p_values, np.eye(4)) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("correction", ADJUST)
def test_family_of_one_or_none_is_left_alone(correction: str) -> None:
    assert ADJUST[correction]([0.03], np.eye(1)) == [0.03]
    assert ADJUST[correction]([], np.eye(0)) == []


@settings(deadline=None)
@given(P_VALUES, st.sampled_from(sorted(ADJUST)))
def test_adjusting_keeps_order_and_lowers_nothing(p_values: list[float], correction: str) -> None:
    adjusted = ADJUST[correction](p_values, unrelated(p_values))
    assert all(1 >= after >= before for before, after in zip(p_values, adjusted, strict=True))
    assert [p for _, p in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


@given(P_VALUES)
def test_holm_never_finds_more_than_benjamini_and_hochberg(p_values: list[float]) -> None:
    holm, other = (ADJUST[name](p_values, unrelated(p_values)) for name in ("holm", "benjamini_hochberg"))
    assert all(first >= second - 1e-12 for first, second in zip(holm, other, strict=True))


class TestDunnett:
    @pytest.mark.parametrize(("number", "critical"), [(2, 2.21), (5, 2.51), (9, 2.69)])
    def test_critical_values_are_those_of_his_table(self, number: int, critical: float) -> None:
        """Dunnett, New tables for multiple comparisons with a control (1964): two-sided 5 %, infinite freedom."""
        # The table has two decimals.
        assert chance_beyond(number, critical + 0.006) < 0.05 < chance_beyond(number, critical - 0.006)
        adjusted = dunnett_adjust([2 * float(norm.sf(critical))] * number, alike(number, 0.5))
        assert adjusted == pytest.approx([chance_beyond(number, critical)] * number, abs=0.002)

    @pytest.mark.parametrize("p_value", [0.2, 0.05, 0.004])
    def test_smallest_of_independent_ones_is_sidaks(self, p_value: float) -> None:
        adjusted = dunnett_adjust([p_value, 0.9, 0.8, 0.7, 0.6, 0.5], np.eye(6))
        assert adjusted[0] == pytest.approx(1 - (1 - p_value) ** 6, abs=0.002)

    def test_two_are_the_rectangle_of_the_normal_distribution(self) -> None:
        far = float(norm.isf(0.02 / 2))
        inside = multivariate_normal(cov=alike(2, -0.7)).cdf([far, far], lower_limit=[-far, -far])
        assert dunnett_adjust([0.02, 0.3], alike(2, -0.7))[0] == pytest.approx(1 - inside, abs=0.0005)

    def test_it_steps_down(self) -> None:
        """The second smallest is held against all but the smallest, the largest against itself alone."""
        adjusted = dunnett_adjust([0.001, 0.03, 0.4], alike(3, 0.5))
        assert adjusted[1] == pytest.approx(dunnett_adjust([0.03, 0.4], alike(2, 0.5))[0], abs=0.002)
        assert adjusted[2] == pytest.approx(0.4, abs=0.002)

    def test_comparisons_that_are_one_need_no_correction(self) -> None:
        assert dunnett_adjust([0.03, 0.03, 0.03], np.ones((3, 3))) == pytest.approx([0.03] * 3, abs=0.002)

    def test_tiny_p_values_are_holms(self) -> None:
        p_values = [1e-12, 0.3, 0.5]
        assert dunnett_adjust(p_values, alike(3, 0.5))[0] == holm_adjust(p_values)[0] == pytest.approx(3e-12)

    def test_zero_and_one_are_possible(self) -> None:
        assert dunnett_adjust([0.0, 1.0], np.eye(2)) == [0.0, 1.0]

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
    def test_it_is_never_above_holms_and_keeps_order(self, p_values: list[float], draw: int) -> None:
        root = np.random.default_rng(draw).normal(size=(len(p_values), 3))
        root /= np.linalg.norm(root, axis=1, keepdims=True)
        adjusted = dunnett_adjust(p_values, root @ root.T)
        holm = holm_adjust(p_values)
        assert all(p <= own <= other for p, own, other in zip(p_values, adjusted, holm, strict=True))
        assert [own for _, own in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)

    def test_same_arguments_give_the_same_numbers(self) -> None:
        assert dunnett_adjust([0.01, 0.02], alike(2, 0.5)) == dunnett_adjust([0.01, 0.02], alike(2, 0.5))

    def test_the_worked_example_of_the_module_holds(self) -> None:
        p_values = [0.01, 0.02, 0.04]
        assert holm_adjust(p_values) == pytest.approx([0.03, 0.04, 0.04])
        assert dunnett_adjust(p_values, alike(3, 0.5)) == pytest.approx([0.027, 0.037, 0.040], abs=0.0007)
