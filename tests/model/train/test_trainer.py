"""One epoch after the other, and what a checkpoint brings back. Law 4: "A resumed run gives the same numbers as one
never stopped."
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from model.config import JobConfig
from model.data.batches import BurstSet, open_role
from model.studies.radio.study import RadioStudy
from model.train.checkpoint import read_checkpoint, write_checkpoint
from model.train.losses import Blend
from model.train.run_folder import EpochRecord, RunFolder
from model.train.step import NonFiniteError
from model.train.trainer import Trainer

CPU = torch.device("cpu")
TrainerBuilder = Callable[..., Trainer]
Epochs = Callable[[RunFolder], list[EpochRecord]]


@pytest.fixture
def build_trainer(build_job: Callable[..., JobConfig], captures: Path) -> TrainerBuilder:
    def build(**changes: object) -> Trainer:
        config = build_job(**changes)
        train, validate = (
            open_role(config.data, names, captures) for names in (config.data.train, config.data.validate)
        )
        return Trainer(RadioStudy(config), train, validate, CPU)

    return build


def never() -> bool:
    return False


def after(num_epochs: int) -> Callable[[], bool]:
    """Ask to stop once that many epochs are done."""
    asked = iter([False] * num_epochs + [True])
    return lambda: next(asked)


def folder_in(tmp_path: Path, name: str) -> RunFolder:
    folder = RunFolder(tmp_path / name)
    folder.path.mkdir()
    return folder


def parameters(trainer: Trainer) -> list[Tensor]:
    return [value.clone() for value in trainer.model.state_dict().values()]


def test_the_end_is_reached_after_all_epochs(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    trainer, folder = build_trainer(), folder_in(tmp_path, "run")
    assert trainer.fit(folder, never)
    assert trainer.is_finished()
    assert [record.epoch for record in folder.read_epochs()] == [1, 2, 3]
    assert folder.read_epochs() == trainer.progress.records


def test_a_record_says_what_an_epoch_came_to(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    trainer, folder = build_trainer(), folder_in(tmp_path, "run")
    trainer.fit(folder, after(1))
    (record,) = folder.read_epochs()
    assert record.seconds > 0
    # 36 bursts, of the time that training took and not validating.
    assert record.bursts_per_second > 36 / record.seconds
    assert record.learning_rate == 3e-3
    assert record.skipped_steps == 0
    assert record.grad_norm > 0
    assert math.isclose(record.train_loss, math.log(3), rel_tol=0.05)
    assert record.val_accuracy * 24 == round(record.val_accuracy * 24)
    assert record.peak_memory_bytes > 50 * 2**20


def test_a_run_learns_to_tell_tones_apart(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    trainer, folder = build_trainer(optim={"epochs": 12}), folder_in(tmp_path, "run")
    trainer.fit(folder, never)
    records = folder.read_epochs()
    assert records[-1].train_loss < 0.5 * records[0].train_loss
    assert max(record.val_accuracy for record in records) > 0.9


CALM = {"epochs": 3}
WILD = {"epochs": 7, "learning_rate": 0.3, "schedule": {"kind": "plateau", "patience": 1}, "early_stopping": 5}
"""The loss goes up and down, so that schedule and best epoch have something to remember."""


MUON = {"optimizer": "muon", "schedule": {"kind": "cosine", "warmup_epochs": 2}, "weight_decay": 0.1}
ONE_CYCLE = {"schedule": {"kind": "one_cycle"}}
EVERY_STREAM = {
    "loss": {"kind": "focal"},
    "augment": {
        "crop": {},
        "roll": {},
        "iq_imbalance": {},
        "gain_jitter": {},
        "constant_phase": {},
        "phase_noise": {},
        "noise": {"warmup": {"start_db": 30.0, "epochs": 2}},
        "mixup": {},
    },
    "model": {
        "depth": 2,
        "resid_dropout": 0.2,
        "stochastic_depth": 0.3,
        "token_dropout": 0.1,
        "softmax_every": 2,
        "learned_positions": True,
        "pooling": "attention",
        "patch_embed": "stft",
        "aux_head": {"after_block": 1},
    },
}


class Killed(BaseException):
    """In place of kill -9: nothing after it is executed."""


@dataclass(frozen=True)
class KilledAfter(RunFolder):
    """A run folder whose job dies once an epoch is on record."""

    epoch: int

    def append_epoch(self, record: EpochRecord) -> None:
        super().append_epoch(record)
        if record.epoch == self.epoch:
            raise Killed


@pytest.mark.parametrize("killed_after", range(1, 8))
def test_a_run_with_a_checkpoint_every_three_epochs_and_killed_anywhere_gives_the_numbers_of_one_never_stopped(
    build_trainer: TrainerBuilder, tmp_path: Path, killed_after: int, timeless: Epochs
) -> None:
    whole, killed = folder_in(tmp_path, "whole"), folder_in(tmp_path, "killed")
    never_stopped = build_trainer(optim=WILD)
    never_stopped.fit(whole, never)

    runtime = {"checkpoint_epochs": 3}
    with pytest.raises(Killed):
        build_trainer(optim=WILD, runtime=runtime).fit(KilledAfter(killed.path, killed_after), never)
    assert len(killed.read_epochs()) == killed_after
    resumed = build_trainer(optim=WILD, runtime=runtime)
    resumed.resume(killed)
    assert resumed.progress.epoch == (killed_after if killed_after == 7 else killed_after // 3 * 3)
    assert len(killed.read_epochs()) == resumed.progress.epoch
    assert resumed.fit(killed, never)

    assert timeless(killed) == timeless(whole)
    assert all(map(torch.equal, parameters(resumed), parameters(never_stopped)))
    resumed.restore_best()
    never_stopped.restore_best()
    assert all(map(torch.equal, parameters(resumed), parameters(never_stopped)))


def note_checkpoints(trainer: Trainer) -> list[int]:
    """Return a list to which the epoch of each checkpoint that the trainer writes is added."""
    epochs: list[int] = []
    save = trainer.save

    def noting(folder: RunFolder) -> None:
        save(folder)
        epochs.append(len(torch.load(folder.checkpoint, weights_only=True)["records"]))

    trainer.save = noting
    return epochs


@pytest.mark.parametrize(
    ("every", "epochs"), [(1, [1, 2, 3, 4, 5, 6, 7]), (2, [2, 4, 6, 7]), (3, [3, 6, 7]), (7, [7]), (100, [7])]
)
def test_a_checkpoint_is_written_every_so_many_epochs_and_at_the_last(
    build_trainer: TrainerBuilder, tmp_path: Path, every: int, epochs: list[int]
) -> None:
    trainer = build_trainer(optim={"epochs": 7}, runtime={"checkpoint_epochs": every})
    written = note_checkpoints(trainer)
    trainer.fit(folder_in(tmp_path, "run"), never)
    assert written == epochs


def test_a_checkpoint_is_written_where_patience_runs_out(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    optim = {"learning_rate": 0.3, "epochs": 50, "early_stopping": 2}
    trainer = build_trainer(optim=optim, runtime={"checkpoint_epochs": 100})
    written = note_checkpoints(trainer)
    trainer.fit(folder_in(tmp_path, "run"), never)
    assert written == [trainer.progress.epoch]
    assert trainer.progress.epoch < 50


def test_a_checkpoint_is_written_where_a_run_is_stopped_unless_there_is_one(
    build_trainer: TrainerBuilder, tmp_path: Path
) -> None:
    folder, changes = folder_in(tmp_path, "run"), {"optim": {"epochs": 7}, "runtime": {"checkpoint_epochs": 3}}
    trainer = build_trainer(**changes)
    written = note_checkpoints(trainer)
    trainer.fit(folder, after(0))
    assert (written, folder.checkpoint.exists()) == ([], False)
    for num_epochs in (3, 1, 0):
        trainer.fit(folder, after(num_epochs))
    assert written == [3, 4]
    resumed = build_trainer(**changes)
    resumed.resume(folder)
    written = note_checkpoints(resumed)
    resumed.fit(folder, after(0))
    assert written == []
    resumed.fit(folder, never)
    assert written == [6, 7]


@pytest.mark.parametrize(
    ("changes", "stopped_after"),
    [
        ({"optim": CALM}, 1),
        ({"optim": CALM}, 2),
        ({"optim": WILD}, 2),
        ({"optim": WILD}, 3),
        ({"optim": WILD}, 4),
        ({"optim": MUON}, 1),
        ({"optim": MUON}, 2),
        ({"optim": ONE_CYCLE}, 2),
        (EVERY_STREAM, 1),
        (EVERY_STREAM, 2),
    ],
)
def test_a_resumed_run_gives_the_same_numbers_as_one_never_stopped(
    build_trainer: TrainerBuilder, tmp_path: Path, changes: dict[str, object], stopped_after: int, timeless: Epochs
) -> None:
    whole, stopped = folder_in(tmp_path, "whole"), folder_in(tmp_path, "stopped")
    never_stopped = build_trainer(**changes)
    never_stopped.fit(whole, never)

    assert not build_trainer(**changes).fit(stopped, after(stopped_after))
    assert len(stopped.read_epochs()) == stopped_after
    torch.manual_seed(99)
    resumed = build_trainer(**changes)
    resumed.resume(stopped)
    assert resumed.progress.epoch == stopped_after
    assert resumed.fit(stopped, never)

    assert timeless(stopped) == timeless(whole)
    assert all(map(torch.equal, parameters(resumed), parameters(never_stopped)))
    assert resumed.progress.best_epoch == never_stopped.progress.best_epoch
    assert resumed.progress.best_loss == never_stopped.progress.best_loss
    resumed.restore_best()
    never_stopped.restore_best()
    assert all(map(torch.equal, parameters(resumed), parameters(never_stopped)))


def test_the_same_seed_gives_the_same_records_and_another_seed_others(
    build_trainer: TrainerBuilder, tmp_path: Path, timeless: Epochs
) -> None:
    told = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        folder = folder_in(tmp_path, name)
        build_trainer(seed=seed).fit(folder, never)
        told.append(timeless(folder))
    assert told[0] == told[1]
    assert all(one.train_loss != other.train_loss for one, other in zip(told[0], told[2], strict=True))


def test_a_record_lost_between_checkpoint_and_line_is_written_again(
    build_trainer: TrainerBuilder, tmp_path: Path
) -> None:
    folder = folder_in(tmp_path, "run")
    build_trainer().fit(folder, after(2))
    before = folder.read_epochs()
    folder.restore_epochs(before[:1])
    resumed = build_trainer()
    resumed.resume(folder)
    assert folder.read_epochs() == before
    assert resumed.progress.records == before


def test_epochs_after_the_checkpoint_are_trained_again(
    build_trainer: TrainerBuilder, tmp_path: Path, timeless: Epochs
) -> None:
    folder = folder_in(tmp_path, "run")
    build_trainer().fit(folder, after(1))
    checkpoint = folder.checkpoint.read_bytes()
    going_on = build_trainer()
    going_on.resume(folder)
    going_on.fit(folder, after(1))
    before = timeless(folder)
    folder.checkpoint.write_bytes(checkpoint)
    resumed = build_trainer()
    resumed.resume(folder)
    assert timeless(folder) == before[:1]
    resumed.fit(folder, after(1))
    assert timeless(folder) == before


SPOILS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "tripled records": lambda path: rewrite(path, lambda content: content["records"].extend(content["records"] * 2)),
    "another format": lambda path: rewrite(path, lambda content: content.update(format=99)),
    "another configuration": lambda path: rewrite(
        path, lambda content: content.update(config=content["config"].replace('"seed":0', '"seed":1'))
    ),
}


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = read_checkpoint(path, "cpu")
    change(content)
    with path.open("wb") as file:
        write_checkpoint(file, content)


@pytest.mark.parametrize("how", SPOILS)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_set_aside_and_changes_no_number(
    build_trainer: TrainerBuilder, tmp_path: Path, timeless: Epochs, how: str
) -> None:
    folder, told = folder_in(tmp_path, "run"), list[str]()
    build_trainer().fit(folder, after(2))
    before = timeless(folder)
    SPOILS[how](folder.checkpoint)
    resumed = build_trainer()
    resumed.resume(folder, told.append)
    assert (resumed.progress.epoch, folder.read_epochs()) == (0, [])
    assert told[0].endswith("it is kept as checkpoint.pt.set-aside, and training starts anew")
    resumed.fit(folder, after(2))
    assert timeless(folder) == before


def test_epochs_without_a_checkpoint_are_trained_again(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    folder = folder_in(tmp_path, "run")
    build_trainer().fit(folder, after(1))
    folder.checkpoint.unlink()
    resumed = build_trainer()
    resumed.resume(folder)
    assert resumed.progress.epoch == 0
    assert folder.read_epochs() == []


def test_a_checkpoint_holds_nothing_but_tensors_and_plain_values(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    trainer, folder = build_trainer(), folder_in(tmp_path, "run")
    trainer.fit(folder, after(1))
    content = torch.load(folder.checkpoint, weights_only=True)
    assert msgspec.json.decode(content["config"], type=JobConfig) == trainer.config
    assert content["model"].keys() == content["best_model"].keys() == trainer.model.state_dict().keys()
    assert content["format"] == 1


def test_the_best_epoch_is_that_of_the_lowest_validation_loss(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    # A rate so high that the loss soon goes up again; trained until it does.
    trainer, folder = build_trainer(optim={"learning_rate": 0.3, "epochs": 30}), folder_in(tmp_path, "run")
    seen = {}
    while trainer.progress.best_epoch == trainer.progress.epoch:
        trainer.fit(folder, after(1))
        seen[trainer.progress.epoch] = parameters(trainer)
    losses = [record.val_loss for record in folder.read_epochs()]
    best = losses.index(min(losses)) + 1
    assert best < len(losses)
    assert (trainer.progress.best_epoch, trainer.progress.best_loss) == (best, min(losses))
    trainer.restore_best()
    assert all(map(torch.equal, parameters(trainer), seen[best]))


def test_patience_runs_out_after_so_many_epochs_without_a_lower_loss(
    build_trainer: TrainerBuilder, tmp_path: Path
) -> None:
    optim = {"learning_rate": 0.3, "epochs": 50, "early_stopping": 2}
    trainer, folder = build_trainer(optim=optim), folder_in(tmp_path, "run")
    assert trainer.fit(folder, never)
    assert trainer.progress.epoch == trainer.progress.best_epoch + 2 < 50


def test_the_learning_rate_falls_once_the_loss_no_longer_does(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    optim = {"learning_rate": 0.3, "epochs": 12, "schedule": {"kind": "plateau", "patience": 0, "factor": 0.5}}
    trainer, folder = build_trainer(optim=optim), folder_in(tmp_path, "run")
    trainer.fit(folder, never)
    records = folder.read_epochs()
    best = math.inf
    for record, following in pairwise(records):
        # PyTorch counts a loss as lower when it is so by a part in ten thousand.
        improved = record.val_loss < best * (1 - 1e-4)
        best = record.val_loss if improved else best
        factor = 1.0 if improved else 0.5
        assert math.isclose(following.learning_rate, record.learning_rate * factor, rel_tol=1e-9)
    assert records[-1].learning_rate < 0.3


def test_bursts_go_to_the_device_whenever_they_are_chosen(
    build_trainer: TrainerBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[tuple[BurstSet, torch.device]] = []
    monkeypatch.setattr(BurstSet, "place", lambda bursts, device, free_bytes: placed.append((bursts, device)))
    trainer = build_trainer()
    trainer.use_bursts(trainer.train, trainer.validate)
    assert placed == [(trainer.train, CPU), (trainer.validate, CPU)] * 2


def test_a_step_takes_a_gradient_of_at_most_the_clipping_norm(build_trainer: TrainerBuilder) -> None:
    trainer = build_trainer(optim={"clip_norm": 1e-3})
    x_B2S = torch.randn(4, 2, 48, generator=torch.Generator().manual_seed(0))
    _, norm_before = trainer.step(x_B2S, torch.tensor([0, 1, 2, 0])).tolist()
    clipped = torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()]).norm()
    assert norm_before > 1e-2
    assert math.isclose(clipped, 1e-3, rel_tol=1e-2)


def test_an_epoch_without_a_finite_step_ends_the_run_and_is_on_record(
    build_trainer: TrainerBuilder, tmp_path: Path
) -> None:
    trainer, folder = build_trainer(optim={"learning_rate": 1e30}), folder_in(tmp_path, "run")
    with pytest.raises(NonFiniteError, match="epoch 2: only 0 of 5 steps had a finite loss and gradient"):
        trainer.fit(folder, never)
    first, second = folder.read_epochs()
    assert 0 < first.skipped_steps < 5
    assert second.skipped_steps == 5
    assert (second.train_loss, second.grad_norm) == (None, None)


def test_a_step_that_is_not_finite_changes_no_parameter(build_trainer: TrainerBuilder) -> None:
    trainer = build_trainer()
    before = parameters(trainer)
    loss, _ = trainer.step(torch.full((4, 2, 48), torch.nan), torch.tensor([0, 1, 2, 0])).tolist()
    assert math.isnan(loss)
    assert all(map(torch.equal, parameters(trainer), before))


def test_a_step_that_is_not_finite_moves_no_schedule(build_trainer: TrainerBuilder) -> None:
    trainer = build_trainer(optim={"schedule": {"kind": "plateau", "warmup_epochs": 2}})
    rate = trainer.stepper.learning_rate
    for bursts, moves in ((torch.full((4, 2, 48), torch.nan), False), (torch.ones(4, 2, 48), True)):
        trainer.step(bursts, torch.tensor([0, 1, 2, 0]))
        trainer.stepper.settle()
        assert (trainer.stepper.learning_rate > rate) == moves


def test_a_step_weighs_the_classes_of_blended_bursts_by_their_shares(build_trainer: TrainerBuilder) -> None:
    x_B2S, class_B = torch.randn(4, 2, 48, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    partner_B = torch.tensor([1, 2, 3, 0])

    def loss_of(classes_B: Tensor, blend: Blend | None = None) -> float:
        trainer = build_trainer(model={"token_dropout": 0.0})
        with torch.no_grad():
            trainer.model.head.weight.mul_(1000)  # else all classes are as likely, and all losses the same
        return float(trainer.step(x_B2S, classes_B, blend)[0])

    own, partners = loss_of(class_B), loss_of(class_B[partner_B])
    blended = loss_of(class_B, Blend(partner_B, torch.full((4,), 0.3)))
    assert abs(own - partners) > 1e-2
    assert math.isclose(blended, 0.3 * own + 0.7 * partners, rel_tol=1e-5)


def test_shuffled_labels_are_those_of_training_alone(build_trainer: TrainerBuilder) -> None:
    plain, shuffled = build_trainer(), build_trainer(data={"shuffled_labels": True})
    before, dealt = plain.train.class_of_burst, shuffled.train.class_of_burst
    assert not torch.equal(dealt, before)
    assert torch.equal(dealt.sort().values, before.sort().values)
    assert torch.equal(shuffled.validate.class_of_burst, plain.validate.class_of_burst)


def test_bf16_trains_on_a_cpu(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    records = {}
    for precision in ("bf16", "fp32"):
        folder = folder_in(tmp_path, precision)
        trainer = build_trainer(runtime={"precision": precision})
        before = parameters(trainer)
        trainer.fit(folder, after(1))
        (records[precision],) = folder.read_epochs()
        assert all(value.dtype == torch.float32 for value in parameters(trainer))
        assert not any(map(torch.equal, parameters(trainer), before))
    assert records["bf16"].skipped_steps == 0
    # Rounded to eight bits, but the same training.
    assert records["bf16"].train_loss != records["fp32"].train_loss
    assert math.isclose(records["bf16"].train_loss, records["fp32"].train_loss, rel_tol=0.02)
    assert math.isclose(records["bf16"].grad_norm, records["fp32"].grad_norm, rel_tol=0.1)


# PyTorch's tracer does all three itself: in 2.13, in 2.11, and under Python 3.13.0.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
def test_compiling_changes_no_number_and_no_name(
    build_trainer: TrainerBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeless: Epochs
) -> None:
    # Traced, but run as it is: on one core the compiler itself takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = folder_in(tmp_path, "plain"), folder_in(tmp_path, "compiled")
    optim = {"epochs": 1, "batch_size": 16}
    build_trainer(optim=optim).fit(plain, never)
    build_trainer(optim=optim, runtime={"compile": True}).fit(compiled, never)
    assert timeless(compiled) == timeless(plain)
    states = [torch.load(folder.checkpoint, weights_only=True)["best_model"] for folder in (plain, compiled)]
    assert states[0].keys() == states[1].keys()
