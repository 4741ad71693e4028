"""Torch's optimisers, and learning rates that change by step and by epoch."""

from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from model.config import CosineConfig, OneCycleConfig, OptimConfig, PlateauConfig


class FusedAdamW(torch.optim.AdamW):
    """AdamW in one kernel, which can skip a step by itself, so that the host need not read whether to take it."""

    found_inf: Tensor | None = None
    """1 lets the next step move nothing, 0 lets it move; torch's kernel reads it, as `GradScaler` sets it."""


def build_optimizers(config: OptimConfig, model: nn.Module) -> list[Optimizer]:
    """Build AdamW alone, or Muon for the blocks' matrices and AdamW for all other parameters.

    Muon's steps are scaled to AdamW's usual size (arXiv 2502.16982, eq. 4), so that one learning rate serves both.
    """
    # Muon orthogonalises the matrices inside the network. Vectors, embeddings and heads stay with AdamW.
    matrices = {} if config.optimizer == "adamw" else _block_matrices(model)
    rest = [parameter for name, parameter in model.named_parameters() if name not in matrices]
    rate, decay = config.learning_rate, config.weight_decay
    optimizers: list[Optimizer] = [FusedAdamW(rest, lr=rate, weight_decay=decay, fused=True)]
    if matrices:
        muon = torch.optim.Muon(matrices.values(), lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    return optimizers


def _block_matrices(model: nn.Module) -> dict[str, Tensor]:
    # Muon makes the rows of a step orthogonal. Vectors have no rows, and convolutions have three dimensions.
    return {name: value for name, value in model.named_parameters() if ".blocks." in name and value.dim() == 2}


class Schedule:
    """The learning rate of one optimiser over steps and epochs."""

    def __init__(self, config: OptimConfig, optimizer: Optimizer, steps_per_epoch: int) -> None:
        self.warmup_epochs: int = getattr(config.schedule, "warmup_epochs", 0)
        self.epoch = 0
        self.by_step = _build_by_step(config, optimizer, steps_per_epoch)
        self.by_loss: ReduceLROnPlateau | None = None
        if isinstance(config.schedule, PlateauConfig):
            patience, factor = config.schedule.patience, config.schedule.factor
            self.by_loss = ReduceLROnPlateau(optimizer, patience=patience, factor=factor)

    @property
    def counts_steps(self) -> bool:
        """Whether the rate changes from step to step."""
        return self.by_step is not None

    def after_step(self) -> None:
        """Count one step of the optimiser; a skipped step does not count."""
        if self.by_step is not None:
            self.by_step.step()

    def after_epoch(self, val_loss: float | None) -> None:
        """Count one epoch, with its validation loss, None if not finite. A plateau cannot begin in the warm-up."""
        self.epoch += 1
        # In the warm-up the rate rises by step. A plateau there would lower a rate that is not yet reached.
        if self.by_loss is not None and val_loss is not None and self.epoch > self.warmup_epochs:
            self.by_loss.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`."""
        parts = {"by_step": self.by_step, "by_loss": self.by_loss}
        return {"epoch": self.epoch} | {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.epoch = state["epoch"]
        if self.by_step is not None:
            self.by_step.load_state_dict(state["by_step"])
        if self.by_loss is not None:
            self.by_loss.load_state_dict(state["by_loss"])


def _build_by_step(config: OptimConfig, optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler | None:
    total_steps = config.epochs * steps_per_epoch
    match config.schedule:
        case PlateauConfig(warmup_epochs=warmup_epochs):
            return _warmup(optimizer, warmup_epochs * steps_per_epoch) if warmup_epochs else None
        case CosineConfig(warmup_epochs=warmup_epochs, final_factor=final_factor):
            warmup_steps = warmup_epochs * steps_per_epoch
            lowest = final_factor * config.learning_rate
            if warmup_steps == 0:
                return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=lowest)
            parts = [
                _warmup(optimizer, warmup_steps),
                CosineAnnealingLR(optimizer, T_max=total_steps - warmup_steps, eta_min=lowest),
            ]
            return SequentialLR(optimizer, parts, milestones=[warmup_steps])
        case OneCycleConfig(peak_factor=peak_factor, rising=rising):
            peak = peak_factor * config.learning_rate
            return OneCycleLR(optimizer, max_lr=peak, total_steps=total_steps, pct_start=rising)
        case _:
            assert_never(config.schedule)


def _warmup(optimizer: Optimizer, steps: int) -> LinearLR:
    # The first step already moves: its rate is one part of `steps` + 1, not 0.
    return LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
