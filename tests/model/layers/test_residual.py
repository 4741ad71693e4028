import pytest
import torch
from torch import Tensor

from model.layers.residual import ResidualSum, TokenDropout, skip_chance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_nothing_is_dropped_in_evaluation_nor_at_a_chance_of_zero() -> None:
    x_BTD, added_BTD = normal(4, 5, 3), normal(4, 5, 3, seed=1)
    for residual in (ResidualSum(dropout=0.9, skip=0.9).eval(), ResidualSum(dropout=0.0, skip=0.0).train()):
        assert torch.equal(residual(x_BTD, added_BTD), x_BTD + added_BTD)


def test_a_chance_of_zero_draws_nothing_from_the_global_stream() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    ResidualSum(dropout=0.0, skip=0.0).train()(normal(4, 5, 3), normal(4, 5, 3))
    TokenDropout(0.0).train()(normal(4, 5, 3))
    assert torch.equal(torch.rand(3), expected)


def test_dropout_zeroes_its_share_of_what_is_added_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    added_BTD = torch.ones(40, 25, 10)
    kept_BTD = ResidualSum(dropout=0.3, skip=0.0).train()(torch.zeros(40, 25, 10), added_BTD)
    # 10,000 numbers: a standard deviation of 0.0046.
    assert abs((kept_BTD == 0).float().mean() - 0.3) < 0.02
    torch.testing.assert_close(kept_BTD[kept_BTD != 0].unique(), torch.tensor([1 / 0.7]))


def test_stochastic_depth_leaves_out_whole_bursts_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    x_BTD, added_BTD = normal(10_000, 2, 3), normal(10_000, 2, 3, seed=1)
    y_BTD = ResidualSum(dropout=0.0, skip=0.3).train()(x_BTD, added_BTD)
    skipped_B = (y_BTD == x_BTD).flatten(1).any(1)
    assert abs(skipped_B.float().mean() - 0.3) < 0.02
    assert torch.equal(y_BTD[skipped_B], x_BTD[skipped_B])
    torch.testing.assert_close(y_BTD[~skipped_B], (x_BTD + added_BTD / 0.7)[~skipped_B])


def test_the_chance_to_skip_grows_linearly_to_that_of_the_last_block() -> None:
    assert [skip_chance(0.2, block, 4) for block in (1, 2, 3, 4)] == pytest.approx([0.05, 0.1, 0.15, 0.2])


def test_token_dropout_zeroes_about_its_share_of_whole_tokens_and_scales_no_other() -> None:
    torch.manual_seed(0)
    x_BTD = torch.rand(40, 250, 3) + 1
    y_BTD = TokenDropout(0.3).train()(x_BTD)
    dropped_BT = (y_BTD == 0).all(-1)
    # 10,000 tokens: a standard deviation of 0.0046.
    assert abs(dropped_BT.float().mean() - 0.3) < 0.02
    assert torch.equal(y_BTD[~dropped_BT], x_BTD[~dropped_BT])


def test_token_dropout_does_nothing_in_evaluation() -> None:
    x_BTD = torch.rand(4, 25, 3)
    assert torch.equal(TokenDropout(0.9).eval()(x_BTD), x_BTD)
    assert torch.equal(TokenDropout(0.0).train()(x_BTD), x_BTD)
