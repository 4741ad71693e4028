"""The gated delta rule (Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464), in two forms with one signature.

Each head has a state S [K, V]. A token has a query q, a key k, a value v, a log decay g <= 0 and a step size beta. It
changes the state and reads it:

    S <- exp(g) S                          forget

    S <- S + beta k (v - S^T k)^T          correct the value stored under k

    o  = S^T q / sqrt(K)                   read

`recurrent` is these three lines, and the reference of the tests. `chunked` gives the same outputs by matrix products
over chunks of tokens (eqs. 8-10 there). Its gradient is written out, and it trains on a CPU. On CUDA
`model.layers.blocks` uses fla's kernel; tests compare that kernel with both forms.

Letters: B bursts, T tokens, H heads, R = B * H rows, K key width, V value width. C is a chunk's tokens as rows, c the
same tokens as columns. X = 2C stacks a quantity of the queries on that of the keys.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_SIZE = 32
"""Fastest on CPUs at every shape tried, because a chunk's data stay in the cache."""


class GatedDeltaRule(Protocol):
    """The signature of both forms."""

    def __call__(
        self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, *, log_decay_BTH: Tensor, beta_BTH: Tensor
    ) -> Tensor:
        """Return the outputs [B, T, H, V]."""


def recurrent(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, *, log_decay_BTH: Tensor, beta_BTH: Tensor) -> Tensor:
    """Apply the rule token by token, in the precision of the inputs.

    Returns:
        Outputs [B, T, H, V].
    """
    batch, num_tokens, num_heads, key_width = q_BTHK.shape
    state_BHKV = v_BTHV.new_zeros(batch, num_heads, key_width, v_BTHV.shape[-1])
    outputs = []
    # Each token needs the state that the token before it has left. This loop is slow, and `chunked` avoids it.
    for t in range(num_tokens):
        state_BHKV = state_BHKV * log_decay_BTH[:, t].exp()[..., None, None]
        key_BHK = k_BTHK[:, t]
        predicted_BHV = torch.einsum("bhkv,bhk->bhv", state_BHKV, key_BHK)
        correction_BHV = beta_BTH[:, t, :, None] * (v_BTHV[:, t] - predicted_BHV)
        state_BHKV = state_BHKV + torch.einsum("bhk,bhv->bhkv", key_BHK, correction_BHV)
        outputs.append(torch.einsum("bhkv,bhk->bhv", state_BHKV, q_BTHK[:, t]))
    return torch.stack(outputs, dim=1) / math.sqrt(key_width)


def chunked(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, *, log_decay_BTH: Tensor, beta_BTH: Tensor) -> Tensor:
    """Apply the rule chunk by chunk, in fp32 or better: products inside a chunk, the state from chunk to chunk.

    It can be differentiated once. It ignores autocast, because a product of many decays needs full precision.

    Returns:
        Outputs [B, T, H, V], in the type of `v_BTHV`.
    """
    with torch.autocast(q_BTHK.device.type, enabled=False):
        return _chunked_rule(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH)


class _Chunk(NamedTuple):
    """One chunk's inputs for forward and backward. Both compute them, which costs less than keeping them."""

    qk_RXK: Tensor
    """Queries over sqrt(K), then keys times beta."""
    k_RCK: Tensor
    v_RCV: Tensor
    beta_RC1: Tensor
    from_start_RC1: Tensor
    """Share of the state at the chunk's start that is left at each token."""
    to_end_RC1: Tensor
    """Share of each token's write that is left at the chunk's end."""
    decay_RCc: Tensor
    """Share of the write of column token c that is left at row token C; 0 above the diagonal."""


class _Kept(NamedTuple):
    """What forward keeps of one chunk for the backward pass."""

    inverse_RCc: Tensor
    """(I + strictly lower part of the keys' pairs)^-1"""
    state_RKV: Tensor | None
    """The state at the chunk's start; None at the first chunk, where it is zero."""


def _spans(num_tokens: int) -> list[slice]:
    return [slice(start, min(start + CHUNK_SIZE, num_tokens)) for start in range(0, num_tokens, CHUNK_SIZE)]


def _rows(x_BTHD: Tensor, span: slice) -> Tensor:
    """Copy some tokens of [B, T, H, D] to [R, C, D], in fp32 or better."""
    part_BHCD = x_BTHD[:, span].transpose(1, 2)
    return part_BHCD.to(torch.promote_types(x_BTHD.dtype, torch.float32)).reshape(-1, *part_BHCD.shape[2:])


def _put(x_BTHD: Tensor, span: slice, rows_RCD: Tensor) -> None:
    """Write [R, C, D] into some tokens of [B, T, H, D]."""
    part_BHCD = x_BTHD[:, span].transpose(1, 2)
    part_BHCD.copy_(rows_RCD.view(part_BHCD.shape))


def _prepare(
    span: slice, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTH: Tensor, beta_BTH: Tensor
) -> _Chunk:
    k_RCK, beta_RC1 = _rows(k_BTHK, span), _rows(beta_BTH[..., None], span)
    q_RCK = _rows(q_BTHK, span) / math.sqrt(k_RCK.shape[-1])
    # Double precision, because differences of sums follow: at a log decay of -1e3 single precision has three digits.
    sums_RC1 = _rows(log_decay_BTH[..., None].double(), span).cumsum(1)
    return _Chunk(
        qk_RXK=torch.cat([q_RCK, k_RCK * beta_RC1], dim=1),
        k_RCK=k_RCK,
        v_RCV=_rows(v_BTHV, span),
        beta_RC1=beta_RC1,
        from_start_RC1=sums_RC1.exp().to(k_RCK.dtype),
        to_end_RC1=(sums_RC1[:, -1:] - sums_RC1).exp().to(k_RCK.dtype),
        # The clamp only meets entries above the diagonal: exp could overflow there, and `tril` removes them.
        decay_RCc=(sums_RC1 - sums_RC1.mT).clamp_(max=0).to(k_RCK.dtype).exp_().tril_(),
    )


def _scale_both(x_RXD: Tensor, factor_RCD: Tensor) -> Tensor:
    """Multiply the rows of the queries and those of the keys by the same factor, in place."""
    x_RXD.view(x_RXD.shape[0], 2, -1, x_RXD.shape[-1]).mul_(factor_RCD[:, None])
    return x_RXD


def _pairs(chunk: _Chunk) -> Tensor:
    """Return the decayed products of each query, then of each key times beta, with each key: [R, X, c]."""
    return _scale_both(torch.bmm(chunk.qk_RXK, chunk.k_RCK.mT), chunk.decay_RCc)


def _write(chunk: _Chunk, inverse_RCc: Tensor, said_RCV: Tensor | None) -> Tensor:
    """Return the write of each token under its key, [R, C, V]; each token corrects the writes before it in the chunk.

    `said_RCV` is beta times the value that the state at the chunk's start stores under each key.
    """
    # Eq. 8 there solves for all writes of a chunk at once: the inverse times what each token wants to add to the state.
    target_RCV = chunk.v_RCV * chunk.beta_RC1
    return torch.bmm(inverse_RCc, target_RCV if said_RCV is None else target_RCV.sub_(said_RCV))


def _forward_chunk(chunk: _Chunk, state_RKV: Tensor | None) -> tuple[Tensor, Tensor, _Kept]:
    """Return one chunk's outputs [R, C, V], its writes [R, C, V] and what the backward pass needs."""
    size = chunk.k_RCK.shape[1]
    pairs_RXc = _pairs(chunk)
    # Each token depends on the writes of all before it: a unit lower triangular system. Solving for the identity gives
    # the inverse, which forward and backward share. `unitriangular` takes the diagonal as 1 and does not read it.
    identity = torch.eye(size, dtype=pairs_RXc.dtype, device=pairs_RXc.device).expand_as(chunk.decay_RCc)
    inverse_RCc = torch.linalg.solve_triangular(pairs_RXc[:, size:], identity, upper=False, unitriangular=True)
    # The state is zero in the first chunk, so its products are left out.
    if state_RKV is None:
        written_RCV = _write(chunk, inverse_RCc, None)
        o_RCV = torch.bmm(pairs_RXc[:, :size], written_RCV)
    else:
        said_RXV = torch.bmm(_scale_both(chunk.qk_RXK, chunk.from_start_RC1), state_RKV)
        written_RCV = _write(chunk, inverse_RCc, said_RXV[:, size:])
        o_RCV = torch.baddbmm(said_RXV[:, :size], pairs_RXc[:, :size], written_RCV)
    return o_RCV, written_RCV, _Kept(inverse_RCc, state_RKV)


def _write_again(chunk: _Chunk, kept: _Kept) -> Tensor:
    """Compute the writes of a chunk again, [R, C, V]: two products instead of keeping the largest array."""
    if kept.state_RKV is None:
        return _write(chunk, kept.inverse_RCc, None)
    keys_RCK = chunk.qk_RXK[:, chunk.k_RCK.shape[1] :] * chunk.from_start_RC1
    return _write(chunk, kept.inverse_RCc, torch.bmm(keys_RCK, kept.state_RKV))


def _next_state(chunk: _Chunk, written_RCV: Tensor, state_RKV: Tensor | None) -> Tensor:
    # A write decays from its token to the chunk's end, the old state over the whole chunk.
    keys_RKC = (chunk.k_RCK * chunk.to_end_RC1).mT
    if state_RKV is None:
        return torch.bmm(keys_RKC, written_RCV)
    return torch.baddbmm(state_RKV * chunk.from_start_RC1[:, -1:], keys_RKC, written_RCV)


class _ChunkGrads(NamedTuple):
    """Gradients of one chunk's inputs and of the state at its start."""

    q_RCK: Tensor
    k_RCK: Tensor
    v_RCV: Tensor
    log_decay_RC1: Tensor
    beta_RC1: Tensor
    state_RKV: Tensor | None


def _backward_chunk(chunk: _Chunk, kept: _Kept, grad_o_RCV: Tensor, grad_next_RKV: Tensor | None) -> _ChunkGrads:
    """Go back through `_next_state` and `_forward_chunk`."""
    size, key_width = chunk.k_RCK.shape[1:]
    # The gradient flows in reverse: outputs and next state, then writes, then the triangular system, then its inputs.
    pairs_RXc, written_RCV = _pairs(chunk), _write_again(chunk, kept)
    grad_written_RCV = torch.bmm(pairs_RXc[:, :size].mT, grad_o_RCV)
    grad_sums_RC1, grad_k_RCK = torch.zeros_like(chunk.beta_RC1), torch.zeros_like(chunk.k_RCK)
    if grad_next_RKV is not None:
        grad_written_RCV.baddbmm_(chunk.k_RCK * chunk.to_end_RC1, grad_next_RKV)
        grad_k_RCK = _backward_keys(chunk, torch.bmm(written_RCV, grad_next_RKV.mT), grad_sums_RC1)
    # The gradient of a solve is a solve with the transposed matrix, and the inverse is already there.
    grad_target_RCV = torch.bmm(kept.inverse_RCc.mT, grad_written_RCV)
    # Reads of queries and corrections of keys enter every formula alike, except for the sign: one product serves both.
    grad_RXV = torch.cat([grad_o_RCV, -grad_target_RCV], dim=1)
    grad_pairs_RXc = torch.bmm(grad_RXV, written_RCV.mT)
    # A token corrects only the writes before it. The diagonal of the keys' pairs was never read.
    grad_pairs_RXc[:, size:].tril_(-1)
    _add_difference_sums(pairs_RXc.mul_(grad_pairs_RXc), grad_sums_RC1)
    _scale_both(grad_pairs_RXc, chunk.decay_RCc)
    grad_qk_RXK = torch.bmm(grad_pairs_RXc, chunk.k_RCK)
    grad_k_RCK.baddbmm_(grad_pairs_RXc.mT, chunk.qk_RXK)
    grad_state_RKV = None
    if kept.state_RKV is not None:
        grad_state_RKV = _backward_state(chunk, kept.state_RKV, grad_RXV, grad_qk_RXK, grad_sums_RC1)
        if grad_next_RKV is not None:
            _backward_keep(chunk, kept.state_RKV, grad_next_RKV, grad_state_RKV, grad_sums_RC1)
    grad_keys_RCK = grad_qk_RXK[:, size:]
    return _ChunkGrads(
        q_RCK=grad_qk_RXK[:, :size] / math.sqrt(key_width),
        k_RCK=grad_k_RCK.addcmul_(grad_keys_RCK, chunk.beta_RC1),
        v_RCV=grad_target_RCV * chunk.beta_RC1,
        # Every later sum holds a token's log decay, so its gradient is the sum of theirs: a reversed cumsum.
        log_decay_RC1=grad_sums_RC1.flip(1).cumsum(1).flip(1),
        beta_RC1=(grad_keys_RCK * chunk.k_RCK).sum(-1, keepdim=True)
        + (grad_target_RCV * chunk.v_RCV).sum(-1, keepdim=True),
        state_RKV=grad_state_RKV,
    )


def _add_difference_sums(weighted_RXc: Tensor, grad_sums_RC1: Tensor) -> None:
    """Add the gradient through exp(sums[C] - sums[c]) to that of the sums; it comes multiplied by that exponential."""
    size = weighted_RXc.shape[-1]
    # exp(a - b) has the derivative exp(a - b) by a and minus that by b, and the product with it is already here.
    grad_sums_RC1 += weighted_RXc.view(-1, 2, size, size).sum((1, 3))[..., None]
    grad_sums_RC1 -= weighted_RXc.sum(1)[..., None]


def _backward_keys(chunk: _Chunk, grad_keys_RCK: Tensor, grad_sums_RC1: Tensor) -> Tensor:
    """Go back through the decay of keys to the chunk's end; add to the sums' gradient, return the keys'."""
    grad_keys_RCK.mul_(chunk.to_end_RC1)
    weighted_RC1 = (grad_keys_RCK * chunk.k_RCK).sum(-1, keepdim=True)
    grad_sums_RC1 -= weighted_RC1
    grad_sums_RC1[:, -1:] += weighted_RC1.sum(1, keepdim=True)
    return grad_keys_RCK


def _backward_keep(
    chunk: _Chunk, state_RKV: Tensor, grad_next_RKV: Tensor, grad_state_RKV: Tensor, grad_sums_RC1: Tensor
) -> None:
    """Go back through the rest of the state at the chunk's end; add to the last two gradients."""
    grad_kept_RKV = grad_next_RKV * chunk.from_start_RC1[:, -1:]
    grad_sums_RC1[:, -1:] += (grad_kept_RKV * state_RKV).sum((1, 2))[:, None, None]
    grad_state_RKV += grad_kept_RKV


def _backward_state(
    chunk: _Chunk, state_RKV: Tensor, grad_RXV: Tensor, grad_qk_RXK: Tensor, grad_sums_RC1: Tensor
) -> Tensor:
    """Go back through the chunk's reads of the state; add to the last two gradients, return the state's."""
    grad_said_RXK = _scale_both(torch.bmm(grad_RXV, state_RKV.mT), chunk.from_start_RC1)
    weighted_RX = (grad_said_RXK * chunk.qk_RXK).sum(-1)
    grad_sums_RC1 += weighted_RX.view(weighted_RX.shape[0], 2, -1).sum(1)[..., None]
    grad_qk_RXK += grad_said_RXK
    return torch.bmm(_scale_both(chunk.qk_RXK, chunk.from_start_RC1).mT, grad_RXV)


class _ChunkedRule(torch.autograd.Function):
    """The rule over chunks. Its written-out backward keeps less memory and is faster than autograd's own."""

    @staticmethod
    def forward(
        ctx: Any, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTH: Tensor, beta_BTH: Tensor
    ) -> Tensor:
        inputs = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH)
        o_BTHV, state_RKV = torch.empty_like(v_BTHV), None
        kept: list[Tensor | None] = []
        for span in _spans(v_BTHV.shape[1]):
            chunk = _prepare(span, *inputs)
            o_RCV, written_RCV, of_chunk = _forward_chunk(chunk, state_RKV)
            _put(o_BTHV, span, o_RCV)
            kept += of_chunk
            # Nobody reads the state after the last chunk.
            if span.stop < v_BTHV.shape[1]:
                state_RKV = _next_state(chunk, written_RCV, state_RKV)
        ctx.save_for_backward(*inputs, *kept)
        return o_BTHV

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_o_BTHV: Tensor) -> tuple[Tensor, ...]:
        inputs, kept = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
        grads = tuple(torch.empty_like(x) for x in inputs)
        grad_state_RKV = None
        for number, span in reversed(list(enumerate(_spans(grad_o_BTHV.shape[1])))):
            of_chunk = _Kept(*kept[2 * number : 2 * number + 2])
            # A chunk's inputs are prepared again: it costs less time than keeping them costs memory.
            of_inputs = _backward_chunk(_prepare(span, *inputs), of_chunk, _rows(grad_o_BTHV, span), grad_state_RKV)
            grad_state_RKV = of_inputs.state_RKV
            for grad, rows in zip(grads, of_inputs[:5], strict=True):
                _put(grad if grad.dim() == 4 else grad[..., None], span, rows)
        return grads


_chunked_rule: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] = _ChunkedRule.apply
