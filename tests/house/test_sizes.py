"""Files and functions stay small, and imports stand where a reader looks for them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.house.sources import NAMES, SOURCES, imports, tree_of

LAZY = {
    ("model/kernels.py", "triton.errors"),
    ("model/kernels.py", "triton.runtime.autotuner"),
    ("model/kernels.py", "triton.testing"),
    ("model/layers/blocks.py", "liger_kernel.transformers"),
    ("model/layers/blocks.py", "fla.layers.gated_deltanet"),
    ("model/layers/mamba.py", "fla.layers.mamba2"),
    ("model/layers/mamba.py", "transformers.models.mamba2.modeling_mamba2"),
    ("model/studies/radio/task.py", "model.studies.radio.deep"),
    ("model/studies/radio/task.py", "model.studies.radio.prepare"),
    ("orchestrator/api/plan.py", "orchestrator.campaign.records"),
    ("orchestrator/api/plan.py", "orchestrator.report.power"),
}
"""Imports inside a function, each of a heavy package, or of a module that loads one, which few calls need."""
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef))


def num_lines(function: ast.FunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_files_and_functions_stay_small(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES
    assert path.read_text().count("\n") <= 400
    for function in functions(path):
        assert num_lines(function) <= 50, f"{path}: {function.name}"


def test_most_functions_are_a_few_lines_long() -> None:
    lengths = [num_lines(function) for path in SOURCES for function in functions(path)]
    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[-1] <= 25


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_imports_stand_at_the_head_of_a_file(path: Path) -> None:
    inside = {(NAMES[path], module) for function in functions(path) for module, _ in imports(function)}
    assert inside <= LAZY
