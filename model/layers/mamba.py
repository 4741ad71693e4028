"""Mamba-2 (Dao and Gu 2024, arXiv 2405.21060), parameter for parameter as fla's layer.

On CUDA it is fla's layer. Elsewhere it is ours, around the scan that transformers writes in plain PyTorch. `head_dim`
is the width of B and C, the key and query of a state. `head_v_dim` is the width of a head's input.

Letters: B bursts, T tokens, D width of a token, H heads, N state width, V width of a head, I = H * V. There is one
group of heads, so all heads share the paper's B and C.
"""

import inspect
from collections.abc import Callable
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.layers.norms import NORM_EPS, RMSNorm
from model.layers.short_convolution import ShortConvolution, convolve_together

CHUNK_SIZE = 64
"""Tokens of a chunk of the scan; the work inside a chunk grows with its square."""


class Mamba2(nn.Module):
    """The layer of section 7 of the paper, with one group of heads."""

    def __init__(self, config: ModelConfig, scan: Callable[..., Tensor]) -> None:
        super().__init__()
        self.scan, self.num_heads, self.state_width = scan, config.num_heads, config.head_dim
        self.inner_width = config.num_heads * config.head_v_dim
        conv_width = self.inner_width + 2 * self.state_width
        self.in_proj = nn.Linear(config.dim, self.inner_width + conv_width + self.num_heads, bias=False)
        self.conv1d = ShortConvolution(conv_width, config.conv_size, bias=config.conv_bias)
        self.dt_bias = nn.Parameter(torch.empty(config.num_heads))
        self.A_log = nn.Parameter(torch.empty(config.num_heads))
        self.D = nn.Parameter(torch.empty(config.num_heads))
        self.norm = RMSNorm(self.inner_width)
        self.out_proj = nn.Linear(self.inner_width, config.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix tokens causally; [B, T, D] in and out."""
        # One projection gives gate, inputs and time steps, in fla's order, so that both layers share their parameters.
        widths = [self.inner_width, self.inner_width + 2 * self.state_width, self.num_heads]
        gate_BTI, inputs_BTC, dt_BTH = torch.split(self.in_proj(x_BTD), widths, dim=-1)
        widths = [self.inner_width, self.state_width, self.state_width]
        inputs_BTI, b_BTN, c_BTN = torch.split(convolve_together(inputs_BTC, self.conv1d), widths, dim=-1)
        y_BTHV = self.scan(
            inputs_BTI.reshape(*x_BTD.shape[:2], self.num_heads, -1),
            # In fp32 even under autocast: rounding errors add up in sums over hundreds of steps.
            dt_BTH.float(),
            -self.A_log.float().exp(),
            b_BTN[:, :, None],
            c_BTN[:, :, None],
            chunk_size=CHUNK_SIZE,
            D=self.D,
            dt_bias=self.dt_bias,
            dt_softplus=True,
        )
        # The gate comes before the norm, as in fla's layer.
        return torch.as_tensor(self.out_proj(self.norm(y_BTHV.flatten(2) * F.silu(gate_BTI.float()))))


def build_plain_mamba2(config: ModelConfig) -> nn.Module:
    """Build the layer for a device without Triton."""
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan  # takes seconds to import

    # Unwrapped, because its decorator uses mamba_ssm's CUDA kernel if that package is installed, and else logs a line.
    return Mamba2(config, inspect.unwrap(mamba2_chunk_scan))


def build_fla_mamba2(config: ModelConfig) -> nn.Module:
    """Build fla's layer, which returns a tuple that starts with the output."""
    from fla.layers.mamba2 import Mamba2 as FlaMamba2  # CUDA only; takes seconds to import

    mixer: nn.Module = FlaMamba2(
        hidden_size=config.dim,
        num_heads=config.num_heads,
        head_dim=config.head_v_dim,
        state_size=config.head_dim,
        # fla multiplies this ratio by the width and truncates the result; a fraction keeps the product whole.
        expand=Fraction(config.num_heads * config.head_v_dim, config.dim),
        conv_kernel=config.conv_size,
        use_conv_bias=config.conv_bias,
        norm_eps=NORM_EPS,
    )
    return mixer
