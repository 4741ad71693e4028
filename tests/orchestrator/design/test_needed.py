"""How many seeds or items a verdict takes, held against errors worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy import stats

from orchestrator.design.needed import fewest_to_decide, items_to_resolve, range_to_decide, seeds_to_resolve
from orchestrator.stats.estimate import Estimate


class TestToResolve:
    def with_parts(self, seed: float, burst: float, rest: float) -> Estimate:
        return Estimate(
            seeds=(0, 1), num_items=100, seed_error_points=seed, item_error_points=burst, rest_error_points=rest
        )

    def test_seeds_take_away_the_seed_part_and_the_rest(self) -> None:
        # 2 seeds leave 4 + 9 of 16 squared points: eight times as many leave 13/8 and 3, which is 1.96 errors of 2.15.
        half_width = stats.norm.ppf(0.975) * math.sqrt(13 / 8 + 3)
        assert seeds_to_resolve(self.with_parts(2, 3**0.5, 3), half_width, 0.05) == pytest.approx(16)

    def test_bursts_take_away_the_burst_part_and_the_rest(self) -> None:
        half_width = stats.norm.ppf(0.975) * math.sqrt(4 + 12 / 8)
        assert items_to_resolve(self.with_parts(2, 3**0.5, 3), half_width, 0.05) == pytest.approx(800)

    def test_what_lasts_may_be_too_wide_alone(self) -> None:
        estimate = self.with_parts(5, 5, 1)
        assert seeds_to_resolve(estimate, 5.0, 0.05) == math.inf
        assert items_to_resolve(estimate, 5.0, 0.05) == math.inf

    @pytest.mark.parametrize("half_width_points", [0.0, -1.0])
    def test_no_width_at_all_is_out_of_reach(self, half_width_points: float) -> None:
        assert seeds_to_resolve(self.with_parts(1, 0, 1), half_width_points, 0.05) == math.inf

    def test_the_easier_of_both_verdicts_counts(self) -> None:
        estimate = structs.replace(self.with_parts(2, 0, 0), delta_points=3.0)
        leaves_zero = fewest_to_decide(estimate, 1.0, 1, 0.05, seeds_to_resolve)
        assert leaves_zero == math.ceil(seeds_to_resolve(estimate, 3.0, 0.05))
        lies_inside = fewest_to_decide(estimate, 100.0, 1, 0.05, seeds_to_resolve)
        assert lies_inside == math.ceil(seeds_to_resolve(estimate, 97.0, 0.1)) < leaves_zero

    def test_more_comparisons_take_more(self) -> None:
        estimate = structs.replace(self.with_parts(2, 0, 0), delta_points=3.0)
        one, many = (fewest_to_decide(estimate, 1.0, number, 0.05, seeds_to_resolve) for number in (1, 44))
        assert one < many

    def test_no_number_is_infinite(self) -> None:
        estimate = structs.replace(self.with_parts(1, 10, 0), delta_points=0.5)
        assert fewest_to_decide(estimate, 1.0, 1, 0.05, seeds_to_resolve) == math.inf


class TestRange:
    """One point of standard error from two seeds, all of it from seeds, so n seeds leave sqrt(2 / n)."""

    def estimate(self, low: float, high: float) -> Estimate:
        return Estimate(
            seeds=(0, 1),
            delta_points=(low + high) / 2,
            low_points=low,
            high_points=high,
            seed_error_points=1.0,
            item_error_points=0.0,
            rest_error_points=0.0,
        )

    def test_of_a_small_interval_off_zero_ends_at_both_ends(self) -> None:
        """By hand, 2 (1.96 / 2)^2 = 1.9 and 2 (1.96 / 1)^2 = 7.7; a margin of 0 makes no_change impossible."""
        assert range_to_decide(self.estimate(1.0, 2.0), 0.0, 1, 0.05, seeds_to_resolve) == (2, 8)

    def test_of_an_interval_that_holds_zero_and_the_margin_is_widest_between_them(self) -> None:
        """By hand, both take 2 (3.605 / 3)^2 = 2.9 at 3 * 1.96 / 3.605 = 1.6 points; 6 points take 0.2."""
        assert range_to_decide(self.estimate(-6.0, 1.7), 3.0, 1, 0.05, seeds_to_resolve) == (1, 3)

    def test_of_an_interval_that_holds_zero_without_a_margin_has_no_end(self) -> None:
        assert range_to_decide(self.estimate(-1.0, 4.0), 0.0, 1, 0.05, seeds_to_resolve)[1] == math.inf

    @given(
        low=st.floats(-20, 20),
        width=st.floats(0.1, 20),
        margin=st.floats(0, 10),
        item_error=st.floats(0, 2),
        num_compared=st.integers(1, 50),
    )
    def test_holds_what_every_difference_of_the_interval_takes(
        self, low: float, width: float, margin: float, item_error: float, num_compared: int
    ) -> None:
        estimate = structs.replace(self.estimate(low, low + width), item_error_points=item_error)
        fewest, most = range_to_decide(estimate, margin, num_compared, 0.05, seeds_to_resolve)
        for delta in np.linspace(low, low + width, 21):
            at_delta = structs.replace(estimate, delta_points=float(delta))
            found = fewest_to_decide(at_delta, margin, num_compared, 0.05, seeds_to_resolve)
            # Rounding may lift a number that is whole on paper to the next.
            assert fewest <= found + 1
            assert found <= most * (1 + 1e-9) + 1
