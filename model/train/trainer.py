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
from torch import Tensor

from model.augment import Blend, ChangedCopies, build_augment
from model.config import decode_job, differing_knobs
from model.data.batches import Batch, BurstSet, Timed
from model.streams import stream_seed
from model.train.averaging import LastEpochs, copy_state, describe_epochs
from model.train.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from model.train.compiled import compile_for
from model.train.device import free_memory_bytes, peak_memory_bytes, require_possible
from model.train.run_folder import EpochRecord, RunFolder, require_in_order
from model.train.score import Scores, Views
from model.train.step import Stepper, StepSums
from model.train.study import Study

CHECKPOINT_FORMAT = 1
AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Progress:
    """The progress of a run: its records and its best epoch. A checkpoint holds it beside the states of the tensors."""

    records: list[EpochRecord] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    best_model: dict[str, Tensor] = field(default_factory=dict)
    last: LastEpochs = field(default_factory=lambda: LastEpochs(0))

    @property
    def scored_epoch(self) -> int:
        """The epoch that is scored: of the lowest validation loss, or the last one of a mean."""
        return self.last.epochs[-1] if self.last.epochs else self.best_epoch

    def scored_model(self) -> dict[str, Tensor]:
        """Return the parameters that are scored, of the best epoch or the mean; empty if no epoch had a finite loss."""
        return self.last.mean() if self.last.most else self.best_model

    def describe_scored(self) -> str:
        """Say in words which parameters are scored."""
        if self.last.epochs:
            return f"{describe_epochs(self.last.epochs)} of {self.epoch}"
        return f"epoch {self.best_epoch} of {self.epoch}, lowest validation loss"

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
            validate: the bursts that choose the best epoch, and say when training stops.
            device: where to compute.
            before_save: called before each save; if it raises, nothing is saved.

        Raises:
            JobError: this machine, or every machine, cannot train what is configured.
        """
        config = study.config
        require_possible(config, device)
        self.study, self.config = study, config
        self.device = device
        self.before_save = before_save
        self.model, self.forward, self.training_outputs = study.build_network(train, device)
        if config.runtime.compile:
            self.training_outputs = compile_for(config.optim.batch_size, self.training_outputs, config.runtime.compile)
        self.augment = build_augment(config.augment, train.sample_rate_hz)
        self.stepper = Stepper(config, self.model, device, math.ceil(len(train) / config.optim.batch_size))
        self.progress = Progress(last=LastEpochs(config.optim.average_last))
        self._saved_epoch = 0
        if config.data.shuffled_labels:
            train.shuffle_labels(config.seed)
        self.use_bursts(train, validate)

    def use_bursts(self, train: BurstSet, validate: BurstSet) -> None:
        """Train and validate on these bursts from now on; they go to the device if they fit there."""
        self.train, self.validate = train, validate
        for bursts in (train, validate):
            bursts.place(self.device, free_memory_bytes(self.device))

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
        learning_rate = self.stepper.learning_rate
        steps = self.train_epoch(epoch)
        train_seconds = time.perf_counter() - started
        scores = self.score(self.validate)
        self.stepper.after_epoch(finite_or_none(scores.loss))
        # A comparison with NaN is always false, so an epoch whose loss is NaN is never the best one.
        if scores.loss < self.progress.best_loss:
            self._keep_best(epoch, scores.loss)
        if math.isfinite(scores.loss):
            self.progress.last.add(epoch, self.model.state_dict())
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

    def train_epoch(self, epoch: int) -> StepSums:
        """Train on every burst once; record and save nothing."""
        seed = self.config.seed
        # Only dropout draws from the global stream; everything else has its own generator. Both are seeded for each
        # epoch, so a resumed run draws the same numbers.
        torch.manual_seed(stream_seed(seed, "dropout", epoch))
        self.augment.start_epoch(seed, epoch, self.device)
        self.model.train()
        batches = Timed(self.train.shuffled(self.config.optim.batch_size, seed, epoch))
        values = [self._train_batch(batch) for batch in batches]
        self.stepper.settle()
        return StepSums.of(torch.stack(values), batches.seconds)

    def _train_batch(self, batch: Batch) -> Tensor:
        x_B2S, blend = self.augment(batch.x_B2S)
        return self.step(x_B2S, batch.class_B, blend)

    def step(self, x_B2S: Tensor, class_B: Tensor, blend: Blend | None = None) -> Tensor:
        """Take one optimiser step on augmented bursts; return loss and norm of the gradient before clipping, [2]."""
        self.model.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.study.loss(self.training_outputs(x_B2S), class_B, blend)
        return self.stepper.take(loss)

    def score(self, bursts: BurstSet, copies: ChangedCopies | None = None) -> Scores:
        """Score bursts in file order with the parameters as they are now."""
        return self.study.score(self.forward, bursts, self.device, self.autocast, Views(copies=copies))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of the configured precision."""
        dtype = AUTOCAST.get(self.config.runtime.precision)
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _keep_best(self, epoch: int, loss: float) -> None:
        self.progress.best_loss, self.progress.best_epoch = loss, epoch
        # A mean is scored in place of the best epoch, and then early stopping needs only the best epoch's number.
        if not self.progress.last.most:
            # On the device: a copy to the host would hold up training, and the optimiser's moments take twice as much.
            self.progress.best_model = copy_state(self.model.state_dict())

    def save(self, folder: RunFolder) -> None:
        """Write `checkpoint.pt` atomically: all that the next epoch needs."""
        content = {
            "format": CHECKPOINT_FORMAT,
            "config": msgspec.json.encode(self.config).decode(),
            "records": [msgspec.json.encode(record).decode() for record in self.progress.records],
            "best_loss": self.progress.best_loss,
            "best_epoch": self.progress.best_epoch,
            # Under this name whoever scores a checkpoint looks for the parameters that count.
            "best_model": self.progress.scored_model(),
            "last": self.progress.last.to_checkpoint(),
            "model": self.model.state_dict(),
            **self.stepper.state_dict(),
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
        self.stepper.load_state_dict(content)
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
            best_model={} if self.config.optim.average_last else content["best_model"],
            # A checkpoint that is older than the knob holds no such copies, and its training asked for none.
            last=self.progress.last.from_checkpoint(content.get("last", ())),
        )

    def restore_best(self) -> None:
        """Load the parameters to score: of the lowest validation loss, or the mean over the last epochs."""
        scored = self.progress.scored_model()
        if scored:
            self.model.load_state_dict(scored)


def finite_or_none(value: float) -> float | None:
    """Return the value, or None if it is not finite, because JSON has no NaN."""
    return value if math.isfinite(value) else None
