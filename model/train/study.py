"""What a study gives to the trainer: its network, the loss that training lowers, and the scores of bursts.

The trainer knows no study, and a study imports the trainer's package, never the other way round.

Letters: B bursts, S samples, C classes.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from model.augment import Blend
from model.config import JobConfig
from model.data.batches import BurstSet
from model.train.score import Scores, Views

Autocast = Callable[[], contextlib.AbstractContextManager[Any]]
"""Opens the precision of a configuration."""


class Network(NamedTuple):
    """A network on its device, and the two functions that are called with bursts [B, 2, S]."""

    module: nn.Module
    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Returns what scoring reads: class scores [B, C], then embeddings."""
    training_outputs: Callable[[Tensor], tuple[Tensor, ...]]
    """Returns what the loss reads: the outputs of the head, then those of further heads."""


class Study(Protocol):
    """A study at one configuration."""

    config: JobConfig

    def build_network(self, train: BurstSet, device: torch.device) -> Network:
        """Build the network for the training bursts, every parameter at its start for the seed.

        Raises:
            JobError: no machine can train what is configured.
        """

    def loss(self, outputs: tuple[Tensor, ...], class_B: Tensor, blend: Blend | None) -> Tensor:
        """Return the loss that training lowers, a scalar, from `training_outputs` of a batch."""

    def score(
        self,
        forward: Callable[[Tensor], tuple[Tensor, Tensor]],
        bursts: BurstSet,
        device: torch.device,
        autocast: Autocast,
        views: Views,
    ) -> Scores:
        """Score bursts in file order."""

    def splits(self) -> tuple[str, ...]:
        """Name the captures that are scored once at the end of a run."""


StudyBuilder = Callable[[JobConfig], Study]
