"""The gated delta rule by itself, forward and backward, fp32.

Letters as in model/layers/gated_delta.py.
"""

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

from benchmarks.timing import Row, time_in_turn
from model.layers.gated_delta import CHUNK_SIZE, chunked

SHAPES = ((8, 257, 8, 64, 128), (64, 65, 4, 16, 32), (64, 32, 4, 16, 32))
"""Bursts, tokens, heads, key width, value width; the last shape is that of profile quick."""
WANTED = {(8, 257, 8, 64, 128): "at most 0.6", (64, 65, 4, 16, 32): "at most 0.6"}

# With fla installed, the decorator would call the Triton kernel.
transformers_rule = inspect.unwrap(torch_chunk_gated_delta_rule)


def draw_inputs(shape: tuple[int, ...]) -> list[Tensor]:
    batch, tokens, heads, key_width, value_width = shape
    stream = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=stream)

    q, k = (F.normalize(draw(batch, tokens, heads, key_width), dim=-1) for _ in range(2))
    v = draw(batch, tokens, heads, value_width)
    log_decay, beta = -F.softplus(draw(batch, tokens, heads)), draw(batch, tokens, heads).sigmoid()
    return [x.requires_grad_() for x in (q, k, v, log_decay, beta)]


def bare_products(shape: tuple[int, ...]) -> Callable[[], None]:
    """Return a function that does only the matrix products of our forward and backward, on prepared numbers."""
    batch, tokens, heads, k, v = shape
    sizes = [min(CHUNK_SIZE, tokens - start) for start in range(0, tokens, CHUNK_SIZE)]
    pairs = []
    for number, c in enumerate(sizes):
        is_first, is_last = number == 0, number == len(sizes) - 1
        products = [(2 * c, k, c), (c, c, v), (c, c, v)]  # pairs, written, output
        products += [(c, c, v), (c, c, v), (2 * c, v, c), (2 * c, c, k), (c, 2 * c, k)]  # their gradients
        products += [] if is_first else [(2 * c, k, v), (2 * c, v, k), (k, 2 * c, v)]  # reading the state
        products += [] if is_last else [(k, c, v), (c, k, v), (c, v, k)]  # writing it
        pairs += [(torch.randn(batch * heads, a, b), torch.randn(batch * heads, b, d)) for a, b, d in products]

    def run() -> None:
        for left, right in pairs:
            torch.bmm(left, right)

    return run


def bench_rule(shape: tuple[int, ...]) -> list[Row]:
    q, k, v, log_decay, beta = inputs = draw_inputs(shape)
    grad = torch.ones_like(v)

    def run_ours() -> None:
        torch.autograd.grad(chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta), inputs, grad)

    def run_theirs() -> None:
        torch.autograd.grad(transformers_rule(q, k, v, g=log_decay, beta=beta)[0], inputs, grad)

    ours, theirs, products = time_in_turn(run_ours, run_theirs, bare_products(shape))
    name = f"gated delta rule, forward and backward, B T H K V = {' '.join(map(str, shape))}"
    return [
        Row(name, "seconds of transformers' rule", f"{ours / theirs:.2f}", WANTED.get(shape, "")),
        Row(name, "seconds of its bare matrix products", f"{ours / products:.2f}"),
    ]
