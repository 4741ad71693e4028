import math

import torch
from torch import nn

from model.layers.pooling import AttentionPooling, build_pooling

X_BTD = torch.arange(24.0).reshape(2, 3, 4)


def test_last_pooling_is_the_last_token() -> None:
    assert torch.equal(build_pooling("last", 4)(X_BTD), torch.tensor([[8.0, 9, 10, 11], [20, 21, 22, 23]]))


def test_mean_pooling_weighs_all_tokens_alike() -> None:
    assert torch.equal(build_pooling("mean", 4)(X_BTD), torch.tensor([[4.0, 5, 6, 7], [16, 17, 18, 19]]))


def test_first_pooling_is_the_first_token() -> None:
    assert torch.equal(build_pooling("cls_first", 4)(X_BTD), torch.tensor([[0.0, 1, 2, 3], [12, 13, 14, 15]]))


def build_attention() -> AttentionPooling:
    pooling = build_pooling("attention", 4)
    assert isinstance(pooling, AttentionPooling)
    nn.init.normal_(pooling.query, generator=torch.Generator().manual_seed(0))
    return pooling


def test_attention_pooling_weighs_tokens_by_the_softmax_of_their_product_with_the_query() -> None:
    pooling, tokens_BTD = build_attention(), torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    query_D = pooling.query.detach()
    for embedding_D, tokens_TD in zip(pooling(tokens_BTD), tokens_BTD, strict=True):
        shares = [math.exp(float(token_D @ query_D) / 2) for token_D in tokens_TD]
        expected_D = sum(share / sum(shares) * token_D for share, token_D in zip(shares, tokens_TD, strict=True))
        torch.testing.assert_close(embedding_D, expected_D)


def test_attention_pooling_is_the_mean_where_all_tokens_match_the_query_alike() -> None:
    pooling = build_attention()
    nn.init.zeros_(pooling.query)
    torch.testing.assert_close(pooling(X_BTD), X_BTD.mean(1))


def test_only_attention_pooling_learns() -> None:
    counts = {kind: len(list(build_pooling(kind, 4).parameters())) for kind in ("last", "mean", "cls_first")}
    assert counts == {"last": 0, "mean": 0, "cls_first": 0}
    assert [parameter.shape for parameter in build_attention().parameters()] == [(4,)]
