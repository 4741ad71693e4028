import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from model.config import JobConfig, OptimConfig
from model.studies.radio.network import build_classifier
from model.train.optimization import Schedule, build_optimizers

JobBuilder = Callable[..., JobConfig]
STEPS = 4
"""Steps an epoch."""


def optim_of(**knobs: Any) -> OptimConfig:
    return msgspec.convert(knobs, OptimConfig)


def rates(optim: OptimConfig, losses: list[float | None]) -> list[float]:
    """Return the learning rate of each step, for a model of one number, and these validation losses."""
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([parameter], lr=optim.learning_rate)
    schedule = Schedule(optim, optimizer, STEPS)
    found = []
    for loss in losses:
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(loss)
    return found


def test_a_plateau_cuts_the_rate_after_its_patience() -> None:
    optim = optim_of(learning_rate=1.0, epochs=9, schedule={"kind": "plateau", "patience": 1, "factor": 0.5})
    by_epoch = rates(optim, [1.0, 0.9, 0.9, 0.9, 0.8, 0.9, 0.9, 0.9])[::STEPS]
    assert by_epoch == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_loss_that_is_not_finite_leaves_the_plateau_alone() -> None:
    optim = optim_of(learning_rate=1.0, epochs=9, schedule={"kind": "plateau", "patience": 0})
    assert rates(optim, [1.0, None, None, 0.5])[-1] == 1.0


def test_warm_up_rises_in_equal_steps_to_the_rate() -> None:
    optim = optim_of(learning_rate=1.0, epochs=9, schedule={"kind": "plateau", "warmup_epochs": 2})
    found = rates(optim, [1.0] * 3)
    assert found == pytest.approx([*(step / 9 for step in range(1, 9)), 1, 1, 1, 1])


def test_no_plateau_begins_during_the_warm_up() -> None:
    schedule = {"kind": "plateau", "patience": 0, "warmup_epochs": 3}
    found = rates(optim_of(learning_rate=1.0, epochs=9, schedule=schedule), [1, 2, 3, 4, 5])
    assert found[3 * STEPS] == pytest.approx(1.0)
    assert found[4 * STEPS] == pytest.approx(1.0), "the first epoch at the full rate sets the plateau's mark"


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_a_cosine_falls_from_the_rate_to_its_final_share(final: float) -> None:
    schedule = {"kind": "cosine", "final_factor": final}
    found = rates(optim_of(learning_rate=2.0, epochs=3, schedule=schedule), [1.0] * 3)
    expected = [2 * (final + (1 - final) * (1 + math.cos(math.pi * step / 12)) / 2) for step in range(12)]
    assert found == pytest.approx(expected)


def test_a_cosine_after_a_warm_up_begins_at_the_rate() -> None:
    schedule = {"kind": "cosine", "warmup_epochs": 1}
    found = rates(optim_of(learning_rate=1.0, epochs=3, schedule=schedule), [1.0] * 3)
    assert found[:STEPS] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[STEPS:] == pytest.approx([(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])


def test_one_cycle_peaks_at_its_factor_after_its_rising_share() -> None:
    schedule = {"kind": "one_cycle", "peak_factor": 10.0, "rising": 0.25}
    found = rates(optim_of(learning_rate=3e-4, epochs=25, schedule=schedule), [1.0] * 25)
    assert max(found) == pytest.approx(3e-3, rel=1e-3)
    assert found.index(max(found)) == pytest.approx(25, abs=1)
    assert found[-1] == pytest.approx(3e-3 / 25e4, rel=1e-3)


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "plateau", "patience": 0, "warmup_epochs": 1},
        {"kind": "cosine", "warmup_epochs": 1},
        {"kind": "one_cycle"},
    ],
    ids=lambda schedule: schedule["kind"],
)
def test_a_schedule_goes_on_from_its_state(schedule: dict[str, Any]) -> None:
    optim = optim_of(learning_rate=1.0, epochs=6, schedule=schedule)
    losses: list[float | None] = [1.0, 2.0, 3.0, 4.0, 5.0]
    optimizers = [torch.optim.AdamW([nn.Parameter(torch.ones(1))], lr=1.0) for _ in range(2)]
    first, second = (Schedule(optim, optimizer, STEPS) for optimizer in optimizers)
    found: list[list[float]] = [[], []]
    for epoch, loss in enumerate(losses):
        if epoch == 2:
            optimizers[1].load_state_dict(optimizers[0].state_dict())
            second.load_state_dict(first.state_dict())
        for number, (optimizer, part) in enumerate(zip(optimizers, (first, second), strict=True)):
            if number == 1 and epoch < 2:
                continue
            for _ in range(STEPS):
                found[number].append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                part.after_step()
            part.after_epoch(loss)
    assert found[1] == found[0][2 * STEPS :]


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_all_else(build_job: JobBuilder) -> None:
    job = build_job(optim={"optimizer": "muon", "weight_decay": 0.1})
    model = build_classifier(job, 3, torch.device("cpu"))
    adamw, muon = build_optimizers(job.optim, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    by_adamw = {names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]}
    assert by_muon | by_adamw == set(names.values())
    assert not by_muon & by_adamw
    assert {"backbone.blocks.0.attn.q_proj.weight", "backbone.blocks.0.mlp.up_proj.weight"} <= by_muon
    assert {"head.weight", "backbone.patch_embed.weight", "backbone.blocks.0.attn.q_conv1d.weight"} <= by_adamw
    assert [group["weight_decay"] for part in (adamw, muon) for group in part.param_groups] == [0.1, 0.1]


def test_weight_decay_shrinks_what_has_no_gradient() -> None:
    optim = optim_of(learning_rate=0.5, weight_decay=0.1)
    layer = nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    (optimizer,) = build_optimizers(optim, layer)
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.5 * 0.1))
