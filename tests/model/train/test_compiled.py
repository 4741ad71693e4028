"""Compiled for full batches alone, so that an epoch compiles once."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from model.train.compiled import compile_for


class Compiler:
    """Stands for `torch.compile`, and notes what it was asked for and the batches that its product saw."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.batch_sizes: list[int] = []

    def __call__(self, outputs: Callable[[Tensor], object], **asked: Any) -> Callable[[Tensor], object]:
        self.asked = asked

        def compiled(x_B2S: Tensor) -> object:
            self.batch_sizes.append(len(x_B2S))
            return outputs(x_B2S)

        return compiled


@pytest.mark.parametrize(("how", "mode"), [(True, None), ("reduce-overhead", "reduce-overhead")])
def test_only_full_batches_are_compiled(
    monkeypatch: pytest.MonkeyPatch, how: Literal[True, "reduce-overhead"], mode: str | None
) -> None:
    compiler, begun = Compiler(), list[int]()
    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    outputs = compile_for(8, lambda x_B2S: (x_B2S.sum((1, 2)),), how)
    for batch_size in (8, 8, 3):
        (sums_B,) = outputs(torch.ones(batch_size, 2, 5))
        assert sums_B.tolist() == [10.0] * batch_size
    assert compiler.batch_sizes == [8, 8]
    assert compiler.asked == {"dynamic": False, "mode": mode}
    assert len(begun) == (0 if how is True else 2), "recorded work is told of each step"
