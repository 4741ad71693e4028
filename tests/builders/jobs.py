"""The configuration of a small job, as a file says it."""

from typing import Any


def capture(**changes: Any) -> dict[str, Any]:
    """Return a capture of two devices and four packets, with changes laid over it."""
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


def params(**changes: Any) -> dict[str, Any]:
    """The parameters of `values`, which belong to no run."""
    return {key: value for key, value in values(**changes).items() if key not in ("experiment", "profile", "seed")}
