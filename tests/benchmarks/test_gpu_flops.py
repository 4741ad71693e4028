"""Operations counted from shapes, against torch's counter on the plain network."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_flops import forward_flops, step_flops
from benchmarks.gpu_training import paper_baseline
from model.config import ModelConfig
from model.layers.gated_delta import CHUNK_SIZE
from model.studies.radio.network import Classifier, initialize

BATCH, SAMPLES, CLASSES = 4, 512, 3
TINY = ModelConfig(dim=16, depth=2, num_heads=2, head_dim=8, mlp_multiple=8, patch_size=8, patch_stride=4)


@pytest.fixture(scope="module")
def counted() -> tuple[dict[str, int], dict[str, int]]:
    """Operations of torch by name: of a forward pass, and of forward and backward."""
    network = Classifier(TINY, CLASSES, TINY.num_tokens(SAMPLES), "torch")
    initialize(network, 0)
    both = []
    for goes_back in (False, True):
        with FlopCounterMode(display=False) as counter:
            logits_BC, _ = network(torch.zeros(BATCH, 2, SAMPLES))
            if goes_back:
                logits_BC.sum().backward()
        both.append(
            {str(name).removeprefix("aten."): count for name, count in counter.get_flop_counts()["Global"].items()}
        )
    return both[0], both[1]


def test_patches_and_weights_are_counted_as_torch_counts_them(counted: tuple[dict[str, int], dict[str, int]]) -> None:
    forward, whole = counted
    ours = forward_flops(TINY, BATCH, SAMPLES, CLASSES)
    assert ours.patches + ours.linear == forward["mm"] + forward["addmm"]
    assert 2 * ours.patches + 3 * ours.linear == whole["mm"] + whole["addmm"]


def test_the_rule_is_counted_as_our_chunks_do_it(counted: tuple[dict[str, int], dict[str, int]]) -> None:
    forward, _ = counted
    chunk, heads = CHUNK_SIZE, BATCH * TINY.depth * TINY.num_heads
    # Our code leaves out the reads of the zero state before the first chunk, and the write after the last one.
    left_out = heads * 2 * 3 * chunk * TINY.head_dim * TINY.head_v_dim
    ours = forward_flops(TINY, BATCH, SAMPLES, CLASSES, chunk=chunk)
    assert TINY.num_tokens(SAMPLES) % chunk == 0
    assert ours.rule - left_out == forward["bmm"] + forward["baddbmm"]


def test_a_step_goes_forward_once_and_backward_twice_but_for_the_bursts() -> None:
    forward = forward_flops(TINY, BATCH, SAMPLES, CLASSES)
    assert step_flops(TINY, BATCH, SAMPLES, CLASSES) == 2 * forward.patches + 3 * (forward.linear + forward.rule)


def test_a_step_of_the_paper_is_about_four_teraflops() -> None:
    config = paper_baseline()
    assert step_flops(config.model, 128, config.data.samples, 10) == pytest.approx(3.9e12, rel=0.05)
