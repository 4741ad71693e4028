"""The identity of a run: a hash over format, configuration, seed, code and data. Pure.

Two runs with the same identity compute the same, so only one of them is trained.
"""

import json
from functools import reduce
from operator import getitem
from typing import Any

import msgspec
from msgspec import Struct

from model.config import COSMETIC, JobConfig
from orchestrator.files import content_hash

IDENTITY_FORMAT = 1
"""Part of every identity; a higher number makes all earlier runs different."""


class CodeAndData(Struct, frozen=True, kw_only=True):
    """The inputs of a training that are not in its configuration."""

    code_tree: str
    """Hash of the files of `model/`."""
    captures: dict[str, str]
    """Path of a capture file -> SHA-256 of its bytes."""


def identity_parts(config: JobConfig, inputs: CodeAndData) -> dict[str, Any]:
    """Return the parts of a run's identity; `knockout why` compares the parts of two runs.

    A capture counts by its content, not by its path. Knobs that change no number, such as the place of a cache, are
    left out.
    """
    values: dict[str, Any] = msgspec.to_builtins(config)
    for knob in COSMETIC:
        *sections, name = knob.split(".")
        del reduce(getitem, sections, values)[name]
    seed = values.pop("seed")
    for capture in values["data"]["captures"].values():
        capture["path"] = inputs.captures[capture["path"]]
    return {
        "format": IDENTITY_FORMAT,
        "config": values,
        "seed": seed,
        "code": inputs.code_tree,
    }


def identity_hash(config: JobConfig, inputs: CodeAndData) -> str:
    """Return the SHA-256, in hexadecimal, of `identity_parts` as canonical JSON."""
    # Sorted keys without spaces: equal values give equal bytes, whatever the order in the campaign file.
    canonical = json.dumps(identity_parts(config, inputs), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return content_hash(canonical.encode())


def run_id(experiment: str, seed: int, identity: str) -> str:
    """Return the name of a run's folder, such as `E5-s0-3466db1c`."""
    # Eight digits tell the runs of one experiment and seed apart.
    # `order.json` holds the whole hash, and that one decides.
    return f"{experiment}-s{seed}-{identity[:8]}"


ID_PATTERN = r"^[A-Za-z][A-Za-z0-9]*([._-][A-Za-z0-9]+)*$"
"""Pattern of an experiment's id: letters and digits, joined by single `.`, `_` or `-`.

The id becomes part of the names of branches and folders.
"""

MAX_ID_LENGTH = 40
