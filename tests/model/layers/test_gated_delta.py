"""Law 9 of DESIGN.md: "`chunked` equals `recurrent`, and both equal the fla kernel." Here its first half."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.layers.gated_delta import CHUNK_SIZE, GatedDeltaRule, chunked, recurrent

NAMES = ("q_BTHK", "k_BTHK", "v_BTHV", "log_decay_BTH", "beta_BTH")

LENGTHS = [1, 2, 17, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 2 * CHUNK_SIZE + 37]
DECAYS = ["none", "mild", "strong", "total", "mixed"]
BETAS = ["zero", "one", "two", "between"]
KEYS = ["drawn", "repeated", "axes"]

lengths = st.sampled_from(LENGTHS)
decays = st.sampled_from(DECAYS)
betas = st.sampled_from(BETAS)
key_kinds = st.sampled_from(KEYS)
seeds = st.integers(0, 2**32 - 1)
widths = st.tuples(st.integers(1, 9), st.integers(1, 9))


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def build_inputs(
    num_tokens: int, decay: str, beta: str, keys: str, seed: int, *, widths: tuple[int, int] = (6, 5)
) -> list[Tensor]:
    """Draw q, k, v, log decay and beta in float64, as a layer makes them: queries and keys of length 1."""
    stream = torch.Generator().manual_seed(seed)
    key_width, value_width = widths

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream, dtype=torch.float64)

    shape = (2, num_tokens, 2)
    k_BTHK = unit(normal(*shape, key_width))
    if keys == "repeated":
        k_BTHK = k_BTHK[:, :1].expand(*shape, key_width).clone()
    elif keys == "axes":
        k_BTHK = torch.eye(key_width, dtype=torch.float64)[torch.randint(key_width, shape, generator=stream)]
    uniform_BTH = torch.rand(shape, generator=stream, dtype=torch.float64)
    choices = torch.tensor([0.0, -1e-3, -1.0, -50.0, -1e3], dtype=torch.float64)
    log_decay_BTH = {
        "none": torch.zeros_like(uniform_BTH),
        "mild": -0.1 * uniform_BTH,
        "strong": -20 * uniform_BTH,
        "total": torch.full_like(uniform_BTH, -1e3),
        "mixed": choices[torch.randint(len(choices), shape, generator=stream)],
    }[decay]
    beta_BTH = {
        "zero": torch.zeros_like(uniform_BTH),
        "one": torch.ones_like(uniform_BTH),
        "two": torch.full_like(uniform_BTH, 2.0),
        "between": 2 * torch.rand(shape, generator=stream, dtype=torch.float64),
    }[beta]
    return [unit(normal(*shape, key_width)), k_BTHK, normal(*shape, value_width), log_decay_BTH, beta_BTH]


def run(rule: GatedDeltaRule, inputs: list[Tensor]) -> dict[str, Tensor]:
    """Return the outputs and the gradient of each input, of a sum with fixed random weights."""
    leaves = dict(zip(NAMES, (x.clone().requires_grad_() for x in inputs), strict=True))
    o_BTHV = rule(
        leaves["q_BTHK"],
        leaves["k_BTHK"],
        leaves["v_BTHV"],
        log_decay_BTH=leaves["log_decay_BTH"],
        beta_BTH=leaves["beta_BTH"],
    )
    weights = torch.randn(o_BTHV.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad((o_BTHV * weights.to(o_BTHV.dtype)).sum(), list(leaves.values()))
    return {"output": o_BTHV.detach(), **dict(zip(NAMES, gradients, strict=True))}


def largest_errors(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Largest error of each tensor, over the larger of 1 and its largest entry: the inputs' own scale is 1."""
    return {
        name: float((actual[name].double() - expected[name]).abs().max() / expected[name].abs().max().clamp(min=1.0))
        for name in expected
    }


@settings(deadline=None, max_examples=30)
@given(lengths, decays, betas, key_kinds, seeds, widths)
@example(CHUNK_SIZE, "total", "two", "repeated", 0, (4, 8))
@example(2 * CHUNK_SIZE + 37, "mixed", "two", "axes", 1, (8, 4))
@example(1, "none", "one", "drawn", 2, (1, 1))
def test_chunked_equals_recurrent_in_outputs_and_all_gradients(
    num_tokens: int, decay: str, beta: str, keys: str, seed: int, widths: tuple[int, int]
) -> None:
    inputs = build_inputs(num_tokens, decay, beta, keys, seed, widths=widths)
    errors = largest_errors(run(chunked, inputs), run(recurrent, inputs))
    assert max(errors.values()) < 5e-12, errors


@settings(deadline=None, max_examples=20)
@given(lengths, decays, betas, key_kinds, seeds)
@example(2 * CHUNK_SIZE + 37, "mixed", "two", "drawn", 0)
def test_chunked_in_single_precision_stays_close_to_recurrent_in_double(
    num_tokens: int, decay: str, beta: str, keys: str, seed: int
) -> None:
    inputs = build_inputs(num_tokens, decay, beta, keys, seed)
    single = run(chunked, [x.float() for x in inputs])
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in single.values())
    # The truth starts from the same rounded inputs, so that only the arithmetic differs.
    errors = largest_errors(single, run(recurrent, [x.float().double() for x in inputs]))
    assert max(errors.values()) < 5e-5, errors


@pytest.mark.parametrize("rule", [recurrent, chunked])
def test_the_last_value_written_under_a_key_is_read_back(rule: GatedDeltaRule) -> None:
    # With beta 1 and no decay a write replaces what the state said about its key.
    _, k, v, log_decay, beta = build_inputs(CHUNK_SIZE + 3, "none", "one", "repeated", 0, widths=(4, 5))
    o_BTHV = rule(k, k, v, log_decay_BTH=log_decay, beta_BTH=beta)
    torch.testing.assert_close(o_BTHV, v / math.sqrt(4), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [recurrent, chunked])
def test_a_step_of_two_reflects_the_state_along_the_key(rule: GatedDeltaRule) -> None:
    # S <- S + 2 k (v - S^T k)^T turns S^T k into 2 v - S^T k: an eigenvalue of -1.
    _, k, v, log_decay, beta = build_inputs(3, "none", "two", "repeated", 0, widths=(4, 5))
    o_BTHV = rule(k, k, v, log_decay_BTH=log_decay, beta_BTH=beta) * math.sqrt(4)
    said_BHV = torch.zeros_like(v[:, 0])
    for t in range(3):
        said_BHV = 2 * v[:, t] - said_BHV
        torch.testing.assert_close(o_BTHV[:, t], said_BHV, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [recurrent, chunked])
def test_a_decay_multiplies_what_was_written_before_it(rule: GatedDeltaRule) -> None:
    _, k, v, log_decay, beta = build_inputs(CHUNK_SIZE + 2, "none", "zero", "repeated", 0, widths=(4, 5))
    beta[:, 0] = 1.0
    log_decay[:, 1:] = math.log(0.9)
    o_BTHV = rule(k, k, v, log_decay_BTH=log_decay, beta_BTH=beta) * math.sqrt(4)
    kept_T = 0.9 ** torch.arange(CHUNK_SIZE + 2, dtype=torch.float64)
    torch.testing.assert_close(o_BTHV, kept_T[None, :, None, None] * v[:, :1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [recurrent, chunked])
def test_nothing_written_is_nothing_read(rule: GatedDeltaRule) -> None:
    q, k, v, log_decay, beta = build_inputs(CHUNK_SIZE + 3, "mild", "zero", "drawn", 0)
    assert not rule(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta).any()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 2 * CHUNK_SIZE), seeds)
def test_a_later_token_changes_no_earlier_output(changed: int, seed: int) -> None:
    inputs = build_inputs(2 * CHUNK_SIZE + 1, "mild", "between", "drawn", seed)
    others = build_inputs(2 * CHUNK_SIZE + 1, "strong", "between", "drawn", seed + 1)
    mixed = [torch.cat([x[:, :changed], y[:, changed:]], dim=1) for x, y in zip(inputs, others, strict=True)]
    before, after = (run(chunked, x)["output"] for x in (inputs, mixed))
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed:], after[:, changed:])


def test_half_precision_is_only_the_type_of_inputs_and_outputs() -> None:
    inputs = [x.bfloat16() for x in build_inputs(CHUNK_SIZE + 5, "mild", "between", "drawn", 0)]
    q, k, v, log_decay, beta = inputs
    half_BTHV = chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta)
    q, k, v, log_decay, beta = (x.float() for x in inputs)
    single_BTHV = chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta)
    assert half_BTHV.dtype == torch.bfloat16
    assert torch.equal(half_BTHV, single_BTHV.bfloat16())


def test_autocast_changes_no_digit() -> None:
    q, k, v, log_decay, beta = (x.float() for x in build_inputs(CHUNK_SIZE + 5, "mild", "between", "drawn", 0))
    plain = chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta), plain)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    q, k, v, log_decay, beta = build_inputs(3, "mild", "between", "drawn", 0)
    q.requires_grad_()
    outputs = chunked(q, k, v, log_decay_BTH=log_decay, beta_BTH=beta)
    (grad,) = torch.autograd.grad(outputs.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_what_is_kept_for_the_backward_grows_with_tokens_not_with_their_square() -> None:
    """An attention of all tokens with all others would keep four times as much for twice the tokens."""

    def kept_numbers(num_tokens: int) -> int:
        sizes: list[int] = []
        inputs = [x.requires_grad_() for x in build_inputs(num_tokens, "mild", "between", "drawn", 0)]
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            chunked(*inputs[:3], log_decay_BTH=inputs[3], beta_BTH=inputs[4])
        return sum(sizes)

    first, second = kept_numbers(2 * CHUNK_SIZE), kept_numbers(4 * CHUNK_SIZE)
    assert second < 2.5 * first
