"""Bursts blended in pairs. B bursts, L samples."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from model.config import MixupConfig


@dataclass(frozen=True)
class Blend:
    """How mixup blended a batch: burst b is `share_B[b]` of itself and 1 - `share_B[b]` of burst `partner_B[b]`."""

    partner_B: Tensor
    share_B: Tensor


class Mixup:
    """Mixup (Zhang et al. 2018, arXiv 1710.09412): share x_b + (1 - share) x_partner(b), share ~ Beta(alpha, alpha).

    Each burst draws its own share. A random permutation of the batch gives the partners, so each burst is partner
    once, possibly of itself. The loss blends the targets: see `model.train.losses.blended_loss`.
    """

    def __init__(self, config: MixupConfig) -> None:
        self.alpha = config.alpha

    def __call__(self, x_B2L: Tensor, stream: Generator) -> tuple[Tensor, Blend]:
        """Return blended bursts [B, 2, L] and the blend."""
        batch = x_B2L.shape[0]
        partner_B = torch.randperm(batch, generator=stream, device=stream.device)
        share_B = draw_beta(self.alpha, batch, stream)
        share_B11 = share_B[:, None, None]
        return share_B11 * x_B2L + (1 - share_B11) * x_B2L[partner_B], Blend(partner_B, share_B)


def draw_beta(alpha: float, count: int, stream: Generator) -> Tensor:
    """Draw float32 [count] of Beta(alpha, alpha), on the stream's device, also where alpha is tiny.

    Beta(a, a) is g / (g + h) for g, h ~ Gamma(a). Gamma(a) is Gamma(a + 1) U^(1 / a) (Marsaglia and Tsang 2000,
    section 6). For a small a both g and h may underflow; the logarithm of their ratio does not.
    """
    shape_2n = torch.full((2, count), alpha + 1, device=stream.device)
    log_g_n, log_h_n = torch._standard_gamma(shape_2n, generator=stream).log()
    # Minus the logarithm of a uniform number is exponential.
    of_g_n, of_h_n = torch.empty_like(shape_2n).exponential_(generator=stream)
    return torch.sigmoid(log_g_n - log_h_n + (of_h_n - of_g_n) / alpha)
