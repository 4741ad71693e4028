import math

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.layers.attention import SoftmaxAttention
from model.studies.radio.network import count_parameters, initialize

CONFIG = ModelConfig(dim=12, num_heads=2, head_dim=5, softmax_every=2)


def build() -> SoftmaxAttention:
    attention = SoftmaxAttention(CONFIG)
    initialize(attention, 0)
    return attention.double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_token_is_the_mean_of_earlier_values_weighted_by_softmax() -> None:
    attention, x_BTD = build(), normal(2, 7, 12)
    weights = {name: parameter.T for name, parameter in attention.named_parameters()}
    expected_BTD = torch.empty(2, 7, 12, dtype=torch.float64)
    for t in range(7):
        heads = []
        for head in range(2):
            part = slice(5 * head, 5 * head + 5)
            q_BK = x_BTD[:, t] @ weights["q_proj.weight"][:, part]
            k_BTK = x_BTD[:, : t + 1] @ weights["k_proj.weight"][:, part]
            v_BTK = x_BTD[:, : t + 1] @ weights["v_proj.weight"][:, part]
            scores_BT = torch.einsum("bk,btk->bt", q_BK, k_BTK) / math.sqrt(5)
            heads.append(torch.einsum("bt,btk->bk", scores_BT.softmax(-1), v_BTK))
        expected_BTD[:, t] = torch.cat(heads, dim=-1) @ weights["o_proj.weight"]
    torch.testing.assert_close(attention(x_BTD), expected_BTD, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("changed", [0, 3, 8])
def test_a_later_token_changes_no_earlier_output(changed: int) -> None:
    attention, x_BTD = build(), normal(2, 9, 12)
    other_BTD = torch.cat([x_BTD[:, :changed], normal(2, 9, 12, seed=1)[:, changed:]], dim=1)
    differs_T = (attention(x_BTD) != attention(other_BTD)).any(-1).any(0)
    assert differs_T.tolist() == [t >= changed for t in range(9)]


def test_there_are_four_projections_and_no_bias() -> None:
    assert count_parameters(build()) == 4 * 12 * 10
