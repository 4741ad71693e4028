from typing import Any

from model.config import (
    AugmentConfig,
    MultipathConfig,
    job_from_builtins,
)


def capture(**changes: Any) -> dict[str, Any]:
    return {"path": "here.h5", "devices": [0, 2], "packets": [0, 4]} | changes


def values(**changes: Any) -> dict[str, Any]:
    """The least that a job must say, with changes laid over it; a change to `data` is laid over its fields."""
    data = {
        "captures": {
            "A": capture(),
            "V": capture(packets=[4, 6]),
            "C": capture(packets=[6, 8]),
            "D": capture(path="there.h5"),
        },
        "train": ["A"],
        "validate": ["V"],
        "report": ["D"],
    }
    base = {"experiment": "E5", "profile": "quick", "seed": 0}
    return base | changes | {"data": data | changes.get("data", {})}


def test_leaving_a_transform_out_is_null_and_not_an_empty_one() -> None:
    augment = job_from_builtins(values(augment={"multipath": None})).augment
    assert augment == AugmentConfig(multipath=None)
    assert augment != AugmentConfig(multipath=MultipathConfig())
