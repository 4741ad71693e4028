import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.config import JobConfig
from model.data.batches import open_role
from model.studies.radio.study import RadioStudy
from model.train.device import JobError
from model.train.trainer import Trainer

CPU = torch.device("cpu")


TrainerBuilder = Callable[..., Trainer]


@pytest.fixture
def build_trainer(build_job: Callable[..., JobConfig], captures: Path) -> TrainerBuilder:
    def build(**changes: object) -> Trainer:
        config = build_job(**changes)
        train, validate = (
            open_role(config.data, names, captures) for names in (config.data.train, config.data.validate)
        )
        return Trainer(RadioStudy(config), train, validate, CPU)

    return build


def test_an_auxiliary_heads_loss_counts_by_its_weight(build_trainer: TrainerBuilder) -> None:
    x_B2S = torch.randn(4, 2, 48, generator=torch.Generator().manual_seed(0))
    class_B = torch.tensor([0, 1, 2, 0])
    losses = {}
    for weight in (0.25, 0.5):
        model = {"depth": 2, "aux_head": {"after_block": 1, "weight": weight}, "token_dropout": 0.0}
        trainer = build_trainer(model=model)
        trainer.model.train()
        logits_BC, aux_logits_BC = trainer.model.all_logits(x_B2S)
        expected = trainer.study.class_loss(logits_BC, class_B) + weight * trainer.study.class_loss(
            aux_logits_BC, class_B
        )
        losses[weight], _ = trainer.step(x_B2S, class_B).tolist()
        assert math.isclose(losses[weight], float(expected.detach()), rel_tol=1e-6)
        assert trainer.model.aux_head.head.weight.grad.abs().max() > 0
    assert losses[0.5] > losses[0.25] > 0


def test_what_no_machine_can_train_is_refused_before_the_first_step(build_trainer: TrainerBuilder) -> None:
    with pytest.raises(JobError, match=r"model.mode fused_recurrent cannot be trained.*Only chunk mode"):
        build_trainer(model={"mode": "fused_recurrent"})
