"""The blocks of the backbone. On CUDA fla's GatedDeltaNet and Liger's RMSNorm; elsewhere our own, same parameters.

Letters: B bursts, T tokens, D width of a token, H heads, K key width, V value width, W taps of a short convolution.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.gated_delta import chunked

NORM_EPS = 1e-5
L2_EPS = 1e-6
"""Under the root of the key's and query's length, as in fla's kernel."""

Backend = Literal["torch", "fla"]


def backend_for(device: torch.device) -> Backend:
    """Triton kernels run on CUDA only; everything else takes the plain PyTorch path."""
    return "fla" if device.type == "cuda" else "torch"


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension; any shape in, the same shape out."""
        # Under autocast the weight follows the tokens; PyTorch warns and takes a slow path where types differ.
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), NORM_EPS)


class GatedRMSNorm(RMSNorm):
    """RMSNorm of the heads' outputs, times a SiLU gate."""

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Normalise `x` [..., V] and gate it with `gate` [..., V]."""
        normed = super().forward(x)
        return normed if gate is None else normed * F.silu(gate)


class _CausalConvSilu(torch.autograd.Function):
    """SiLU of a causal convolution of each channel by itself, as a sum of shifted products.

    Written out because it is twice as fast on a CPU as a grouped convolution, and keeps one intermediate instead of one
    for each tap.
    """

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, taps_WD: Tensor, bias_D: Tensor | None) -> Tensor:
        size, num_tokens = taps_WD.shape[0], x_BTD.shape[1]
        padded = F.pad(x_BTD, (0, 0, size - 1, 0))
        y_BTD = padded[:, :num_tokens] * taps_WD[0]
        for tap in range(1, size):
            y_BTD.addcmul_(padded[:, tap : tap + num_tokens], taps_WD[tap])
        if bias_D is not None:
            y_BTD += bias_D
        ctx.save_for_backward(padded, taps_WD, y_BTD)
        ctx.has_bias = bias_D is not None
        return F.silu(y_BTD)

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        padded, taps_WD, y_BTD = ctx.saved_tensors
        size, num_tokens = taps_WD.shape[0], y_BTD.shape[1]
        grad_BTD = torch.ops.aten.silu_backward(grad_BTD, y_BTD)
        grad_padded, grad_taps_WD = torch.zeros_like(padded), torch.empty_like(taps_WD)
        for tap in range(size):
            grad_padded[:, tap : tap + num_tokens].addcmul_(grad_BTD, taps_WD[tap])
            grad_taps_WD[tap] = (padded[:, tap : tap + num_tokens] * grad_BTD).sum((0, 1))
        grad_bias_D = grad_BTD.sum((0, 1)) if ctx.has_bias else None
        return grad_padded[:, size - 1 :], grad_taps_WD, grad_bias_D


_causal_conv_silu: Callable[[Tensor, Tensor, Tensor | None], Tensor] = _CausalConvSilu.apply


class ShortConvolution(nn.Module):
    """The weights of a causal convolution of each channel by itself: `weight` [D, 1, W], `bias` [D] if asked for."""

    def __init__(self, width: int, size: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1, size))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None


def convolve_together(x_BTD: Tensor, *convolutions: ShortConvolution) -> Tensor:
    """Convolve channels [B, T, D] by several convolutions, D being the sum of their widths, then SiLU.

    Token t sees tokens t - W + 1 to t.
    """
    taps_WD = torch.cat([convolution.weight[:, 0] for convolution in convolutions]).T.contiguous()
    biases: list[Tensor] = [convolution.bias for convolution in convolutions if convolution.bias is not None]
    return _causal_conv_silu(x_BTD, taps_WD, torch.cat(biases) if biases else None)


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
        self.o_norm = GatedRMSNorm(config.head_v_dim)
        self.o_proj = nn.Linear(value_dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix tokens causally; [B, T, D] in and out."""
        # Query, key and value in one product and one convolution: fewer, larger steps.
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        qkv_BTD = convolve_together(F.linear(x_BTD, weight), self.q_conv1d, self.k_conv1d, self.v_conv1d)
        key_dim = self.num_heads * self.head_dim
        q_BTHK = _unit(self._heads(qkv_BTD[..., :key_dim]))
        k_BTHK = _unit(self._heads(qkv_BTD[..., key_dim : 2 * key_dim]))
        v_BTHV = self._heads(qkv_BTD[..., 2 * key_dim :])
        beta_BTH = self.beta_scale * torch.sigmoid(self.b_proj(x_BTD).float())
        # In fp32 under autocast too: a product of hundreds of decays leaves no room for rounding.
        log_decay_BTH = -self.A_log.float().exp() * F.softplus(self.a_proj(x_BTD).float() + self.dt_bias)
        o_BTHV = chunked(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH=log_decay_BTH, beta_BTH=beta_BTH)
        gated_BTHV = self.o_norm(o_BTHV, self._heads(self.g_proj(x_BTD)))
        return torch.as_tensor(self.o_proj(gated_BTHV.flatten(2)))

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.reshape(*x_BTD.shape[:2], self.num_heads, -1)


def _unit(x: Tensor) -> Tensor:
    """Scale the last dimension to length 1, in fp32."""
    x = x.float()
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + L2_EPS)


class GatedMLP(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.dim, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each token by itself; [B, T, D] in and out."""
        return torch.as_tensor(self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)))


class Block(nn.Module):
    """Norm, token mixing, residual; norm, gated MLP, residual."""

    def __init__(self, config: ModelConfig, backend: Backend) -> None:
        super().__init__()
        self.attn_norm = build_norm(config.dim, backend)
        self.attn = build_token_mixer(config, backend)
        self.mlp_norm = build_norm(config.dim, backend)
        self.mlp = GatedMLP(config)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] in and out."""
        mixed = self.attn(self.attn_norm(x_BTD))
        # fla's layer returns (output, attentions, cache).
        x_BTD = x_BTD + (mixed[0] if isinstance(mixed, tuple) else mixed)
        return x_BTD + torch.as_tensor(self.mlp(self.mlp_norm(x_BTD)))


def build_norm(width: int, backend: Backend) -> nn.Module:
    """Build an RMSNorm with one parameter, `weight` [width]."""
    if backend == "torch":
        return RMSNorm(width)
    from liger_kernel.transformers import LigerRMSNorm  # CUDA only; a CPU run never imports it

    # Not in place: the block needs its input again for the residual.
    norm: nn.Module = LigerRMSNorm(width, eps=NORM_EPS, in_place=False)
    return norm


def build_token_mixer(config: ModelConfig, backend: Backend) -> nn.Module:
    """Build the gated delta net, [B, T, D] in and out (fla's returns a tuple that starts with it)."""
    if backend == "torch":
        return GatedDeltaNet(config)
    from fla.layers.gated_deltanet import GatedDeltaNet as FlaGatedDeltaNet  # CUDA only; takes seconds to import

    mixer: nn.Module = FlaGatedDeltaNet(
        mode="chunk",
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
