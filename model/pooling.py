"""Tokens -> one embedding a burst."""

from typing import Literal, assert_never

from torch import Tensor


def pool(x_BTD: Tensor, kind: Literal["last", "mean"]) -> Tensor:
    """Return [B, D]. The last token of a causal model has seen the whole burst."""
    match kind:
        case "last":
            return x_BTD[:, -1]
        case "mean":
            return x_BTD.mean(dim=1)
        case _:
            assert_never(kind)
