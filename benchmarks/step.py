"""A training step of profile quick, against transformers' rule and against fading computed at every sample."""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

import model.layers.blocks
from benchmarks.rule import transformers_rule
from benchmarks.timing import ROUNDS, Row, time_in_turn
from model.augment import build_augment
from model.augment.channel import Multipath
from model.config import AugmentConfig, ModelConfig
from model.studies.radio.network import Classifier, initialize

QUICK = ModelConfig(dim=64, depth=2, num_heads=4, head_dim=16, mlp_multiple=32)
BATCH, SAMPLES, CLASSES = 64, 1024, 10


def _rule_of_transformers(q: Tensor, k: Tensor, v: Tensor, *, log_decay_BTH: Tensor, beta_BTH: Tensor) -> Tensor:
    output: Tensor = transformers_rule(q, k, v, g=log_decay_BTH, beta=beta_BTH)[0]
    return output


def with_transformers_rule() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(model.layers.blocks, "chunked", _rule_of_transformers)


@contextlib.contextmanager
def as_in_the_source() -> Iterator[None]:
    """Use transformers' rule, and compute fading at every sample."""
    with with_transformers_rule(), mock.patch.object(Multipath, "grid_step_samples", return_value=1):
        yield


def build_step() -> tuple[Callable[[], None], Callable[[], object]]:
    """Return a training step, from augmentation to optimiser, and its augmentation alone."""
    network = Classifier(QUICK, CLASSES, QUICK.num_tokens(SAMPLES), "torch")
    initialize(network, 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    augment = build_augment(AugmentConfig(), 1e6)
    augment.start_epoch(0, 1, torch.device("cpu"))
    x_B2L = torch.randn(BATCH, 2, SAMPLES, generator=torch.Generator().manual_seed(0))
    class_B = torch.arange(BATCH) % CLASSES

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(augment(x_B2L)[0])[0], class_B).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step, lambda: augment(x_B2L)


def bench_step() -> list[Row]:
    """Measure on one thread, as each of two jobs has on two cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    step, augment = build_step()

    def step_of_the_source() -> None:
        with as_in_the_source():
            step()

    ours, theirs, augmenting = time_in_turn(step, step_of_the_source, augment, rounds=3 * ROUNDS)
    torch.set_num_threads(threads)
    against = "seconds with transformers' rule, fading at every sample"
    return [
        Row("a training step of profile quick, one thread", against, f"{ours / theirs:.2f}", "at most 0.5"),
        Row("its augmentation", "seconds of the step", f"{augmenting / ours:.2f}", "at most 0.15"),
    ]
