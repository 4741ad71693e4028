"""Losses of class scores. B bursts, C classes."""

from typing import Protocol, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from model.augment.mixup import Blend
from model.config import CrossEntropyConfig, FocalConfig, LossConfig


class Loss(Protocol):
    """Class scores and true classes -> one number."""

    def __call__(self, logits_BC: Tensor, class_B: Tensor) -> Tensor:
        """Return the mean loss over the bursts, a scalar."""

    def per_burst(self, logits_BC: Tensor, class_B: Tensor) -> Tensor:
        """Return the loss of each burst, [B]."""


class CrossEntropy:
    """Cross-entropy with smoothed targets."""

    def __init__(self, config: CrossEntropyConfig) -> None:
        self.label_smoothing = config.label_smoothing

    def __call__(self, logits_BC: Tensor, class_B: Tensor) -> Tensor:
        """Return the mean loss over the bursts, a scalar."""
        return F.cross_entropy(logits_BC, class_B, label_smoothing=self.label_smoothing)

    def per_burst(self, logits_BC: Tensor, class_B: Tensor) -> Tensor:
        """Return the loss of each burst, [B]."""
        return F.cross_entropy(logits_BC, class_B, label_smoothing=self.label_smoothing, reduction="none")


class Focal:
    """Cross-entropy with smoothed targets, each burst weighted by (1 - p)^gamma, p its own class's probability.

    Lin et al. 2017 (arXiv 1708.02002), eq. 4. As in the source study, the weight comes from the hard label.
    """

    def __init__(self, config: FocalConfig) -> None:
        self.gamma = config.gamma
        self.label_smoothing = config.label_smoothing

    def __call__(self, logits_BC: Tensor, class_B: Tensor) -> Tensor:
        """Return the mean loss over the bursts, a scalar."""
        return self.per_burst(logits_BC, class_B).mean()

    def per_burst(self, logits_BC: Tensor, class_B: Tensor) -> Tensor:
        """Return the loss of each burst, [B]."""
        cross_entropy_B = F.cross_entropy(logits_BC, class_B, label_smoothing=self.label_smoothing, reduction="none")
        log_p_B = F.log_softmax(logits_BC, dim=1).gather(1, class_B[:, None]).squeeze(1)
        # p stays below 1: at 1 a power below 1 has no finite gradient. expm1 keeps the digits of log p near 0.
        miss_B = -torch.expm1(log_p_B.clamp(max=-1e-7))
        return miss_B**self.gamma * cross_entropy_B


def blended_loss(loss: Loss, logits_BC: Tensor, class_B: Tensor, blend: Blend | None) -> Tensor:
    """Return the mean loss of blended bursts: the losses of a burst's two classes, weighted by their shares.

    Zhang et al. 2018 (arXiv 1710.09412), section 2, in the form of their code. For cross-entropy this equals the loss
    of the blended target. The focal loss weighs each of the two terms by its own class's probability. Without a blend
    it is the plain loss.
    """
    if blend is None:
        return loss(logits_BC, class_B)
    own_B = loss.per_burst(logits_BC, class_B)
    partners_B = loss.per_burst(logits_BC, class_B[blend.partner_B])
    return (blend.share_B * own_B + (1 - blend.share_B) * partners_B).mean()


def build_loss(config: LossConfig) -> Loss:
    """Build the loss that a configuration names."""
    match config:
        case CrossEntropyConfig():
            return CrossEntropy(config)
        case FocalConfig():
            return Focal(config)
        case _:
            assert_never(config)
