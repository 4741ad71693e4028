"""The rules that are timed, on a CPU."""

import torch

from benchmarks.gpu_rule import attention, compare_rules, draw_inputs, measure_product, our_rule
from model.config import JobConfig

CPU = torch.device("cpu")


def test_inputs_have_the_networks_shape(tiny_config: JobConfig) -> None:
    q, k, v, log_decay, beta = draw_inputs(tiny_config, CPU)
    assert q.shape == k.shape == (8, 12, 2, 8)
    assert v.shape == (8, 12, 2, 16)
    assert log_decay.shape == beta.shape == (8, 12, 2)
    assert (q.dtype, log_decay.dtype) == (torch.bfloat16, torch.float32)
    assert (log_decay <= 0).all()
    assert ((beta >= 0) & (beta <= 1)).all()


def test_rules_go_forward_and_backward(tiny_config: JobConfig) -> None:
    inputs = draw_inputs(tiny_config, CPU)
    for make in (our_rule, attention):
        make(inputs)()
    assert all(x.grad is None for x in inputs), "gradients are not added up from round to round"


def test_without_cuda_flas_kernel_is_left_out(tiny_config: JobConfig) -> None:
    rows = list(compare_rules(tiny_config, CPU))
    assert [row.what for row in rows] == [
        "forward and backward, torch's fused softmax attention",
        "forward and backward, our chunked rule in fp32",
    ]
    assert {row.against for row in rows} == {"B 8, T 12, H 2, K 8, V 16; bf16"}


def test_a_product_has_a_rate() -> None:
    assert measure_product(CPU, 32) > 0
