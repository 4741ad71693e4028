"""I/Q samples -> tokens. Token t sees no sample after t * stride, and there are (L - 1) // stride + 1 tokens.

Letters: B bursts, L samples, T tokens, P samples of a patch, F its frequencies, D width of a token. Channel 0 is I,
channel 1 is Q.
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


class CausalPatchEmbed(nn.Conv1d):
    """A convolution padded on the left only, computed as a product of patches and weights.

    The product is faster than torch's convolution over two channels, on a CPU and on tensor cores.
    """

    def __init__(self, dim: int, patch_size: int, stride: int) -> None:
        super().__init__(2, dim, kernel_size=patch_size, stride=stride)

    def forward(self, x_B2L: Tensor) -> Tensor:
        """Return tokens [B, T, D]."""
        padded = F.pad(x_B2L, (self.kernel_size[0] - 1, 0))
        patches_B2TP = padded.unfold(2, self.kernel_size[0], self.stride[0])
        return F.linear(patches_B2TP.transpose(1, 2).flatten(2), self.weight.flatten(1), self.bias)


class MultiScalePatchEmbed(nn.Module):
    """The mean of three causal convolutions: half a patch, a patch, two patches wide."""

    def __init__(self, dim: int, patch_size: int, stride: int) -> None:
        super().__init__()
        sizes = (patch_size // 2, patch_size, 2 * patch_size)
        self.scales = nn.ModuleList(CausalPatchEmbed(dim, size, stride) for size in sizes)

    def forward(self, x_B2L: Tensor) -> Tensor:
        """Return tokens [B, T, D]."""
        return torch.stack([scale(x_B2L) for scale in self.scales]).mean(dim=0)


class StftPatchEmbed(nn.Module):
    """A short-time Fourier transform, and a linear map of its real and imaginary parts.

    The window is a periodic Hann window of a patch (Harris 1978, doi:10.1109/PROC.1978.10837). All P frequencies are
    kept, since a complex signal has no mirrored half. The transform is unitary, so tokens are about as large as
    those of a convolution.
    """

    window_P: Tensor

    def __init__(self, dim: int, patch_size: int, stride: int) -> None:
        super().__init__()
        self.patch_size, self.stride = patch_size, stride
        self.projection = nn.Linear(2 * patch_size, dim)
        # Not persistent, because a checkpoint holds only what was learned.
        self.register_buffer("window_P", torch.hann_window(patch_size), persistent=False)

    def forward(self, x_B2L: Tensor) -> Tensor:
        """Return tokens [B, T, D]."""
        return torch.as_tensor(self.projection(self.spectrum(x_B2L)))

    def spectrum(self, x_B2L: Tensor) -> Tensor:
        """Return [B, T, 2 P]: the real parts of all frequencies from 0 up to the sampling rate, then the imaginary."""
        padded = F.pad(x_B2L.to(torch.promote_types(x_B2L.dtype, torch.float32)), (self.patch_size - 1, 0))
        patches_B2TP = padded.unfold(2, self.patch_size, self.stride) * self.window_P
        spectrum_BTF = torch.fft.fft(torch.complex(patches_B2TP[:, 0], patches_B2TP[:, 1]), norm="ortho")
        return torch.cat([spectrum_BTF.real, spectrum_BTF.imag], dim=-1)


def build_patch_embed(config: ModelConfig) -> nn.Module:
    """Build the layer that turns bursts [B, 2, L] into tokens [B, T, D]."""
    sizes = (config.dim, config.patch_size, config.patch_stride)
    match config.patch_embed:
        case "causal_conv":
            return CausalPatchEmbed(*sizes)
        case "stft":
            return StftPatchEmbed(*sizes)
        case "multi_scale":
            return MultiScalePatchEmbed(*sizes)
        case _:
            assert_never(config.patch_embed)
