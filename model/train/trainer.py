"""Train, validate, record and save, one epoch after the other. The study gives the network, its loss and its scores.

Letters: B bursts of a batch, S samples.
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from model.augment import Blend, ChangedCopies, build_augment
from model.config import decode_job, differing_knobs
from model.data.batches import BurstSet, Timed
from model.streams import stream_seed
from model.train.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from model.train.device import peak_memory_bytes, require_possible
from model.train.optimization import Schedule, build_optimizers
from model.train.run_folder import EpochRecord, RunFolder, require_in_order
from model.train.score import Scores, Views
from model.train.study import Study

CHECKPOINT_FORMAT = 1
AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


class NonFiniteError(ArithmeticError):
    """An epoch with too few steps whose loss and gradient were finite."""


@dataclass
class Progress:
    """The progress of a run: its records and its best epoch. A checkpoint holds it beside the states of the tensors."""

    records: list[EpochRecord] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    best_model: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.records)


class Trainer:
    """One run: `resume` loads the newest checkpoint, `fit` trains to the last epoch."""

    def __init__(
        self,
        study: Study,
        train: BurstSet,
        validate: BurstSet,
        device: torch.device,
        before_save: Callable[[], object] = lambda: None,
    ) -> None:
        """Build everything in its state before the first epoch.

        Args:
            study: the network, loss and scores, at the configuration to train.
            train: the bursts to learn from.
            validate: the bursts that choose the best epoch.
            device: where to compute.
            before_save: called before each save; if it raises, nothing is saved.

        Raises:
            JobError: this machine, or every machine, cannot train what is configured.
        """
        config = study.config
        require_possible(config, device)
        self.study, self.config = study, config
        self.train, self.validate, self.device = train, validate, device
        self.before_save = before_save
        self.model, self.forward, self.training_outputs = study.build_network(train, device)
        if config.runtime.compile:
            self.forward, self.training_outputs = torch.compile(self.forward), torch.compile(self.training_outputs)
        self.augment = build_augment(config.augment, train.sample_rate_hz)
        self.optimizers = build_optimizers(config.optim, self.model)
        steps_per_epoch = math.ceil(len(train) / config.optim.batch_size)
        self.schedules = [Schedule(config.optim, optimizer, steps_per_epoch) for optimizer in self.optimizers]
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.runtime.precision == "fp16")
        self.progress = Progress()
        self._saved_epoch = 0
        if config.data.shuffled_labels:
            train.shuffle_labels(config.seed)

    def fit(
        self, folder: RunFolder, should_stop: Callable[[], bool], tell: Callable[[EpochRecord], object] = lambda _: None
    ) -> bool:
        """Train to the end, or until `should_stop` after an epoch; return whether the end was reached.

        A checkpoint is written every `checkpoint_epochs`, at the end, and when training stops.

        Raises:
            NonFiniteError: an epoch had too few finite steps.
        """
        while not self.is_finished():
            if should_stop():
                if self._saved_epoch < self.progress.epoch:
                    self.save(folder)
                return False
            tell(self._run_epoch(folder))
        return True

    def is_finished(self) -> bool:
        """Whether all epochs are done, or the validation loss has not fallen for `early_stopping` epochs."""
        waited = self.progress.epoch - self.progress.best_epoch
        return self.progress.epoch >= self.config.optim.epochs or (
            self.progress.epoch > 0 and waited >= self.config.optim.early_stopping
        )

    def _run_epoch(self, folder: RunFolder) -> EpochRecord:
        epoch = self.progress.epoch + 1
        started, cpu_started = time.perf_counter(), time.process_time()
        learning_rate = self.optimizers[0].param_groups[0]["lr"]
        steps = self.train_epoch(epoch)
        train_seconds = time.perf_counter() - started
        scores = self.score(self.validate)
        for schedule in self.schedules:
            schedule.after_epoch(finite_or_none(scores.loss))
        # A comparison with NaN is always false, so an epoch whose loss is NaN is never the best one.
        if scores.loss < self.progress.best_loss:
            self._keep_best(epoch, scores.loss)
        record = EpochRecord(
            epoch=epoch,
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started if self.device.type == "cpu" else None,
            data_seconds=steps.data_seconds,
            train_loss=finite_or_none(steps.mean_loss),
            val_loss=finite_or_none(scores.loss),
            val_accuracy=scores.accuracy,
            learning_rate=learning_rate,
            grad_norm=finite_or_none(steps.mean_grad_norm),
            skipped_steps=steps.skipped,
            bursts_per_second=len(self.train) / train_seconds,
            peak_memory_bytes=peak_memory_bytes(self.device),
        )
        self.progress.records.append(record)
        # The checkpoint comes before the line of `epochs.jsonl`. A job that is killed between the two loses only the
        # line, and the next start writes it again. In the other order a recorded epoch would be trained twice.
        if epoch % self.config.runtime.checkpoint_epochs == 0 or self.is_finished():
            self.save(folder)
        folder.append_epoch(record)
        # After the record is written, so that the report shows the epoch that failed.
        steps.require_finite(epoch)
        return record

    def train_epoch(self, epoch: int) -> "StepSums":
        """Train on every burst once; record and save nothing."""
        seed = self.config.seed
        # Only dropout draws from the global stream; everything else has its own generator. Both are seeded for each
        # epoch, so a resumed run draws the same numbers.
        torch.manual_seed(stream_seed(seed, "dropout", epoch))
        self.augment.start_epoch(seed, epoch, self.device)
        self.model.train()
        sums = StepSums()
        batches = Timed(self.train.shuffled(self.config.optim.batch_size, seed, epoch))
        for batch in batches:
            x_B2S, class_B = batch.x_B2S.to(self.device), batch.class_B.to(self.device)
            x_B2S, blend = self.augment(x_B2S)
            sums.add(*self._step(x_B2S, class_B, blend))
        sums.data_seconds = batches.seconds
        return sums

    def _step(self, x_B2S: Tensor, class_B: Tensor, blend: Blend | None = None) -> tuple[float, float]:
        """Take one optimiser step; return the loss and the norm of the gradient before clipping."""
        self.model.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.study.loss(self.training_outputs(x_B2S), class_B, blend)
        torch.autograd.backward(self.scaler.scale(loss))
        for optimizer in self.optimizers:
            # Clipping compares the true gradient with `clip_norm`, so the loss's scale is taken out first.
            self.scaler.unscale_(optimizer)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        values = float(loss.detach()), float(grad_norm)
        # A step that is not finite moves nothing: neither parameters, nor the optimiser's moments, nor the schedule.
        if all(map(math.isfinite, values)):
            self._move()
        # With fp16 the loss is scaled up, so that small gradients do not vanish. `update` halves the scale after an
        # overflow and raises it after many good steps; without fp16 it does nothing.
        self.scaler.update()
        return values

    def _move(self) -> None:
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            self.scaler.step(optimizer)
            schedule.after_step()

    def score(self, bursts: BurstSet, copies: ChangedCopies | None = None) -> Scores:
        """Score bursts in file order with the parameters as they are now."""
        return self.study.score(self.forward, bursts, self.device, self.autocast, Views(copies=copies))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of the configured precision."""
        dtype = AUTOCAST.get(self.config.runtime.precision)
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _keep_best(self, epoch: int, loss: float) -> None:
        self.progress.best_loss, self.progress.best_epoch = loss, epoch
        # On the CPU, so that the best epoch takes no memory of the GPU.
        self.progress.best_model = {
            name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()
        }

    def save(self, folder: RunFolder) -> None:
        """Write `checkpoint.pt` atomically: all that the next epoch needs."""
        content = {
            "format": CHECKPOINT_FORMAT,
            "config": msgspec.json.encode(self.config).decode(),
            "records": [msgspec.json.encode(record).decode() for record in self.progress.records],
            "best_loss": self.progress.best_loss,
            "best_epoch": self.progress.best_epoch,
            "best_model": self.progress.best_model,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "scaler": self.scaler.state_dict(),
        }
        self.before_save()
        folder.write_checkpoint(lambda file: write_checkpoint(file, content))
        self._saved_epoch = self.progress.epoch

    def resume(self, folder: RunFolder, tell: Callable[[str], object] = lambda _: None) -> None:
        """Continue from `checkpoint.pt` if there is one, and give `epochs.jsonl` the checkpoint's epochs.

        A damaged checkpoint, or one of another training, is set aside. Training then starts anew and gives the same
        numbers.
        """
        try:
            self._go_on(folder.checkpoint)
        except FileNotFoundError:
            pass
        except CheckpointError as error:
            aside = folder.set_aside(folder.checkpoint)
            tell(f"{error}; it is kept as {aside.name}, and training starts anew")
        folder.restore_epochs(self.progress.records)

    def _go_on(self, path: Path) -> None:
        content = read_checkpoint(path, self.device)
        # Checked before anything is loaded: a checkpoint that is refused must leave this trainer as it was.
        progress = self._read_progress(path, content)
        self.model.load_state_dict(content["model"])
        for name in ("optimizers", "schedules"):
            for part, state in zip(getattr(self, name), content[name], strict=True):
                part.load_state_dict(state)
        self.scaler.load_state_dict(content["scaler"])
        self.progress, self._saved_epoch = progress, progress.epoch

    def _read_progress(self, path: Path, content: dict[str, Any]) -> Progress:
        """Check that a checkpoint is of this training, and return its progress.

        Raises:
            CheckpointError: it has another format or configuration, or its epochs do not count 1, 2, 3, ...
        """
        if content.get("format") != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"{path}: this checkpoint has format {content.get('format')}, not {CHECKPOINT_FORMAT}"
            )
        try:
            other = differing_knobs(decode_job(content["config"].encode()), self.config)
            records = [msgspec.json.decode(line, type=EpochRecord) for line in content["records"]]
            require_in_order(records, path)
        except ValueError as error:
            raise CheckpointError(f"{path}: this checkpoint cannot be read: {error}") from None
        if other:
            raise CheckpointError(
                f"{path}: this checkpoint is of another training, which differs in {', '.join(other)}"
            )
        return Progress(
            records=records,
            best_loss=content["best_loss"],
            best_epoch=content["best_epoch"],
            best_model={name: value.cpu() for name, value in content["best_model"].items()},
        )

    def restore_best(self) -> None:
        """Load the parameters of the epoch with the lowest validation loss."""
        if self.progress.best_model:
            self.model.load_state_dict(self.progress.best_model)


@dataclass
class StepSums:
    """Sums over the steps of an epoch. A step whose loss or gradient is not finite only counts as skipped."""

    loss: float = 0.0
    grad_norm: float = 0.0
    finite: int = 0
    skipped: int = 0
    data_seconds: float = 0.0
    """Seconds spent waiting for batches."""

    def add(self, loss: float, grad_norm: float) -> None:
        """Count one step."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.loss, self.grad_norm, self.finite = self.loss + loss, self.grad_norm + grad_norm, self.finite + 1
        else:
            self.skipped += 1

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


def finite_or_none(value: float) -> float | None:
    """Return the value, or None if it is not finite, because JSON has no NaN."""
    return value if math.isfinite(value) else None
