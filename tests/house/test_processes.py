"""Who starts processes, and who prints."""

import ast
from pathlib import Path

import pytest

from tests.house.sources import NAMES, ORCHESTRATOR, SOURCES, imports, tree_of

STARTS_PROCESSES = {
    "orchestrator/checks/trial.py",
    "orchestrator/launch/forked.py",
    "orchestrator/launch/local.py",
    "orchestrator/launch/paired_probe.py",
    "orchestrator/scripts/trial.py",
    "orchestrator/supervisor/command.py",
    "orchestrator/task/call.py",
    "orchestrator/task/radio.py",
}
"""Besides git, which GitPython starts."""


@pytest.mark.parametrize("path", ORCHESTRATOR, ids=NAMES.get)
def test_processes_are_started_only_where_jobs_are_launched_and_code_is_asked(path: Path) -> None:
    if NAMES[path] not in STARTS_PROCESSES:
        assert not {"subprocess", "multiprocessing"} & {module for module, _ in imports(tree_of(path))}


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_no_process_is_started_through_a_shell(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.keyword):
            assert node.arg != "shell"
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"system", "popen"}


@pytest.mark.parametrize("path", [path for path in ORCHESTRATOR if "/cli/" not in NAMES[path]], ids=NAMES.get)
def test_only_the_terminals_face_prints(path: Path) -> None:
    names = {
        node.func.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        if isinstance(node.func, ast.Name)
    }
    assert "print" not in names
    assert "rich" not in {module.split(".")[0] for module, _ in imports(tree_of(path))}
