"""The arrows of DESIGN.md, held over the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = {
    "__init__": 0, "closed": 0, "errors": 0, "files": 0, "processes": 0, "wording": 0,
    "runs": 1, "stats": 1, "task": 1,
    "code": 2, "queue": 2,
    "campaign": 3, "launch": 3,
    "search": 4, "verdicts": 4,
    "report": 5,
    "api": 6,
    "cli": 7,
    "__main__": 8,
}  # fmt: skip
"""Module of the orchestrator -> its level; an arrow goes to a lower one, or stays inside a package."""
FRONT_DOOR = {
    "model",
    "model.config",
    "model.endings",
    "model.studies.radio.flags",
    "model.train.job_lock",
    "model.process",
    "model.train.run_folder",
}
LAZY = {
    ("model/layers/blocks.py", "liger_kernel.transformers"),
    ("model/layers/blocks.py", "fla.layers.gated_deltanet"),
    ("model/layers/mamba.py", "fla.layers.mamba2"),
    ("model/layers/mamba.py", "transformers.models.mamba2.modeling_mamba2"),
}
"""Imports inside a function, each a heavy package that only a run that needs it may load."""
IMPORTED = (".LigerRMSNorm", ".GatedDeltaNet", ".Mamba2", ".mamba2_chunk_scan")
STARTS_PROCESSES = {
    "orchestrator/launch/forked.py",
    "orchestrator/task/ask.py",
    "orchestrator/launch/local.py",
    "orchestrator/launch/paired_probe.py",
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}


def source_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def level(module: str) -> int:
    return LEVELS[module.split(".")[1]] if "." in module else LEVELS["__init__"]


ORCHESTRATOR = source_files("orchestrator")
MODEL = source_files("model")
NAMES = {path: path.relative_to(ROOT).as_posix() for path in ORCHESTRATOR + MODEL}


def test_there_is_something_to_check() -> None:
    assert len(ORCHESTRATOR) > 20
    assert len(MODEL) > 15


@pytest.mark.parametrize("path", ORCHESTRATOR, ids=NAMES.get)
def test_orchestrator_imports_point_down_and_never_to_torch(path: Path) -> None:
    own = path.relative_to(ROOT / "orchestrator").parts[0].removesuffix(".py")
    for name in imports(ast.parse(path.read_text())):
        top = name.split(".")[0]
        assert top != "torch", f"{path} imports torch"
        if top == "model" and name in {"model", *(f"model.{other.stem}" for other in MODEL)}:
            assert name in FRONT_DOOR, f"{path} imports {name}, past the front door"
        if top == "orchestrator" and "." in name and name.split(".")[1] in LEVELS:
            other = name.split(".")[1]
            assert other == own or LEVELS[other] < LEVELS[own], f"{own} imports {other}, which is not below it"


@pytest.mark.parametrize("path", MODEL, ids=NAMES.get)
def test_model_never_imports_the_orchestrator(path: Path) -> None:
    assert not [name for name in imports(ast.parse(path.read_text())) if name.split(".")[0] == "orchestrator"]


@pytest.mark.parametrize("path", ORCHESTRATOR + MODEL, ids=NAMES.get)
def test_imports_stand_at_the_head_of_a_file(path: Path) -> None:
    inside = {
        (NAMES[path], name)
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for name in imports(function)
        if name.count(".") == 0 or any(name == module for _, module in LAZY) or "." in name
    }
    allowed = {(file, f"{module}{rest}") for file, module in LAZY for rest in ("", *IMPORTED)}
    assert inside <= allowed


@pytest.mark.parametrize("path", ORCHESTRATOR, ids=NAMES.get)
def test_only_launchers_start_processes(path: Path) -> None:
    if NAMES[path] not in STARTS_PROCESSES:
        assert not {"subprocess", "multiprocessing"} & set(imports(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", ORCHESTRATOR + MODEL, ids=NAMES.get)
def test_no_process_is_started_through_a_shell(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword):
            assert node.arg != "shell"
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"system", "popen"}


@pytest.mark.parametrize("path", ORCHESTRATOR + MODEL, ids=NAMES.get)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert path.stem not in FORBIDDEN_NAMES
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 50, f"{path}: {node.name}"


def test_planning_loads_no_torch() -> None:
    check = "import sys, orchestrator.api.run, orchestrator.cli.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_help_loads_nothing_heavy() -> None:
    check = (
        "import sys; from orchestrator.cli.main import build_parser; build_parser().format_help();"
        "sys.exit(bool({'torch', 'pandas', 'optuna', 'sqlalchemy', 'numpy', 'msgspec', 'git'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
