"""What the benchmark trains and how it states what it found; no training here is as long as one of it."""

from pathlib import Path

import pytest
import torch

from benchmarks.quick_baseline import Candidate, Training, candidate_job, load, quick_job, rows, spread
from model.config import JobConfig
from model.data.batches import open_role
from model.studies.radio.study import RadioStudy
from model.train.averaging import LastEpochs
from model.train.trainer import Trainer
from tests.model.conftest import captures

__all__ = ["captures"]


def test_a_candidate_differs_from_the_shipped_baseline_in_rate_epochs_and_average_alone() -> None:
    base = quick_job()
    job = candidate_job(base, Candidate(5e-4, 7, (0,)), 3)
    assert (job.seed, job.optim.learning_rate, job.optim.epochs, job.optim.average_last) == (3, 5e-4, 7, 0)
    assert job.optim.batch_size == base["optim"]["batch_size"]
    assert job.data.captures["LocD"].packets == (0, 400)


def test_accuracies_are_stated_with_their_spread_over_seeds() -> None:
    assert spread([80.0, 90.0]) == "85.0 ± 7.1"
    assert spread([80.0]) == "80.0"


def test_each_way_of_averaging_has_a_row() -> None:
    accuracy = {(number, name): 50.0 + number for number in (0, 4) for name in ("LocC", "LocD")}
    found = list(rows(Candidate(1e-3, 12, (0, 4)), [Training(accuracy, 9.0), Training(accuracy, 11.0)]))
    assert found == [
        "| 0.001 | 12 | best epoch | 50.0 ± 0.0 | 50.0 ± 0.0 | 10.0 |",
        "| 0.001 | 12 | mean of the last 4 | 54.0 ± 0.0 | 54.0 ± 0.0 | 10.0 |",
    ]


@pytest.mark.parametrize(("number", "mean"), [(1, 4.0), (2, 3.5), (4, 2.5)])
def test_the_mean_of_so_many_last_epochs_is_loaded(
    tiny_config: JobConfig, captures: Path, number: int, mean: float
) -> None:
    parts = [open_role(tiny_config.data, names, captures) for names in (("train",), ("val",))]
    trainer = Trainer(RadioStudy(tiny_config), parts[0], parts[1], torch.device("cpu"))
    last = LastEpochs(4)
    for epoch in (1, 2, 3, 4):
        state = trainer.model.state_dict()
        last.add(epoch, {name: torch.full_like(value, float(epoch)) for name, value in state.items()})
    load(trainer, last, number)
    assert all((value == mean).all() for value in trainer.model.state_dict().values())
