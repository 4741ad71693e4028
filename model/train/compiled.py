"""Compiling a network for full batches, once."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Outputs = Callable[[Tensor], tuple[Tensor, ...]]


def compile_for(batch_size: int, outputs: Outputs, how: Literal[True, "reduce-overhead"]) -> Outputs:
    """Compile `outputs` for batches of one size, and call it as it is for any other size.

    A compiler makes another version for each shape, and that takes longer than many steps. Only the last batch of an
    epoch has another size. Scoring is not compiled either: a validation takes a small part of an epoch.

    Args:
        batch_size: the size of a full batch.
        outputs: what to compile, a function of bursts [B, 2, S].
        how: True for `torch.compile` as it is, or the mode that records the GPU's work once and repeats it.
    """
    compiled = torch.compile(outputs, dynamic=False, mode=None if how is True else how)
    # With recorded work, this tells that the outputs of the step before are not needed any more.
    begin_step: Callable[[], None] = torch.compiler.cudagraph_mark_step_begin if how is not True else lambda: None

    def of_any_size(x_B2S: Tensor) -> tuple[Tensor, ...]:
        if len(x_B2S) != batch_size:
            return outputs(x_B2S)
        begin_step()
        return compiled(x_B2S)

    return of_any_size
