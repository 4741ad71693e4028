"""The GDN classifier of the source study, section 1.4: patch embedding, blocks, norm, pooling, head.

Letters: B bursts, L samples, T tokens, D width of a token, C classes.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from model.config import JobConfig, ModelConfig
from model.layers.blocks import Backend, Block, backend_for, build_norm
from model.layers.patch_embed import build_patch_embed
from model.layers.pooling import build_pooling
from model.layers.residual import TokenDropout
from model.streams import generator

HEAD_STD = 0.001
"""Standard deviation of the head; a small head makes the first softmax near uniform."""
TOKEN_STD = 0.02
"""Standard deviation of learned positions, first token and query (Devlin et al. 2018, arXiv 1810.04805)."""


class BurstLengthError(ValueError):
    """Bursts of a length that the network was not built for; its text is a sentence for the user."""


class Backbone(nn.Module):
    """Bursts -> embeddings."""

    def __init__(self, config: ModelConfig, num_tokens: int, backend: Backend) -> None:
        super().__init__()
        self.patch_embed = build_patch_embed(config)
        self.positions = nn.Parameter(torch.empty(num_tokens, config.dim)) if config.learned_positions else None
        self.token_dropout = TokenDropout(config.token_dropout)
        self.cls_token = nn.Parameter(torch.empty(config.dim)) if config.pooling == "cls_first" else None
        self.num_tokens = num_tokens + (self.cls_token is not None)
        self.blocks = nn.ModuleList(Block(config, backend, number) for number in range(1, config.depth + 1))
        self.ln_f = build_norm(config.dim, backend)
        self.pooling = build_pooling(config.pooling, config.dim)

    def forward(self, x_B2L: Tensor) -> Tensor:
        """Return embeddings [B, D] of bursts [B, 2, L]."""
        return self.embedding(self.mix(self.tokens(x_B2L)))

    def tokens(self, x_B2L: Tensor) -> Tensor:
        """Return the tokens [B, T, D] that enter the first block.

        Raises:
            BurstLengthError: the learned positions are for bursts of another length.
        """
        x_BTD = self.patch_embed(x_B2L)
        if self.positions is not None:
            _require_same_length(len(self.positions), x_BTD.shape[1], x_B2L.shape[2])
            x_BTD = x_BTD + self.positions.to(x_BTD.dtype)
        # After the positions, so that a dropped token is zero.
        x_BTD = self.token_dropout(x_BTD)
        if self.cls_token is not None:
            x_BTD = torch.cat([self.cls_token.to(x_BTD.dtype).expand(len(x_BTD), 1, -1), x_BTD], dim=1)
        return torch.as_tensor(x_BTD)

    def mix(self, x_BTD: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Send tokens [B, T, D] through the blocks `first` to `last`, half-open and counted from 0."""
        for block in self.blocks[first:last]:
            x_BTD = block(x_BTD)
        return x_BTD

    def embedding(self, x_BTD: Tensor) -> Tensor:
        """Return embeddings [B, D] of the tokens after the last block."""
        return torch.as_tensor(self.pooling(self.ln_f(x_BTD)))


class AuxHead(nn.Module):
    """A second head on the tokens of a middle block, with a norm and pooling as after the last block."""

    def __init__(self, config: ModelConfig, after_block: int, num_classes: int, backend: Backend) -> None:
        super().__init__()
        self.after_block = after_block
        self.norm = build_norm(config.dim, backend)
        self.pooling = build_pooling(config.pooling, config.dim)
        self.head = nn.Linear(config.dim, num_classes)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return logits [B, C] of tokens [B, T, D]."""
        return torch.as_tensor(self.head(self.pooling(self.norm(x_BTD))))


class Classifier(nn.Module):
    """Bursts -> (class scores, embeddings); the source's evaluation expects both."""

    def __init__(self, config: ModelConfig, num_classes: int, num_tokens: int, backend: Backend) -> None:
        """Build for bursts of `num_tokens` patch tokens; without learned positions any length works."""
        super().__init__()
        self.backbone = Backbone(config, num_tokens, backend)
        self.head = nn.Linear(config.dim, num_classes)
        self.aux_head = (
            AuxHead(config, config.aux_head.after_block, num_classes, backend) if config.aux_head is not None else None
        )

    def forward(self, x_B2L: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, C] and embeddings [B, D] of bursts [B, 2, L]."""
        embedding_BD = self.backbone(x_B2L)
        return self.head(embedding_BD), embedding_BD

    def all_logits(self, x_B2L: Tensor) -> tuple[Tensor, ...]:
        """Return the logits [B, C] of the head, then those of the auxiliary head if there is one, for training.

        Deeply supervised nets (Lee et al. 2015, arXiv 1409.5185).
        """
        if self.aux_head is None:
            logits_BC, _ = self(x_B2L)
            return (logits_BC,)
        middle_BTD = self.backbone.mix(self.backbone.tokens(x_B2L), last=self.aux_head.after_block)
        last_BTD = self.backbone.mix(middle_BTD, first=self.aux_head.after_block)
        return self.head(self.backbone.embedding(last_BTD)), self.aux_head(middle_BTD)


def _require_same_length(built_for: int, num_tokens: int, samples: int) -> None:
    if num_tokens != built_for:
        raise BurstLengthError(
            f"a burst of {samples} samples makes {num_tokens} tokens, and model.learned_positions has a position for "
            f"each of {built_for}; give bursts of the length that the model was trained on, or train without the knob"
        )


def build_classifier(config: JobConfig, num_classes: int, device: torch.device) -> Classifier:
    """Build the classifier on a device, every parameter at its start for the seed."""
    num_tokens = config.model.num_tokens(config.data.samples)
    model = Classifier(config.model, num_classes, num_tokens, backend_for(device)).to(device)
    initialize(model, config.seed)
    return model


def initialize(model: nn.Module, seed: int) -> None:
    """Set every parameter from a random stream of its own name.

    So a change to one layer does not change the start of the others, and both backends start from the same numbers.
    """
    for name, parameter in model.named_parameters():
        start = torch.empty(parameter.shape)
        _initializer(model, name)(start, generator(seed, "init", name))
        with torch.no_grad():
            parameter.copy_(start)


def _initializer(model: nn.Module, name: str) -> Callable[[Tensor, Generator], object]:
    parent, _, leaf = name.rpartition(".")
    if leaf == "A_log" and hasattr(model.get_submodule(parent), "D"):
        return _fill_mamba_a_log
    if leaf in _BY_LEAF:
        return _BY_LEAF[leaf]
    if name in ("head.weight", "aux_head.head.weight"):
        return lambda start, stream: start.normal_(std=HEAD_STD, generator=stream)
    if name in ("head.bias", "aux_head.head.bias"):
        return lambda start, stream: start.zero_()
    weight = model.get_parameter(f"{parent}.weight")
    if weight.dim() == 1:
        return _fill_ones
    # PyTorch's own default for linear layers and convolutions: uniform within 1 / sqrt(inputs).
    bound = 1 / math.sqrt(weight[0].numel())
    return lambda start, stream: start.uniform_(-bound, bound, generator=stream)


def _fill_ones(start: Tensor, stream: Generator) -> None:
    start.fill_(1.0)


def _fill_token(start: Tensor, stream: Generator) -> None:
    start.normal_(std=TOKEN_STD, generator=stream)


def _fill_a_log(start: Tensor, stream: Generator) -> None:
    """As fla: decay rates uniform in (0, 16), kept as logarithms."""
    start.uniform_(0, 16, generator=stream).clamp_(min=1e-4).log_()


def _fill_dt_bias(start: Tensor, stream: Generator) -> None:
    """As fla: time steps log-uniform in (0.001, 0.1), kept as the inverse of softplus."""
    # x + log(1 - exp(-x)) is the inverse of softplus, written so that small steps keep their digits.
    steps = start.uniform_(math.log(0.001), math.log(0.1), generator=stream).exp().clamp_(min=1e-4)
    start.copy_(steps + torch.log(-torch.expm1(-steps)))


def _fill_mamba_a_log(start: Tensor, stream: Generator) -> None:
    """As transformers' Mamba-2: decay rates 1 to H, kept as logarithms."""
    start.copy_(torch.arange(1, len(start) + 1).log())


_BY_LEAF: dict[str, Callable[[Tensor, Generator], object]] = {
    "A_log": _fill_a_log,
    "dt_bias": _fill_dt_bias,
    "D": _fill_ones,
    "positions": _fill_token,
    "cls_token": _fill_token,
    "query": _fill_token,
}


def count_parameters(model: nn.Module) -> int:
    """Count trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
