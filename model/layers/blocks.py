"""The blocks of the backbone: on CUDA with the layers of fla and Liger, elsewhere with ours of the same parameters.

Letters: B bursts, T tokens, D width of a token, H heads, K key width, V value width.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.config import ModelConfig
from model.layers.attention import SoftmaxAttention
from model.layers.gated_delta import chunked
from model.layers.gating import gated_linear
from model.layers.mamba import build_fla_mamba2, build_plain_mamba2
from model.layers.norms import NORM_EPS, RMSNorm
from model.layers.residual import ResidualSum, skip_chance
from model.layers.short_convolution import ShortConvolution, convolve_together

L2_EPS = 1e-6
"""Added under the root when a key or a query is scaled to length 1, as in fla's kernel."""

Backend = Literal["torch", "fla"]


class UntrainableError(ValueError):
    """A network that cannot be trained as configured; its text is a sentence for the user."""


def refuse_untrainable(config: ModelConfig) -> None:
    """Refuse a network that fla refuses to train, on every backend.

    Raises:
        UntrainableError: names the knob, with fla's reason.
    """
    if config.mode != "chunk":
        # fla 0.6 raises this only without gradients. With gradients it silently uses `chunk` instead.
        raise UntrainableError(
            f"model.mode {config.mode} cannot be trained: fla's GatedDeltaNet says "
            '"Only chunk mode is supported in training." and its kernel has no gradient; use mode chunk'
        )


def backend_for(device: torch.device) -> Backend:
    """Return `fla` on CUDA, where Triton kernels run, else `torch`, plain PyTorch."""
    return "fla" if device.type == "cuda" else "torch"


class GatedDeltaNet(nn.Module):
    """Gated DeltaNet (arXiv 2412.06464, section 3), parameter for parameter as fla's layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.beta_scale = 2.0 if config.allow_neg_eigval else 1.0
        dim, key_dim, value_dim = config.dim, config.num_heads * config.head_dim, config.num_heads * config.head_v_dim
        self.q_proj = nn.Linear(dim, key_dim, bias=False)
        self.k_proj = nn.Linear(dim, key_dim, bias=False)
        self.v_proj = nn.Linear(dim, value_dim, bias=False)
        self.a_proj = nn.Linear(dim, config.num_heads, bias=False)
        self.b_proj = nn.Linear(dim, config.num_heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(config.num_heads))
        self.dt_bias = nn.Parameter(torch.empty(config.num_heads))
        self.q_conv1d = ShortConvolution(key_dim, config.conv_size, bias=config.conv_bias)
        self.k_conv1d = ShortConvolution(key_dim, config.conv_size, bias=config.conv_bias)
        self.v_conv1d = ShortConvolution(value_dim, config.conv_size, bias=config.conv_bias)
        self.g_proj = nn.Linear(dim, value_dim, bias=False)
        self.o_norm = RMSNorm(config.head_v_dim)
        self.o_proj = nn.Linear(value_dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix tokens causally; [B, T, D] in and out."""
        # One product and one convolution for query, key and value: fewer and larger operations are faster.
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        qkv_BTD = convolve_together(F.linear(x_BTD, weight), self.q_conv1d, self.k_conv1d, self.v_conv1d)
        key_dim = self.num_heads * self.head_dim
        q_BTHK = _unit(self._heads(qkv_BTD[..., :key_dim]))
        k_BTHK = _unit(self._heads(qkv_BTD[..., key_dim : 2 * key_dim]))
        # A copy. A view would keep the whole array, with queries and keys before normalising, alive until the backward.
        v_BTHV = self._heads(qkv_BTD[..., 2 * key_dim :]).contiguous()
        beta_BTH = self.beta_scale * torch.sigmoid(_single_or_wider(self.b_proj(x_BTD)))
        # In fp32 even under autocast: rounding errors add up in a product of hundreds of decays.
        log_decay_BTH = -self.A_log.exp() * F.softplus(_single_or_wider(self.a_proj(x_BTD)) + self.dt_bias)
        o_BTHV = chunked(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH=log_decay_BTH, beta_BTH=beta_BTH)
        return gated_linear(self.o_norm(o_BTHV).flatten(2), self.g_proj(x_BTD), self.o_proj.weight)

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.reshape(*x_BTD.shape[:2], self.num_heads, -1)


class _Unit(torch.autograd.Function):
    """x over its length. The backward reads the result, which the rule keeps anyway, and the length."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        per_length = torch.rsqrt(x.square().sum(-1, keepdim=True) + L2_EPS)
        unit = x * per_length
        ctx.save_for_backward(unit, per_length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        unit, per_length = ctx.saved_tensors
        return torch.addcmul(grad, unit, (unit * grad).sum(-1, keepdim=True), value=-1).mul_(per_length)


_per_length: Callable[[Tensor], Tensor] = _Unit.apply


def _unit(x: Tensor) -> Tensor:
    """Scale the last dimension to length 1, in fp32 or wider."""
    return _per_length(_single_or_wider(x))


def _single_or_wider(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class GatedMLP(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.dim, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each token by itself; [B, T, D] in and out."""
        return gated_linear(self.up_proj(x_BTD), self.gate_proj(x_BTD), self.down_proj.weight)


class Block(nn.Module):
    """Norm, token mixing, residual; norm, gated MLP, residual."""

    def __init__(self, config: ModelConfig, backend: Backend, number: int) -> None:
        """Build the block with this number; block 1 reads the patch tokens."""
        super().__init__()
        skip = skip_chance(config.stochastic_depth, number, config.depth)
        self.attn_norm = build_norm(config.dim, backend)
        self.attn = build_token_mixer(config, backend, number)
        self.mlp_norm = build_norm(config.dim, backend)
        self.mlp = GatedMLP(config)
        self.residual = ResidualSum(dropout=config.resid_dropout, skip=skip)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] in and out."""
        mixed = self.attn(self.attn_norm(x_BTD))
        # fla's layers return (output, attentions, cache).
        x_BTD = self.residual(x_BTD, mixed[0] if isinstance(mixed, tuple) else mixed)
        return torch.as_tensor(self.residual(x_BTD, self.mlp(self.mlp_norm(x_BTD))))


def build_norm(width: int, backend: Backend) -> nn.Module:
    """Build an RMSNorm with one parameter, `weight` [width]."""
    if backend == "torch":
        return RMSNorm(width)
    from liger_kernel.transformers import LigerRMSNorm  # CUDA only; a CPU run never imports it

    # Not in place, because the residual needs the block's input again.
    norm: nn.Module = LigerRMSNorm(width, eps=NORM_EPS, in_place=False)
    return norm


def build_token_mixer(config: ModelConfig, backend: Backend, number: int) -> nn.Module:
    """Build the token mixer of a block, counted from 1: [B, T, D] in and out. fla's returns a tuple that starts so."""
    if config.softmax_every is not None and number % config.softmax_every == 0:
        return SoftmaxAttention(config)
    if config.mixer == "mamba2":
        return build_plain_mamba2(config) if backend == "torch" else build_fla_mamba2(config)
    return GatedDeltaNet(config) if backend == "torch" else build_fla_gated_delta_net(config)


def build_fla_gated_delta_net(config: ModelConfig) -> nn.Module:
    """Build fla's gated delta net."""
    from fla.layers.gated_deltanet import GatedDeltaNet as FlaGatedDeltaNet  # CUDA only; takes seconds to import

    mixer: nn.Module = FlaGatedDeltaNet(
        mode=config.mode,
        hidden_size=config.dim,
        expand_v=config.expand_v,
        head_dim=config.head_dim,
        num_heads=config.num_heads,
        allow_neg_eigval=config.allow_neg_eigval,
        conv_size=config.conv_size,
        conv_bias=config.conv_bias,
        norm_eps=NORM_EPS,
    )
    return mixer
