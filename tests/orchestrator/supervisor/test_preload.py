"""The file that runs in the user's interpreter needs nothing beside that interpreter."""

import ast
import sys
from pathlib import Path

from orchestrator.processes import MARK
from orchestrator.supervisor import preload
from orchestrator.supervisor.preloaded import SERVER
from tests.house.sources import imports


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(SERVER.read_text())
    assert {module.split(".")[0] for module, _ in imports(tree)} <= sys.stdlib_module_names


def test_it_can_be_read_by_python_3_8() -> None:
    ast.parse(SERVER.read_text(), feature_version=(3, 8))
    assert Path(preload.__file__) == SERVER


def test_its_mark_is_that_of_runs() -> None:
    assert preload.MARK == MARK
