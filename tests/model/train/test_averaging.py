"""The mean of the last weights: of the right epochs, in the right type, and to the last digit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model.train.averaging import LastEpochs, describe_epochs, mean_state


def filled(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3,), value)}


@given(most=st.integers(0, 6), num_epochs=st.integers(0, 12))
def test_the_last_epochs_are_kept_and_averaged(most: int, num_epochs: int) -> None:
    last = LastEpochs(most)
    for epoch in range(1, num_epochs + 1):
        last.add(epoch, filled(float(epoch)))
    wanted = tuple(range(1, num_epochs + 1))[max(0, num_epochs - most) :] if most else ()
    assert last.epochs == wanted
    if wanted:
        assert torch.equal(last.mean()["weight"], torch.full((3,), sum(wanted) / len(wanted)))
    else:
        assert last.mean() == {}


def test_a_copy_does_not_follow_the_weights_that_are_trained_on() -> None:
    layer, last = nn.Linear(2, 1), LastEpochs(2)
    before = layer.weight.detach().clone()
    last.add(1, layer.state_dict())
    with torch.no_grad():
        layer.weight.add_(1.0)
    assert torch.equal(last.mean()["weight"], before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_float32(dtype: torch.dtype) -> None:
    # The sum of three values of 40,000 is infinite in float16; in bfloat16, 256 + 1 is 256.
    large, small = torch.tensor([40_000.0]), torch.tensor([1.0])
    mean = mean_state([{"weight": value.to(dtype)} for value in (large, large, large)])["weight"]
    assert (mean.dtype, mean.isfinite().all()) == (dtype, True)
    assert mean == large.to(dtype)
    values = [256 * small, small, small, small, small]
    assert mean_state([{"weight": value.to(dtype)} for value in values])["weight"] == torch.tensor([52.0]).to(dtype)


def test_counters_are_those_of_the_last_state_and_statistics_are_averaged() -> None:
    norms = [nn.BatchNorm1d(2) for _ in range(3)]
    for number, norm in enumerate(norms):
        norm.num_batches_tracked.fill_(number)
        norm.running_mean.fill_(float(number))
    mean = mean_state([norm.state_dict() for norm in norms])
    assert mean["num_batches_tracked"].dtype == torch.int64
    assert int(mean["num_batches_tracked"]) == 2
    assert torch.equal(mean["running_mean"], torch.ones(2))


def test_double_precision_stays_double() -> None:
    values = [torch.tensor([1.0 + 2.0**-40], dtype=torch.float64)] * 2
    assert torch.equal(mean_state([{"weight": value} for value in values])["weight"], values[0])


def test_a_single_state_is_kept_to_the_last_bit() -> None:
    weight = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean_state([{"weight": weight}])["weight"], weight)


def test_what_a_checkpoint_holds_comes_back() -> None:
    last = LastEpochs(2)
    for epoch in (1, 2, 3):
        last.add(epoch, filled(epoch / 3))
    back = LastEpochs(2).from_checkpoint(last.to_checkpoint())
    assert (back.most, back.epochs) == (2, (2, 3))
    assert torch.equal(back.mean()["weight"], last.mean()["weight"])


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        ((3,), "epoch 3"),
        ((9, 10, 11, 12), "the mean of epochs 9 to 12"),
        ((8, 10, 12), "the mean of epochs 8, 10 and 12"),
    ],
)
def test_epochs_are_named_in_words(epochs: tuple[int, ...], words: str) -> None:
    assert describe_epochs(epochs) == words
