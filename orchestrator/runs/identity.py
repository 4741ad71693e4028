"""The identity of a run: a hash over format, task, parameters, seed, code and data. Pure.

Two runs with the same identity compute the same, so only one of them is trained.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.files import content_hash
from orchestrator.task.spec import TaskSpec

IDENTITY_FORMAT = 2
"""Part of every identity; a higher number makes all earlier runs different."""
TASK_PARTS = ("command", "style", "forms", "env", "files", "reads")
"""Fields of a task that decide how its command is started."""


class CodeAndData(Struct, frozen=True, kw_only=True):
    """The inputs of a training that are not among its parameters."""

    code_tree: str
    """Hash of the files of the task's code."""
    files: dict[str, str] = {}
    """Path of a file that parameters name, as the campaign writes it -> SHA-256 of its bytes."""
    data: dict[str, str] = {}
    """Name of the task's data -> fingerprint."""


def identity_parts(task: TaskSpec, params: Mapping[str, Any], seed: int, inputs: CodeAndData) -> dict[str, Any]:
    """Return the parts of a run's identity; `knockout why` compares the parts of two runs.

    A file counts by its content, not by its path. Parameters that change no number, such as the place of a cache, are
    left out.
    """
    return {
        "format": IDENTITY_FORMAT,
        "task": {name: msgspec.to_builtins(getattr(task, name)) for name in TASK_PARTS},
        "params": _by_content(params, inputs.files, task.cosmetic, ""),
        "seed": seed,
        "code": inputs.code_tree,
        "data": inputs.data,
    }


def _by_content(value: Any, files: Mapping[str, str], cosmetic: Collection[str], name: str) -> Any:
    """Return parameters without those that change no number, and with the hash of a file in place of its path."""
    if isinstance(value, Mapping):
        inner = {key: (one, f"{name}.{key}" if name else str(key)) for key, one in value.items()}
        return {key: _by_content(one, files, cosmetic, at) for key, (one, at) in inner.items() if at not in cosmetic}
    # A text that is the path of a file the run reads stands for that file, wherever it stands.
    return files.get(value, value) if isinstance(value, str) else value


def identity_hash(task: TaskSpec, params: Mapping[str, Any], seed: int, inputs: CodeAndData) -> str:
    """Return the SHA-256, in hexadecimal, of `identity_parts` as canonical JSON."""
    # Sorted keys without spaces: equal values give equal bytes, whatever the order in the campaign file.
    parts = identity_parts(task, params, seed, inputs)
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
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
