"""What makes two runs the same: a hash over format, configuration, seed, code and data. Pure."""

import hashlib
import json
from functools import reduce
from operator import getitem
from typing import Any

import msgspec
from msgspec import Struct

from model.config import COSMETIC, JobConfig

IDENTITY_FORMAT = 1


class CodeAndData(Struct, frozen=True, kw_only=True):
    """The inputs of a training that no configuration spells out."""

    code_tree: str
    """Git's hash of the tree `model/`."""
    captures: dict[str, str]
    """Path of a capture file -> SHA-256 of its bytes."""


def identity_parts(config: JobConfig, inputs: CodeAndData) -> dict[str, Any]:
    """Lay out what a run's identity is made of; `knockout why` compares two of these.

    A capture counts by its content, not by where it lies, and knobs that change no number are left out.
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
    """SHA-256, in hexadecimal, of the canonical JSON of `identity_parts`."""
    canonical = json.dumps(identity_parts(config, inputs), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def run_id(experiment: str, seed: int, identity: str) -> str:
    """Name a run's folder: `E5-s0-3466db1c`."""
    return f"{experiment}-s{seed}-{identity[:8]}"


ID_PATTERN = r"^[A-Za-z][A-Za-z0-9]*([._-][A-Za-z0-9]+)*$"
"""Experiment ids become branch and folder names, so they are letters and digits joined by single `.`, `_` or `-`."""

MAX_ID_LENGTH = 40
