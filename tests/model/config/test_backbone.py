import pytest

from model.config import (
    ModelConfig,
)


@pytest.mark.parametrize(
    ("dim", "mlp_ratio", "multiple", "width"),
    [(512, 4.0, 256, 1536), (512, 4.0, 1, 1365), (64, 4.0, 32, 192), (8, 0.25, 256, 256)],
)
def test_the_inner_width_of_the_mlp_is_rounded_up(dim: int, mlp_ratio: float, multiple: int, width: int) -> None:
    assert ModelConfig(dim=dim, mlp_ratio=mlp_ratio, mlp_multiple=multiple).mlp_width == width


def test_a_value_width_may_come_from_a_fraction() -> None:
    assert ModelConfig(head_dim=10, expand_v=1.1).head_v_dim == 11
