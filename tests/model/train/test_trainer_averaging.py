"""The mean of the last epochs' weights in place of the best epoch. Law 4 holds for it too: "A resumed run gives the
same numbers as one never stopped."
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from model.studies.radio.evaluate import load_classifier
from model.studies.radio.study import RadioStudy
from model.train.checkpoint import read_checkpoint, write_checkpoint
from model.train.job import run_job
from model.train.run_folder import RunFolder
from model.train.trainer import Trainer
from tests.model.conftest import FolderBuilder
from tests.model.train.test_trainer import (
    WILD,
    Epochs,
    Killed,
    KilledAfter,
    TrainerBuilder,
    after,
    build_trainer,
    folder_in,
    never,
    parameters,
)

__all__ = ["build_trainer"]

WILD_MEAN = {**WILD, "average_last": 3}


def watch_weights(trainer: Trainer, folder: RunFolder) -> list[dict[str, torch.Tensor]]:
    """Train to the end; return the weights after each epoch."""
    states: list[dict[str, torch.Tensor]] = []
    trainer.fit(
        folder,
        never,
        lambda _: states.append({name: value.clone() for name, value in trainer.model.state_dict().items()}),
    )
    return states


def mean_of(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def require_close(trainer: Trainer, wanted: dict[str, torch.Tensor]) -> None:
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-7)


def test_the_mean_of_the_last_weights_is_scored(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    trainer = build_trainer(optim={"epochs": 5, "average_last": 3})
    states = watch_weights(trainer, folder_in(tmp_path, "run"))
    trainer.restore_best()
    require_close(trainer, mean_of(states[2:]))
    assert trainer.progress.last.epochs == (3, 4, 5)


def test_averaging_changes_no_epoch(build_trainer: TrainerBuilder, tmp_path: Path, timeless: Epochs) -> None:
    plain, averaged = folder_in(tmp_path, "plain"), folder_in(tmp_path, "averaged")
    build_trainer(optim=WILD).fit(plain, never)
    build_trainer(optim=WILD_MEAN).fit(averaged, never)
    assert timeless(plain) == timeless(averaged)


@pytest.mark.parametrize("killed_after", range(1, 8))
def test_a_run_killed_anywhere_averages_the_weights_of_one_never_stopped_to_the_last_digit(
    build_trainer: TrainerBuilder, tmp_path: Path, killed_after: int, timeless: Epochs
) -> None:
    whole, killed = folder_in(tmp_path, "whole"), folder_in(tmp_path, "killed")
    never_stopped = build_trainer(optim=WILD_MEAN)
    never_stopped.fit(whole, never)
    runtime = {"checkpoint_epochs": 2}
    with pytest.raises(Killed):
        build_trainer(optim=WILD_MEAN, runtime=runtime).fit(KilledAfter(killed.path, killed_after), never)
    resumed = build_trainer(optim=WILD_MEAN, runtime=runtime)
    resumed.resume(killed)
    assert resumed.fit(killed, never)
    assert timeless(killed) == timeless(whole)
    for trainer in (resumed, never_stopped):
        trainer.restore_best()
    assert resumed.progress.describe_scored() == never_stopped.progress.describe_scored()
    assert all(map(torch.equal, parameters(resumed), parameters(never_stopped)))


def test_a_run_that_stops_early_averages_the_last_epochs_that_were_trained(
    build_trainer: TrainerBuilder, tmp_path: Path
) -> None:
    optim = {"learning_rate": 0.3, "epochs": 50, "early_stopping": 2, "average_last": 3}
    trainer = build_trainer(optim=optim)
    trainer.fit(folder_in(tmp_path, "run"), never)
    ended = trainer.progress.epoch
    assert ended < 50
    # Early stopping still waits for the lowest loss of a single epoch.
    assert ended == trainer.progress.best_epoch + 2
    assert trainer.progress.last.epochs == tuple(range(max(1, ended - 2), ended + 1))


def test_a_run_with_fewer_epochs_than_asked_for_averages_all(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    trainer, folder = build_trainer(optim={"epochs": 9, "average_last": 9}), folder_in(tmp_path, "run")
    trainer.fit(folder, after(2))
    assert trainer.progress.last.epochs == (1, 2)
    assert trainer.progress.describe_scored() == "the mean of epochs 1 to 2 of 2"


def test_an_epoch_without_a_finite_validation_loss_is_left_out_of_the_mean(
    build_trainer: TrainerBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build_trainer(optim={"epochs": 4, "average_last": 3})
    score = trainer.score

    def failing_once(*words: Any) -> Any:
        scores = score(*words)
        return without_loss(scores) if trainer.progress.epoch == 2 else scores

    monkeypatch.setattr(trainer, "score", failing_once)
    states = watch_weights(trainer, folder_in(tmp_path, "run"))
    assert trainer.progress.records[2].val_loss is None
    assert trainer.progress.describe_scored() == "the mean of epochs 1, 2 and 4 of 4"
    trainer.restore_best()
    require_close(trainer, mean_of([states[0], states[1], states[3]]))


def without_loss(scores: Any) -> Any:
    return type(scores)(logits=scores.logits, classes=scores.classes, loss=math.nan)


def test_a_checkpoint_that_is_older_than_the_knob_goes_on(
    build_trainer: TrainerBuilder, tmp_path: Path, timeless: Epochs
) -> None:
    whole, old = folder_in(tmp_path, "whole"), folder_in(tmp_path, "old")
    build_trainer(optim=WILD).fit(whole, never)
    build_trainer(optim=WILD).fit(old, after(3))
    content = read_checkpoint(old.checkpoint, "cpu")
    del content["last"]
    config = msgspec.json.decode(content["config"])
    del config["optim"]["average_last"]
    content["config"] = msgspec.json.encode(config).decode()
    old.write_checkpoint(lambda file: write_checkpoint(file, content))
    resumed, told = build_trainer(optim=WILD), []
    resumed.resume(old, told.append)
    assert (resumed.progress.epoch, told) == (3, [])
    resumed.fit(old, never)
    assert timeless(old) == timeless(whole)


def test_a_checkpoint_of_another_average_is_set_aside(build_trainer: TrainerBuilder, tmp_path: Path) -> None:
    folder = folder_in(tmp_path, "run")
    build_trainer().fit(folder, after(1))
    told: list[str] = []
    build_trainer(optim={"average_last": 2}).resume(folder, told.append)
    assert "differs in optim.average_last" in told[0]


def test_the_result_says_which_epochs_the_mean_is_of_and_holds_its_validation_score(
    build_folder: FolderBuilder, captures: Path
) -> None:
    folder = build_folder(optim={"epochs": 5, "average_last": 3})
    assert run_job(RadioStudy, folder, captures) == 0
    result = folder.read_result()
    assert result.reason == "all epochs trained; scored the mean of epochs 3 to 5 of 5"
    assert (result.best_epoch, result.epochs) == (5, 5)
    assert set(result.scores) == {"val", "choose", "report"}
    # The mean's own loss, of no epoch.
    assert result.scores["val"].loss not in [record.val_loss for record in folder.read_epochs()]


def test_a_checkpoint_gives_whoever_scores_it_the_mean(
    build_folder: FolderBuilder, build_trainer: Callable[..., Trainer], captures: Path
) -> None:
    optim = {"epochs": 4, "average_last": 2}
    folder = build_folder(optim=optim)
    assert run_job(RadioStudy, folder, captures) == 0
    model, _ = load_classifier(folder.checkpoint, torch.device("cpu"))
    trainer = build_trainer(optim=optim)
    trainer.resume(folder)
    trainer.model.load_state_dict(model.state_dict())
    scored = np.load(folder.predictions)["val/logits"]
    assert np.array_equal(trainer.score(trainer.validate).logits.numpy(), scored)


def test_the_mean_goes_into_the_tensors_that_a_compiled_network_reads(
    build_trainer: TrainerBuilder, tmp_path: Path
) -> None:
    trainer = build_trainer(optim={"epochs": 2, "average_last": 2})
    trainer.fit(folder_in(tmp_path, "run"), never)
    places = [parameter.data_ptr() for parameter in trainer.model.parameters()]
    before = parameters(trainer)
    trainer.restore_best()
    assert [parameter.data_ptr() for parameter in trainer.model.parameters()] == places
    assert not all(map(torch.equal, parameters(trainer), before))
