"""`make bench`: speed as ratios measured within one run, since seconds of one machine mean nothing on another."""

import inspect
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

from model.augment import build_augment
from model.classifier import Classifier, initialize
from model.config import AugmentConfig, ModelConfig
from model.gated_delta import chunked

SHAPES = ((8, 257, 8, 64, 128), (64, 65, 4, 16, 32), (64, 32, 4, 16, 32))
"""Bursts, tokens, heads, key width, value width; the last one is profile quick's."""
ROUNDS = 7


def time_interleaved(*functions: Callable[[], object]) -> list[float]:
    """Return the median seconds of each function, called in turn so that a slow moment hits all of them."""
    seconds: list[list[float]] = [[] for _ in functions]
    for round_number in range(ROUNDS + 2):
        for function, taken in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if round_number >= 2:
                taken.append(time.perf_counter() - started)
    return [median(taken) for taken in seconds]


def rule_inputs(shape: tuple[int, ...]) -> list[Tensor]:
    batch, tokens, heads, key_width, value_width = shape
    stream = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=stream)

    q, k = (F.normalize(draw(batch, tokens, heads, key_width), dim=-1) for _ in range(2))
    v = draw(batch, tokens, heads, value_width)
    log_decay, beta = -F.softplus(draw(batch, tokens, heads)), draw(batch, tokens, heads).sigmoid()
    return [x.requires_grad_() for x in (q, k, v, log_decay, beta)]


def bench_rule(shape: tuple[int, ...]) -> str:
    q, k, v, log_decay, beta = inputs = rule_inputs(shape)
    theirs = inspect.unwrap(torch_chunk_gated_delta_rule)
    grad = torch.ones_like(v)

    def run_ours() -> None:
        torch.autograd.grad(chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta), inputs, grad)

    def run_theirs() -> None:
        torch.autograd.grad(theirs(q, k, v, g=log_decay, beta=beta)[0], inputs, grad)

    ours_seconds, theirs_seconds = time_interleaved(run_ours, run_theirs)
    return f"| gated delta rule {shape}, forward and backward | transformers' | {ours_seconds / theirs_seconds:.2f} |"


def bench_augmentation() -> str:
    config = ModelConfig(dim=64, depth=2, num_heads=4, head_dim=16, mlp_multiple=32)
    model = Classifier(config, 10, "torch")
    initialize(model, 0)
    augment = build_augment(AugmentConfig(), 1e6)
    augment.start_epoch(0, 1, torch.device("cpu"))
    x_B2L = torch.randn(64, 2, 1024, generator=torch.Generator().manual_seed(0))
    class_B = torch.arange(64) % 10

    def run_step() -> None:
        F.cross_entropy(model(x_B2L)[0], class_B).backward()

    step_seconds, augment_seconds = time_interleaved(run_step, lambda: augment(x_B2L))
    ratio = augment_seconds / step_seconds
    return f"| augmentation of a batch of profile quick | its forward and backward | {ratio:.2f} |"


def main() -> int:
    """Print a Markdown table of ratios."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {ROUNDS} rounds\n")
    print("| what | against | ratio of seconds |\n| --- | --- | --- |")
    for shape in SHAPES:
        print(bench_rule(shape), flush=True)
    print(bench_augmentation())
    return 0


if __name__ == "__main__":
    sys.exit(main())
