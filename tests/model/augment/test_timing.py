"""Roll and crop."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from model.augment import Conditions, Crop, Roll
from model.config import CropConfig, RollConfig
from model.streams import generator

AT = Conditions(1e6)


def stream(seed: int = 0) -> Generator:
    return generator(seed, "test")


def ramp(batch: int, samples: int) -> Tensor:
    """Bursts whose samples are 1, 2, 3, ..."""
    return torch.complex(torch.arange(1.0, samples + 1).expand(batch, samples), torch.zeros(batch, samples))


class TestCrop:
    @settings(deadline=None, max_examples=50)
    @given(st.integers(1, 40), st.floats(0.01, 0.99), st.integers(0, 99))
    def test_what_is_left_is_a_part_of_the_burst_at_its_start_and_then_zeros(
        self, samples: int, min_fraction: float, seed: int
    ) -> None:
        y_BL = Crop(CropConfig(min_fraction=min_fraction))(ramp(20, samples), AT, stream(seed)).real
        for y_L in y_BL:
            first, kept = int(y_L[0]), int((y_L > 0).sum())
            assert kept >= max(1, round(min_fraction * samples))
            assert y_L[:kept].tolist() == list(range(first, first + kept))
            assert first + kept - 1 <= samples
            assert not y_L[kept:].any()

    def test_lengths_are_uniform_from_the_smallest_fraction_to_all(self) -> None:
        y_BL = Crop(CropConfig(min_fraction=0.6))(ramp(20_000, 1000), AT, stream())
        kept_B = (y_BL.real > 0).sum(1).float()
        assert (kept_B.min(), kept_B.max()) == (600, 1000)
        assert math.isclose(kept_B.mean(), 800, abs_tol=3)
        assert math.isclose(kept_B.std(), 400 / math.sqrt(12), rel_tol=0.02)

    def test_every_place_where_a_part_fits_is_equally_likely(self) -> None:
        y_BL = Crop(CropConfig(min_fraction=0.4))(ramp(40_000, 5), AT, stream()).real
        kept_B = (y_BL > 0).sum(1)
        for kept in (2, 3, 4):
            starts = y_BL[kept_B == kept, 0].long() - 1
            shares = torch.bincount(starts) / len(starts)
            # 3,000 bursts at least: a standard deviation of 0.009.
            torch.testing.assert_close(shares, torch.full((6 - kept,), 1 / (6 - kept)), rtol=0.0, atol=0.03)


class TestRoll:
    def test_each_burst_is_shifted_around_by_a_number_of_its_own(self) -> None:
        x_BL = ramp(40, 500) - 1
        y_BL = Roll(RollConfig())(x_BL, AT, stream())
        shifts = [int(500 - y_L[0].real) % 500 for y_L in y_BL]
        assert all(torch.equal(y, torch.roll(x, k)) for x, y, k in zip(x_BL, y_BL, shifts, strict=True))
        assert len(set(shifts)) > 30

    def test_no_shift_passes_the_largest_fraction(self) -> None:
        x_BL = ramp(2000, 100) - 1
        y_BL = Roll(RollConfig(max_fraction=0.1))(x_BL, AT, stream())
        shifts = {int(100 - first) % 100 for first in y_BL[:, 0].real}
        assert shifts == set(range(10))
