"""The gated delta rule (Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464), twice behind one signature.

With a state S [K, V] for each head, a token with query q, key k, value v, log decay g <= 0 and step size beta does

    S <- exp(g) S                          forget
    S <- S + beta k (v - S^T k)^T          correct what the state says about k
    o  = S^T q / sqrt(K)                   read

`recurrent` says just that and is the truth. `chunked` computes the same by matrix products over chunks of tokens
(eqs. 8-10 there) and is what trains on a CPU. On CUDA `model.layers` uses fla's kernel; tests compare it with both.

Letters: B bursts, T tokens, H heads, K key width, V value width, N chunks, C tokens of a chunk (rows), c the same
tokens (columns).
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_SIZE = 64


class GatedDeltaRule(Protocol):
    """What both forms promise."""

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
    for t in range(num_tokens):
        state_BHKV = state_BHKV * log_decay_BTH[:, t].exp()[..., None, None]
        key_BHK = k_BTHK[:, t]
        predicted_BHV = torch.einsum("bhkv,bhk->bhv", state_BHKV, key_BHK)
        correction_BHV = beta_BTH[:, t, :, None] * (v_BTHV[:, t] - predicted_BHV)
        state_BHKV = state_BHKV + torch.einsum("bhk,bhv->bhkv", key_BHK, correction_BHV)
        outputs.append(torch.einsum("bhkv,bhk->bhv", state_BHKV, q_BTHK[:, t]))
    return torch.stack(outputs, dim=1) / math.sqrt(key_width)


def chunked(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, *, log_decay_BTH: Tensor, beta_BTH: Tensor) -> Tensor:
    """Apply the rule chunk by chunk, in fp32 or better: products inside a chunk, the state from one to the next.

    Returns:
        Outputs [B, T, H, V], in the type of `v_BTHV`.
    """
    num_tokens = q_BTHK.shape[1]
    size = min(CHUNK_SIZE, num_tokens)
    q, k, v = (_split(x, size) for x in (q_BTHK, k_BTHK, v_BTHV))
    beta_BHNC1 = _split(beta_BTH[..., None], size)
    # In double precision, since differences of sums are taken: past a decay of -1e3 single precision has three digits.
    sums_BHNC = _split(log_decay_BTH[..., None].double(), size).squeeze(-1).cumsum(-1)
    decay_BHNCc = _decay_between(sums_BHNC, q.dtype)

    q = q / math.sqrt(q.shape[-1])
    k_beta = k * beta_BHNC1
    within = (k_beta @ k.mT) * decay_BHNCc
    scores = (q @ k.mT) * decay_BHNCc
    if num_tokens <= size:
        # One chunk has no state before it: nothing to read, nothing to pass on.
        o_BHNCV = scores @ _solve_within_chunk(within, v * beta_BHNC1)
    else:
        from_start = sums_BHNC.exp().to(q.dtype)[..., None]
        to_end = (sums_BHNC[..., -1:] - sums_BHNC).exp().to(q.dtype)[..., None]
        both = _solve_within_chunk(within, torch.cat([v * beta_BHNC1, k_beta * from_start], dim=-1))
        values, reads = both[..., : v.shape[-1]], both[..., v.shape[-1] :]
        o_BHNCV = _pass_state(values, reads, scores, q * from_start, keys=k * to_end, keep=from_start[..., -1:, :])
    return o_BHNCV.flatten(2, 3)[:, :, :num_tokens].transpose(1, 2).to(v_BTHV.dtype)


def _split(x_BTHD: Tensor, size: int) -> Tensor:
    """Cut [B, T, H, D] into chunks [B, H, N, C, D]; a last chunk is filled with tokens that do nothing (beta = 0)."""
    batch, num_tokens, num_heads, width = x_BTHD.shape
    x_BHTD = F.pad(x_BTHD.transpose(1, 2), (0, 0, 0, -num_tokens % size))
    x_BHNCD = x_BHTD.reshape(batch, num_heads, -1, size, width)
    return x_BHNCD.to(torch.promote_types(x_BTHD.dtype, torch.float32))


def _decay_between(sums_BHNC: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is left at row token C of what column token c wrote: exp of the decay after c up to C, 0 above."""
    gap_BHNCc = (sums_BHNC[..., :, None] - sums_BHNC[..., None, :]).to(dtype)
    size = sums_BHNC.shape[-1]
    future = torch.ones(size, size, dtype=torch.bool, device=sums_BHNC.device).triu(1)
    # Masked before exp: a difference into the future is positive and may overflow, and its gradient with it.
    return gap_BHNCc.masked_fill(future, -torch.inf).exp()


def _solve_within_chunk(within_BHNCc: Tensor, x_BHNCD: Tensor) -> Tensor:
    """Undo that each token corrects what the tokens before it in the chunk wrote: (I + strictly lower part)^-1 x."""
    # `unitriangular` leaves the diagonal unread and takes it as 1.
    solved: Tensor = torch.linalg.solve_triangular(within_BHNCc, x_BHNCD, upper=False, unitriangular=True)
    return solved


def _pass_state(
    values_BHNCV: Tensor,
    reads_BHNCK: Tensor,
    scores_BHNCc: Tensor,
    queries_BHNCK: Tensor,
    *,
    keys: Tensor,
    keep: Tensor,
) -> Tensor:
    """Carry the state through the chunks and read it at each token."""
    num_chunks = values_BHNCV.shape[2]
    state_BHKV: Tensor | None = None
    outputs = []
    for n in range(num_chunks):
        written = values_BHNCV[:, :, n]
        if state_BHKV is not None:
            written = written - reads_BHNCK[:, :, n] @ state_BHKV
        output = scores_BHNCc[:, :, n] @ written
        update = keys[:, :, n].mT @ written
        if state_BHKV is not None:
            output = output + queries_BHNCK[:, :, n] @ state_BHKV
            update = update + keep[:, :, n] * state_BHKV
        state_BHKV = update
        outputs.append(output)
    return torch.stack(outputs, dim=2)
