"""One step of a training: backward, clipping, optimisers, schedules. A step does not wait for the device.

A GPU computes after the call returns. A number that the host reads makes the host wait until the GPU is done, and then
the GPU waits for the host. So losses and norms stay on the device until the end of an epoch.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from model.config import JobConfig
from model.train.optimization import FusedAdamW, Schedule, build_optimizers


class NonFiniteError(ArithmeticError):
    """An epoch with too few steps whose loss and gradient were finite."""


class Stepper:
    """Takes optimiser steps. A step with a loss or gradient that is not finite moves nothing.

    It then moves neither parameters, nor an optimiser's moments, nor a schedule.
    """

    def __init__(self, config: JobConfig, model: nn.Module, device: torch.device, steps_per_epoch: int) -> None:
        self.model, self.clip_norm = model, config.optim.clip_norm
        self.optimizers = build_optimizers(config.optim, model)
        self.schedules = [Schedule(config.optim, optimizer, steps_per_epoch) for optimizer in self.optimizers]
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.runtime.precision == "fp16")
        self._last: LateFlag | None = None

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first optimiser."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def take(self, loss: Tensor) -> Tensor:
        """Take a step down `loss`, a scalar; return loss and norm of the gradient before clipping, [2], on its device.

        The gradients of the step before must be cleared.
        """
        torch.autograd.backward(self.scaler.scale(loss))
        for optimizer in self.optimizers:
            # Clipping compares the true gradient with `clip_norm`, so the loss's scale is taken out first.
            self.scaler.unscale_(optimizer)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        values_2 = torch.stack([loss.detach(), grad_norm]).float()
        is_finite = values_2.isfinite().all()
        # The schedules count the step before only now: the device works on this step while the host waits for that one.
        self.settle()
        for optimizer in self.optimizers:
            move_if(is_finite, optimizer)
        if any(schedule.counts_steps for schedule in self.schedules):
            self._last = LateFlag(is_finite)
        # With fp16 the loss is scaled up, so that small gradients do not vanish. `update` halves the scale after an
        # overflow and raises it after many good steps; without fp16 it does nothing.
        self.scaler.update()
        return values_2

    def settle(self) -> None:
        """Let the schedules count the last step, if it moved."""
        last, self._last = self._last, None
        if last is not None and last.read():
            for schedule in self.schedules:
                schedule.after_step()

    def after_epoch(self, val_loss: float | None) -> None:
        """Tell the schedules that an epoch has ended, with its validation loss; None if that is not finite."""
        for schedule in self.schedules:
            schedule.after_epoch(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of optimisers, schedules and scaler, between two epochs."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        for name in ("optimizers", "schedules"):
            for part, of_part in zip(getattr(self, name), state[name], strict=True):
                part.load_state_dict(of_part)
        self.scaler.load_state_dict(state["scaler"])


def move_if(is_finite: Tensor, optimizer: Optimizer) -> None:
    """Let an optimiser take its step if `is_finite`, a scalar of bool on the device."""
    if isinstance(optimizer, FusedAdamW):
        optimizer.found_inf = (~is_finite).float()
        optimizer.step()
    elif bool(is_finite):
        # Muon has no kernel that can skip, so here the host waits for the device, once a step.
        optimizer.step()


class LateFlag:
    """A bool of the device that the host reads later, without a wait for what the device was asked in the meantime."""

    def __init__(self, flag: Tensor) -> None:
        self._flag, self._event = flag.to("cpu", non_blocking=True), None
        if flag.device.type == "cuda":
            self._event = torch.Event(flag.device.type)
            self._event.record()

    def read(self) -> bool:
        """Return the value, once its copy has arrived."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._flag)


@dataclass(frozen=True)
class StepSums:
    """Sums over the steps of an epoch. A step whose loss or gradient is not finite only counts as skipped."""

    loss: float = 0.0
    grad_norm: float = 0.0
    finite: int = 0
    skipped: int = 0
    data_seconds: float = 0.0
    """Seconds spent waiting for batches."""

    @classmethod
    def of(cls, values_N2: Tensor, data_seconds: float = 0.0) -> "StepSums":
        """Sum the losses and norms [N, 2] of an epoch's N steps. The host waits for the device here."""
        values_N2 = values_N2.cpu().double()
        finite_M2 = values_N2[values_N2.isfinite().all(1)]
        loss, grad_norm = finite_M2.sum(0).tolist()
        num_finite = len(finite_M2)
        return cls(loss, grad_norm, num_finite, len(values_N2) - num_finite, data_seconds)

    def require_finite(self, epoch: int) -> None:
        """Refuse an epoch without a finite step, or, after the first epoch, with more skipped than finite steps.

        The first epoch is exempt, because under fp16 its first steps overflow until the loss's scale fits.

        Raises:
            NonFiniteError: too few steps were finite.
        """
        steps = self.finite + self.skipped
        if self.finite == 0 or (epoch > 1 and self.skipped > self.finite):
            raise NonFiniteError(f"epoch {epoch}: only {self.finite} of {steps} steps had a finite loss and gradient")

    @property
    def mean_loss(self) -> float:
        """Mean loss of the finite steps; NaN if there are none."""
        return self.loss / self.finite if self.finite else math.nan

    @property
    def mean_grad_norm(self) -> float:
        """Mean norm of the gradient before clipping over the finite steps; NaN if there are none."""
        return self.grad_norm / self.finite if self.finite else math.nan
