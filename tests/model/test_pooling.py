import torch

from model.pooling import pool

X_BTD = torch.arange(24.0).reshape(2, 3, 4)


def test_last_pooling_is_the_last_token() -> None:
    assert torch.equal(pool(X_BTD, "last"), torch.tensor([[8.0, 9, 10, 11], [20, 21, 22, 23]]))


def test_mean_pooling_weighs_all_tokens_alike() -> None:
    assert torch.equal(pool(X_BTD, "mean"), torch.tensor([[4.0, 5, 6, 7], [16, 17, 18, 19]]))
