"""A step moves by finite gradients alone, and reads no number of the device on its way."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from model.config import JobConfig
from model.data.batches import open_role
from model.studies.radio.study import RadioStudy
from model.train.step import LateFlag, NonFiniteError, Stepper, StepSums
from model.train.trainer import Trainer

CPU = torch.device("cpu")
PLATEAU = {"kind": "plateau"}
READS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_dim")
"""Operations whose result the host has to know before it goes on. On a GPU each of them waits for the GPU."""
TrainerBuilder = Callable[..., Trainer]


class HostReads(TorchDispatchMode):
    """Counts the operations that make the host wait for a device: the stand-in for CUDA's own count."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        name = operation.overloadpacket.__name__
        # An index of bools has as many rows as it has true values, so the host must count them.
        by_mask = name in ("index", "index_put_") and any(
            part is not None and part.dtype == torch.bool for part in arguments[1]
        )
        if name in READS or by_mask:
            self.counts[name] += 1
        return operation(*arguments, **(named or {}))


@pytest.fixture
def build_trainer(build_job: Callable[..., JobConfig], captures: Path) -> TrainerBuilder:
    def build(**changes: object) -> Trainer:
        config = build_job(**changes)
        roles = (open_role(config.data, names, captures) for names in (config.data.train, config.data.validate))
        return Trainer(RadioStudy(config), *roles, CPU)

    return build


def reads_of_an_epoch(trainer: Trainer) -> int:
    trainer.train_epoch(1)
    with HostReads() as reads:
        trainer.train_epoch(2)
    return reads.counts.total()


def test_the_stand_in_counts_what_waits_for_a_device() -> None:
    x_B = torch.tensor([1.0, 0.0, 2.0])
    with HostReads() as reads:
        assert float(x_B.sum()) == 3.0
        assert len(x_B[x_B > 0]) == 2
        assert bool(x_B.isfinite().all())
        x_B.add(1.0).mul(2.0)
    assert reads.counts == {"_local_scalar_dense": 2, "index": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"kind": "focal", "gamma": 2.0, "label_smoothing": 0.05}},
        {"augment": {"roll": {}, "mixup": {}, "crop": {}, "phase_noise": {}, "iq_imbalance": {}, "gain_jitter": {}}},
        {"runtime": {"precision": "bf16"}},
        {"model": {"depth": 2, "aux_head": {"after_block": 1}, "stochastic_depth": 0.2, "resid_dropout": 0.1}},
    ],
    ids=["baseline", "focal", "all transforms", "bf16", "dropouts"],
)
def test_an_epoch_of_more_steps_reads_no_more_of_the_device(
    build_trainer: TrainerBuilder, changes: dict[str, Any]
) -> None:
    few, many = (
        reads_of_an_epoch(build_trainer(optim={"batch_size": size, "schedule": PLATEAU}, **changes)) for size in (12, 3)
    )
    assert few == many


@pytest.mark.parametrize(
    ("optim", "reads_a_step"),
    [({"schedule": {"kind": "cosine"}}, 1), ({"schedule": PLATEAU, "optimizer": "muon"}, 1)],
    ids=["a rate by step", "muon"],
)
def test_a_rate_by_step_and_muon_read_one_flag_a_step(
    build_trainer: TrainerBuilder, optim: dict[str, Any], reads_a_step: int
) -> None:
    few, many = (build_trainer(optim={"batch_size": size, **optim}) for size in (12, 3))
    more_steps = math.ceil(len(many.train) / 3) - math.ceil(len(few.train) / 12)
    assert reads_of_an_epoch(many) - reads_of_an_epoch(few) == reads_a_step * more_steps


class Line(nn.Module):
    """A model of two numbers, one of them in a block; the loss chooses their gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.blocks = nn.Linear(1, 1, bias=False)
        self.bias = nn.Parameter(torch.ones(1))
        nn.init.ones_(self.backbone.blocks.weight)

    @property
    def total(self) -> Tensor:
        return self.backbone.blocks.weight.sum() + self.bias.sum()


@pytest.fixture
def build_stepper(build_job: Callable[..., JobConfig]) -> Callable[..., Stepper]:
    def build(**optim: object) -> Stepper:
        return Stepper(build_job(optim=optim), Line(), CPU, steps_per_epoch=4)

    return build


def slopes(stepper: Stepper, factors: Sequence[float]) -> Iterator[tuple[list[float], float]]:
    """Step along each slope; yield loss and norm, and the sum of the numbers after the step."""
    for factor in factors:
        stepper.model.zero_grad(set_to_none=True)
        values_2 = stepper.take(stepper.model.total * factor)
        yield values_2.tolist(), float(stepper.model.total.detach())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_not_finite_leaves_weights_and_moments(
    build_stepper: Callable[..., Stepper], bad: float, optimizer: str
) -> None:
    optim = {"optimizer": optimizer, "schedule": PLATEAU}
    with_bad, without = build_stepper(**optim), build_stepper(**optim)
    ends = [
        list(slopes(stepper, factors))[-1] for stepper, factors in ((with_bad, (1.0, bad, 2.0)), (without, (1.0, 2.0)))
    ]
    assert ends[0] == ends[1]
    states = [[part["state"] for part in stepper.state_dict()["optimizers"]] for stepper in (with_bad, without)]
    torch.testing.assert_close(states[0], states[1], rtol=0.0, atol=0.0)


def test_a_schedule_by_step_counts_the_steps_that_moved(build_stepper: Callable[..., Stepper]) -> None:
    stepper = build_stepper(epochs=5, schedule={"kind": "plateau", "warmup_epochs": 2}, learning_rate=0.9)
    rates = []
    for _ in slopes(stepper, (1.0, math.nan, 1.0, 1.0)):
        rates.append(stepper.optimizers[0].param_groups[0]["lr"])
    # Of eight steps of warm-up: the second counts the first, the third counts no more, the fourth the third.
    assert [round(rate, 6) for rate in rates] == [0.1, 0.2, 0.2, 0.3]
    stepper.settle()
    assert round(stepper.learning_rate, 6) == 0.4
    stepper.settle()
    assert round(stepper.learning_rate, 6) == 0.4, "a step counts once"


def test_a_state_between_epochs_gives_the_same_steps(build_stepper: Callable[..., Stepper]) -> None:
    optim = {"epochs": 5, "schedule": {"kind": "cosine", "warmup_epochs": 1}}
    whole, first, second = (build_stepper(**optim) for _ in range(3))
    expected = list(slopes(whole, (1.0, 2.0, 3.0, 4.0)))
    list(slopes(first, (1.0, 2.0)))
    first.settle()
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    assert list(slopes(second, (3.0, 4.0))) == expected[2:]


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_read_as_it_was_when_it_was_sent(value: bool) -> None:
    flag = torch.tensor(value)
    assert LateFlag(flag).read() is value


@pytest.mark.parametrize(("epoch", "finite", "skipped"), [(1, 1, 9), (2, 5, 5), (2, 10, 0)])
def test_some_skipped_steps_are_no_failure(epoch: int, finite: int, skipped: int) -> None:
    StepSums(finite=finite, skipped=skipped).require_finite(epoch)


@pytest.mark.parametrize(("epoch", "finite", "skipped"), [(1, 0, 10), (2, 4, 6)])
def test_more_skipped_steps_than_taken_ones_are_a_failure(epoch: int, finite: int, skipped: int) -> None:
    with pytest.raises(NonFiniteError, match=f"epoch {epoch}: only {finite} of 10 steps had a finite loss"):
        StepSums(finite=finite, skipped=skipped).require_finite(epoch)


def test_skipped_steps_are_counted_and_not_averaged() -> None:
    values_N2 = torch.tensor([(2.0, 1.0), (math.nan, 1.0), (1.0, math.inf), (4.0, 3.0)])
    sums = StepSums.of(values_N2, data_seconds=0.5)
    assert (sums.mean_loss, sums.mean_grad_norm, sums.finite, sums.skipped) == (3.0, 2.0, 2, 2)
    assert sums.data_seconds == 0.5
    assert math.isnan(StepSums().mean_loss)
    assert math.isnan(StepSums().mean_grad_norm)
