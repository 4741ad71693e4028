"""I/Q samples -> tokens.

Letters: B bursts, L samples, T tokens, D width of a token. Channel 0 is I, channel 1 is Q.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


class CausalPatchEmbed(nn.Conv1d):
    """A convolution padded on the left only, so that token t sees no sample after t * stride."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(2, config.dim, kernel_size=config.patch_size, stride=config.patch_stride)

    def forward(self, x_B2L: Tensor) -> Tensor:
        """Return tokens [B, T, D], T = (L - 1) // stride + 1."""
        padded = F.pad(x_B2L, (self.kernel_size[0] - 1, 0))
        return super().forward(padded).transpose(1, 2).contiguous()
