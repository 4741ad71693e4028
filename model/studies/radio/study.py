"""Telling radios apart, as the trainer asks for it: the classifier, its loss and its scores.

Letters: B bursts, C classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.augment import Blend
from model.config import JobConfig
from model.data.batches import BurstSet
from model.layers.blocks import UntrainableError, refuse_untrainable
from model.studies.radio.network import build_classifier
from model.train.device import JobError
from model.train.losses import blended_loss, build_loss
from model.train.score import Scores, Views, score
from model.train.study import Autocast, Network


class RadioStudy:
    """The study at one configuration."""

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self.class_loss = build_loss(config.loss)

    def build_network(self, train: BurstSet, device: torch.device) -> Network:
        """Build the classifier of the training devices.

        Raises:
            JobError: no machine can train what is configured, with the network's reason.
        """
        try:
            refuse_untrainable(self.config.model)
        except UntrainableError as error:
            raise JobError(str(error)) from None
        num_classes = int(train.class_of_burst.max()) + 1
        classifier = build_classifier(self.config, num_classes, device)
        return Network(classifier, forward=classifier, training_outputs=classifier.all_logits)

    def loss(self, outputs: tuple[Tensor, ...], class_B: Tensor, blend: Blend | None) -> Tensor:
        """Return the loss of the head, plus the weighted loss of the auxiliary head if there is one; a scalar."""
        # Class scores in float32: under half precision a softmax of them loses small probabilities.
        losses = [blended_loss(self.class_loss, logits_BC.float(), class_B, blend) for logits_BC in outputs]
        aux_head = self.config.model.aux_head
        return losses[0] if aux_head is None else losses[0] + aux_head.weight * losses[1]

    def score(
        self,
        forward: Callable[[Tensor], tuple[Tensor, Tensor]],
        bursts: BurstSet,
        device: torch.device,
        autocast: Autocast,
        views: Views,
    ) -> Scores:
        """Score bursts in file order."""
        return score(forward, bursts, self.class_loss, device, autocast, views=views)

    def splits(self) -> tuple[str, ...]:
        """Name the captures that are validated, chosen or reported on."""
        return self.config.data.scored
