import pytest

from model.config import CosineConfig, OptimConfig, PlateauConfig


def test_a_warm_up_must_leave_an_epoch_to_train() -> None:
    assert OptimConfig(epochs=4, schedule=CosineConfig(warmup_epochs=3)).epochs == 4
    with pytest.raises(ValueError, match=r"schedule\.warmup_epochs 4 leaves nothing of 4 epochs to train"):
        OptimConfig(epochs=4, schedule=PlateauConfig(warmup_epochs=4))


def test_no_more_epochs_are_averaged_than_are_trained() -> None:
    assert OptimConfig(epochs=4, average_last=4).average_last == 4
    sentence = r"average_last 5 is more than the 4 epochs that are trained; say 4 or fewer"
    with pytest.raises(ValueError, match=sentence):
        OptimConfig(epochs=4, average_last=5)
