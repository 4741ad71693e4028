"""Train, validate, record, checkpoint: one epoch after the other.

Letters: B bursts of a batch, S samples, C classes.
"""

import contextlib
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from model.augment import build_augment
from model.config import JobConfig, ModelConfig, decode_job, differing_knobs
from model.data.batches import BurstSet, Timed
from model.layers.blocks import UntrainableError, backend_for, refuse_untrainable
from model.streams import stream_seed
from model.studies.radio.evaluate import JobError, score
from model.studies.radio.network import Classifier, initialize
from model.train.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from model.train.losses import Blend, blended_loss, build_loss
from model.train.optimization import Schedule, build_optimizers
from model.train.run_folder import EpochRecord, RunFolder, require_in_order

CHECKPOINT_FORMAT = 1
AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


class NonFiniteError(ArithmeticError):
    """An epoch with hardly a step whose loss and gradient were finite."""


@dataclass
class Progress:
    """What a run has come to; with the tensors' states it is all that a checkpoint holds."""

    records: list[EpochRecord] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    best_model: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.records)


class Trainer:
    """One run: `fit` goes on from the newest checkpoint to the last epoch."""

    def __init__(
        self,
        config: JobConfig,
        train: BurstSet,
        validate: BurstSet,
        device: torch.device,
        before_save: Callable[[], object] = lambda: None,
    ) -> None:
        """Build everything at its start.

        Args:
            config: what to train.
            train: the bursts to learn from.
            validate: the bursts that choose the best epoch.
            device: where to compute.
            before_save: called before anything is saved; what it raises keeps that from being saved.

        Raises:
            JobError: this machine, or any, cannot train what is configured.
        """
        require_possible(config, device)
        require_trainable(config.model)
        self.config, self.train, self.validate, self.device = config, train, validate, device
        self.before_save = before_save
        num_classes = int(train.class_of_burst.max()) + 1
        self.model = build_model(config, num_classes, device)
        # Scoring needs the head alone, training the auxiliary head too where there is one.
        self.forward: Callable[[Tensor], tuple[Tensor, Tensor]] = self.model
        self.all_logits: Callable[[Tensor], tuple[Tensor, ...]] = self.model.all_logits
        if config.runtime.compile:
            self.forward, self.all_logits = torch.compile(self.forward), torch.compile(self.all_logits)
        self.loss = build_loss(config.loss)
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

        Every `checkpoint_epochs` there is a checkpoint, and at the end and where it stops.

        Raises:
            NonFiniteError: an epoch had hardly a finite step.
        """
        while not self.is_finished():
            if should_stop():
                if self._saved_epoch < self.progress.epoch:
                    self.save(folder)
                return False
            tell(self._run_epoch(folder))
        return True

    def is_finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
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
        scores = score(self.forward, self.validate, self.loss, self.device, self.autocast)
        for schedule in self.schedules:
            schedule.after_epoch(finite_or_none(scores.loss))
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
        # The checkpoint first: where one is due, an epoch that is on record can be gone on from.
        if epoch % self.config.runtime.checkpoint_epochs == 0 or self.is_finished():
            self.save(folder)
        folder.append_epoch(record)
        steps.require_finite(epoch)
        return record

    def train_epoch(self, epoch: int) -> "StepSums":
        """Train on every burst once; nothing is recorded or saved."""
        seed = self.config.seed
        # The global stream serves dropout alone; everything else has a generator of its own.
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
            losses = [
                blended_loss(self.loss, logits_BC.float(), class_B, blend) for logits_BC in self.all_logits(x_B2S)
            ]
            loss = self._weigh(*losses)
        torch.autograd.backward(self.scaler.scale(loss))
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        values = float(loss.detach()), float(grad_norm)
        if all(map(math.isfinite, values)):
            self._move()
        # Scales less after a gradient that overflowed; does nothing where nothing is scaled.
        self.scaler.update()
        return values

    def _weigh(self, loss: Tensor, aux_loss: Tensor | None = None) -> Tensor:
        aux_head = self.config.model.aux_head
        return loss if aux_loss is None or aux_head is None else loss + aux_head.weight * aux_loss

    def _move(self) -> None:
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            self.scaler.step(optimizer)
            schedule.after_step()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Open the precision of the configuration."""
        dtype = AUTOCAST.get(self.config.runtime.precision)
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _keep_best(self, epoch: int, loss: float) -> None:
        self.progress.best_loss, self.progress.best_epoch = loss, epoch
        self.progress.best_model = {
            name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()
        }

    def save(self, folder: RunFolder) -> None:
        """Write `checkpoint.pt` atomically."""
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
        """Go on from `checkpoint.pt` where there is one, and make `epochs.jsonl` say what it says.

        One that is not whole, or of another training, is set aside: training starts anew, which gives the same numbers.
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
        progress = self._read_progress(path, content)
        self.model.load_state_dict(content["model"])
        for name in ("optimizers", "schedules"):
            for part, state in zip(getattr(self, name), content[name], strict=True):
                part.load_state_dict(state)
        self.scaler.load_state_dict(content["scaler"])
        self.progress, self._saved_epoch = progress, progress.epoch

    def _read_progress(self, path: Path, content: dict[str, Any]) -> Progress:
        """Read how far a checkpoint has come, once it is found to be of this training.

        Raises:
            CheckpointError: it is of another format or configuration, or its epochs do not count 1, 2, 3, ...
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
        """Put back the parameters of the epoch with the lowest validation loss."""
        if self.progress.best_model:
            self.model.load_state_dict(self.progress.best_model)


@dataclass
class StepSums:
    """Sums over the steps of an epoch; a step with a loss or gradient that is not finite only counts as skipped."""

    loss: float = 0.0
    grad_norm: float = 0.0
    finite: int = 0
    skipped: int = 0
    data_seconds: float = 0.0
    """Time that was waited for batches."""

    def add(self, loss: float, grad_norm: float) -> None:
        """Count one step."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.loss, self.grad_norm, self.finite = self.loss + loss, self.grad_norm + grad_norm, self.finite + 1
        else:
            self.skipped += 1

    def require_finite(self, epoch: int) -> None:
        """Refuse an epoch that says nothing: one without a finite step, or, after the first, with few.

        In the first epoch the scale of the loss under fp16 is still being found, by steps that overflow.

        Raises:
            NonFiniteError: too few steps were finite.
        """
        steps = self.finite + self.skipped
        if self.finite == 0 or (epoch > 1 and self.skipped > self.finite):
            raise NonFiniteError(f"epoch {epoch}: only {self.finite} of {steps} steps had a finite loss and gradient")

    @property
    def mean_loss(self) -> float:
        """Mean loss of the steps that counted; NaN if none did."""
        return self.loss / self.finite if self.finite else math.nan

    @property
    def mean_grad_norm(self) -> float:
        """Mean norm of the gradient before clipping; NaN if no step counted."""
        return self.grad_norm / self.finite if self.finite else math.nan


def build_model(config: JobConfig, num_classes: int, device: torch.device) -> Classifier:
    """Build the classifier on a device, every parameter at its start for the seed."""
    num_tokens = config.model.num_tokens(config.data.samples)
    model = Classifier(config.model, num_classes, num_tokens, backend_for(device)).to(device)
    initialize(model, config.seed)
    return model


def require_possible(config: JobConfig, device: torch.device) -> None:
    """Refuse what this machine cannot do.

    Raises:
        JobError: fp16 without CUDA.
    """
    if config.runtime.precision == "fp16" and device.type != "cuda":
        raise JobError(
            f"profile `{config.profile}` trains in fp16, which needs a CUDA GPU, and this job has {device.type}; "
            "use profile `quick`, or a machine with a GPU"
        )


def require_trainable(config: ModelConfig) -> None:
    """Refuse what no machine can train; unlike `require_possible` this ends one run, not the campaign's start.

    Raises:
        JobError: with the network's reason.
    """
    try:
        refuse_untrainable(config)
    except UntrainableError as error:
        raise JobError(str(error)) from None


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN: what is not finite is null."""
    return value if math.isfinite(value) else None


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory held so far: the GPU's where there is one, else the process's."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    kibibytes_or_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes_or_bytes * (1 if sys.platform == "darwin" else 1024)
