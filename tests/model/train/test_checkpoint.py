"""A checkpoint is gone on from only where it is whole, and of this training."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.train.checkpoint import TRAILER_BYTES, CheckpointError, read_checkpoint, write_checkpoint

CONTENT = {"records": ["one", "two"], "model": {"weight": torch.arange(50.0)}, "best_loss": 0.5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    with path.open("wb") as file:
        write_checkpoint(file, CONTENT)
    return path


def test_a_checkpoint_comes_back_as_it_was_written(whole: Path) -> None:
    content = read_checkpoint(whole, "cpu")
    assert (content["records"], content["best_loss"]) == (["one", "two"], 0.5)
    assert torch.equal(content["model"]["weight"], torch.arange(50.0))


def test_torch_alone_can_read_it_too(whole: Path) -> None:
    assert torch.load(whole, weights_only=True)["records"] == ["one", "two"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_single_wrong_bit_is_refused(whole: Path, data: st.DataObject) -> None:
    spoilt = bytearray(whole.read_bytes())
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = whole.with_name("spoilt.pt")
    path.write_bytes(spoilt)
    with pytest.raises(CheckpointError, match="this checkpoint is not whole"):
        read_checkpoint(path, "cpu")


SPOILS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-TRAILER_BYTES],
    "zeros": lambda content: b"\0" * len(content),
    "longer": lambda content: content + b"\0",
    "something else": lambda content: random.Random(1).randbytes(len(content)),
}


@pytest.mark.parametrize("how", SPOILS)
def test_what_is_not_whole_is_refused(whole: Path, tmp_path: Path, how: str) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(SPOILS[how](whole.read_bytes()))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: this checkpoint is not whole, or|not whole"):
        read_checkpoint(path, "cpu")


def test_a_missing_one_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "checkpoint.pt", "cpu")
