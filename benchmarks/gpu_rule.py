"""The gated delta rule of fla beside ours and beside softmax attention, and a large matrix product.

Letters as in model/layers/gated_delta.py.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu_clock import kernel_seconds
from benchmarks.gpu_rows import rule_row
from benchmarks.timing import Row
from model.config import JobConfig
from model.layers.gated_delta import chunked

ROUNDS = 10
MATRIX_SIZE, PRODUCTS = 8192, 20
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


class RuleInputs(NamedTuple):
    """Inputs of a rule; queries and keys have length 1."""

    q_BTHK: Tensor
    k_BTHK: Tensor
    v_BTHV: Tensor
    log_decay_BTH: Tensor
    beta_BTH: Tensor


def draw_inputs(config: JobConfig, device: torch.device) -> RuleInputs:
    """Draw inputs of a block of the network, in bf16; decay and step size are in fp32, as in fla's layer."""
    shape = (config.optim.batch_size, config.model.num_tokens(config.data.samples), config.model.num_heads)
    stream = torch.Generator(device).manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*shape, *size, generator=stream, device=device)

    q, k = (F.normalize(draw(config.model.head_dim), dim=-1).bfloat16() for _ in range(2))
    v = draw(config.model.head_v_dim).bfloat16()
    inputs = RuleInputs(q, k, v, log_decay_BTH=-F.softplus(draw()), beta_BTH=draw().sigmoid())
    return RuleInputs(*(x.requires_grad_() for x in inputs))


def compare_rules(config: JobConfig, device: torch.device) -> Iterator[Row]:
    """Yield the time of each rule, forward and backward."""
    inputs = draw_inputs(config, device)
    batch, tokens, heads, value_width = inputs.v_BTHV.shape
    shape = f"B {batch}, T {tokens}, H {heads}, K {inputs.q_BTHK.shape[-1]}, V {value_width}; bf16"
    fla_seconds = None
    if device.type == "cuda":
        fla_seconds = kernel_seconds(device, fla_rule(inputs), ROUNDS)
        yield rule_row("fla's chunked kernel", shape, fla_seconds, None)
    yield rule_row(
        "torch's fused softmax attention", shape, kernel_seconds(device, attention(inputs), ROUNDS), fla_seconds
    )
    yield rule_row("our chunked rule in fp32", shape, kernel_seconds(device, our_rule(inputs), ROUNDS), fla_seconds)


def fla_rule(inputs: RuleInputs) -> Callable[[], None]:
    # fla takes seconds to import, and its kernels run on CUDA alone.
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    q, k, v, log_decay, beta = inputs
    # The state's layout is that of fla's layer, so that both use the same kernels.
    return differentiate(lambda: chunk_gated_delta_rule(q, k, v, log_decay, beta, state_v_first=True)[0], inputs)


def our_rule(inputs: RuleInputs) -> Callable[[], None]:
    q, k, v, log_decay, beta = inputs
    return differentiate(lambda: chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta), inputs)


def attention(inputs: RuleInputs) -> Callable[[], None]:
    """Return causal softmax attention over the same queries, keys and values; on CUDA by a fused kernel."""
    q, k, v = (x.detach().transpose(1, 2).contiguous().requires_grad_() for x in inputs[:3])

    def attend() -> Tensor:
        # Without this, torch may fall back to plain products, which are no fair comparison.
        with sdpa_kernel(FUSED) if q.device.type == "cuda" else contextlib.nullcontext():
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return differentiate(attend, (q, k, v))


def differentiate(compute: Callable[[], Tensor], inputs: tuple[Tensor, ...]) -> Callable[[], None]:
    """Return a function that goes forward and backward."""
    grad = torch.ones_like(compute())

    def there_and_back() -> None:
        torch.autograd.grad(compute(), inputs, grad)

    return there_and_back


def measure_product(device: torch.device, size: int = MATRIX_SIZE) -> float:
    """Return the TFLOP/s of a product of two square bf16 matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = kernel_seconds(device, lambda: left @ right, PRODUCTS)
    return 2 * math.pow(size, 3) / seconds / 1e12
