"""The weights after the last epochs, and their mean.

The mean of the last weights of one training lies lower and flatter than each of them (Izmailov et al. 2018,
arXiv 1803.05407, section 3). The noise of the last epochs averages out, so that seeds differ less.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Name -> parameter or buffer, as a module's `state_dict` gives them."""


class LastEpochs:
    """Copies of the weights after each of the last epochs, at most `most` of them. With 0 nothing is kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: list[tuple[int, State]] = []

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, whose weights are kept."""
        return tuple(epoch for epoch, _ in self.kept)

    def add(self, epoch: int, state: State) -> None:
        """Keep a copy of the weights after an epoch, and forget the oldest if there are too many."""
        if self.most:
            # The oldest goes first, so that memory never holds one copy more than asked for.
            self.kept = [*self.kept[max(0, len(self.kept) + 1 - self.most) :], (epoch, copy_state(state))]

    def mean(self) -> State:
        """Return the mean of the weights that are kept; empty if there are none."""
        return mean_state([state for _, state in self.kept])

    def to_checkpoint(self) -> list[dict[str, Any]]:
        """Return what a checkpoint holds, so that a resumed training averages the same weights."""
        return [{"epoch": epoch, "model": state} for epoch, state in self.kept]

    def from_checkpoint(self, entries: Sequence[dict[str, Any]]) -> "LastEpochs":
        """Return the copies that a checkpoint holds, with the same limit."""
        found = LastEpochs(self.most)
        found.kept = [(entry["epoch"], entry["model"]) for entry in entries]
        return found


def copy_state(state: State) -> State:
    """Return a copy of weights on their device."""
    return {name: value.detach().clone() for name, value in state.items()}


def mean_state(states: Sequence[State]) -> State:
    """Return the mean of weights, tensor by tensor, in each tensor's own type; empty without states.

    Half precision is averaged in float32. Integers and truth values, such as counters, are those of the last state.
    """
    if not states:
        return {}
    return {name: _mean([state[name] for state in states]) for name in states[-1]}


def _mean(values: Sequence[Tensor]) -> Tensor:
    last = values[-1]
    if not (last.is_floating_point() or last.is_complex()):
        return last.clone()
    total = torch.zeros_like(last, dtype=torch.promote_types(last.dtype, torch.float32))
    # In the order of the epochs, so that a resumed training gives the same last digit.
    for value in values:
        total += value
    return (total / len(values)).to(last.dtype)


def describe_epochs(epochs: Sequence[int]) -> str:
    """Name epochs in words: `epoch 3`, `the mean of epochs 9 to 12`, `the mean of epochs 8, 10 and 12`."""
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    if epochs[-1] - epochs[0] == len(epochs) - 1:
        return f"the mean of epochs {epochs[0]} to {epochs[-1]}"
    return f"the mean of epochs {', '.join(map(str, epochs[:-1]))} and {epochs[-1]}"
