"""The GDN classifier of the source study, section 1.4: patch embedding, blocks, norm, pooling, head.

Letters: B bursts, L samples, T tokens, D width of a token, C classes.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from model.config import ModelConfig
from model.layers import Backend, Block, build_norm
from model.patch_embed import CausalPatchEmbed
from model.pooling import pool
from model.streams import generator

HEAD_STD = 0.001
"""A small head keeps the first softmax near uniform."""


class TokenDropout(nn.Module):
    """Zeroes whole tokens in training, without scaling the others."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] in and out."""
        if not self.training or self.probability == 0.0:
            return x_BTD
        kept_BT1 = torch.rand(*x_BTD.shape[:2], 1, device=x_BTD.device) >= self.probability
        return x_BTD * kept_BT1


class Backbone(nn.Module):
    """Bursts -> embeddings."""

    def __init__(self, config: ModelConfig, backend: Backend) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.patch_embed = CausalPatchEmbed(config)
        self.token_dropout = TokenDropout(config.token_dropout)
        self.blocks = nn.ModuleList(Block(config, backend) for _ in range(config.depth))
        self.ln_f = build_norm(config.dim, backend)

    def forward(self, x_B2L: Tensor) -> Tensor:
        """Return embeddings [B, D] of bursts [B, 2, L]."""
        x_BTD = self.token_dropout(self.patch_embed(x_B2L))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return pool(self.ln_f(x_BTD), self.pooling)


class Classifier(nn.Module):
    """Bursts -> (class scores, embeddings), always both, as the source's evaluation expects."""

    def __init__(self, config: ModelConfig, num_classes: int, backend: Backend) -> None:
        super().__init__()
        self.backbone = Backbone(config, backend)
        self.head = nn.Linear(config.dim, num_classes)

    def forward(self, x_B2L: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, C] and embeddings [B, D] of bursts [B, 2, L]."""
        embedding_BD = self.backbone(x_B2L)
        return self.head(embedding_BD), embedding_BD


def initialize(model: nn.Module, seed: int) -> None:
    """Set every parameter from a random stream of its own name.

    So a change to one layer leaves the start of all others as it was, and both backends start from the same numbers.
    """
    for name, parameter in model.named_parameters():
        start = torch.empty(parameter.shape)
        _initializer(model, name)(start, generator(seed, "init", name))
        with torch.no_grad():
            parameter.copy_(start)


def _initializer(model: nn.Module, name: str) -> Callable[[Tensor, Generator], object]:
    parent, _, leaf = name.rpartition(".")
    special: dict[str, Callable[[Tensor, Generator], object]] = {"A_log": _fill_a_log, "dt_bias": _fill_dt_bias}
    if leaf in special:
        return special[leaf]
    if name == "head.weight":
        return lambda start, stream: start.normal_(std=HEAD_STD, generator=stream)
    if name == "head.bias":
        return lambda start, stream: start.zero_()
    weight = model.get_parameter(f"{parent}.weight")
    if weight.dim() == 1:
        return lambda start, stream: start.fill_(1.0)
    # PyTorch's own default for linear layers and convolutions: uniform within 1 / sqrt(inputs).
    bound = 1 / math.sqrt(weight[0].numel())
    return lambda start, stream: start.uniform_(-bound, bound, generator=stream)


def _fill_a_log(start: Tensor, stream: Generator) -> None:
    """As fla: decay rates uniform in (0, 16), kept as logarithms."""
    start.uniform_(0, 16, generator=stream).clamp_(min=1e-4).log_()


def _fill_dt_bias(start: Tensor, stream: Generator) -> None:
    """As fla: time steps log-uniform in (0.001, 0.1), kept as the inverse of softplus."""
    steps = start.uniform_(math.log(0.001), math.log(0.1), generator=stream).exp().clamp_(min=1e-4)
    start.copy_(steps + torch.log(-torch.expm1(-steps)))


def count_parameters(model: nn.Module) -> int:
    """Count trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
