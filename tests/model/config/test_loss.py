import msgspec
import pytest

from model.config import CrossEntropyConfig, FocalConfig, LossConfig


def test_a_loss_has_only_the_knobs_of_its_kind() -> None:
    assert msgspec.convert({"kind": "focal", "gamma": 1.0}, LossConfig) == FocalConfig(gamma=1.0)
    assert msgspec.convert({"kind": "cross_entropy"}, LossConfig) == CrossEntropyConfig()
    with pytest.raises(msgspec.ValidationError, match="unknown field `gamma`"):
        msgspec.convert({"kind": "cross_entropy", "gamma": 1.0}, LossConfig)
