"""The arrows of DESIGN.md, held over the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = {
    "__init__": 0, "code_files": 0, "errors": 0, "faults": 0, "identity": 0, "judgement": 0, "layout": 0,
    "multiplicity": 0, "os_errors": 0, "pacing": 0, "plain_files": 0, "postgresql": 0, "printable": 0, "probes": 0,
    "processes": 0, "spec": 0, "states": 0, "streams": 0, "verbs": 0, "wording": 0,
    "code_folders": 1, "fingerprints": 1, "guards": 1, "knobs": 1, "launchers": 1, "orders": 1, "pairing": 1,
    "plumbing": 1, "predictions": 1, "report_place": 1, "run_names": 1, "search_verbs": 1, "staging": 1,
    "troubles": 1,
    "believing": 2, "database": 2, "edits": 2, "load": 2, "probing": 2, "provenance": 2, "rows": 2, "schema": 2,
    "stacking": 2, "surroundings": 2, "variance": 2, "worktrees": 2,
    "branches": 3, "evidence": 3, "generated": 3, "objective": 3, "result_checks": 3, "search_space": 3, "stats": 3,
    "store": 3, "watcher": 3,
    "doctor": 4, "interactions": 4, "loading": 4, "patches": 4, "plan": 4, "retries": 4, "sampling": 4,
    "search_results": 4,
    "audit": 5, "checkouts": 5, "comparisons": 5, "controls": 5, "gathering": 5, "promoting": 5, "proof": 5,
    "report_searches": 5, "results": 5, "same_runs": 5, "why": 5,
    "arithmetic": 6, "contradictions": 6, "foresight": 6, "ledger": 6, "reconcile": 6, "references": 6, "study": 6,
    "verdicts": 6,
    "arithmetic_words": 7, "deciding": 7, "preview": 7, "rebuild": 7, "remembering": 7, "report_sections": 7,
    "searches": 7, "starting": 7, "tables": 7, "waiting": 7,
    "explain": 8, "figures": 8, "housekeeping": 8, "queueing": 8, "report_checks": 8, "worker": 8,
    "accepting": 9, "ordering": 9, "report": 9, "search_figures": 9, "trial_runs": 9, "trial_storage": 9,
    "working": 9,
    "campaign": 10, "search_report": 10, "searching": 10,
    "search_loop": 11, "until_decided": 11,
    "console": 12,
    "cli": 13,
    "__main__": 14,
}  # fmt: skip
"""Module of the orchestrator -> its level; an arrow goes to a lower one, or stays inside a package."""
FRONT_DOOR = {
    "model",
    "model.config",
    "model.endings",
    "model.flags",
    "model.job_lock",
    "model.process",
    "model.run_folder",
}
LAZY = {
    ("model/layers.py", "liger_kernel.transformers"),
    ("model/layers.py", "fla.layers.gated_deltanet"),
    ("model/mamba.py", "fla.layers.mamba2"),
    ("model/mamba.py", "transformers.models.mamba2.modeling_mamba2"),
}
"""Imports inside a function, each a heavy package that only a run that needs it may load."""
IMPORTED = (".LigerRMSNorm", ".GatedDeltaNet", ".Mamba2", ".mamba2_chunk_scan")
STARTS_PROCESSES = {
    "orchestrator/launchers/forked.py",
    "orchestrator/launchers/inline.py",
    "orchestrator/launchers/local.py",
    "orchestrator/launchers/probing.py",
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
    check = "import sys, orchestrator.campaign, orchestrator.console.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_help_loads_nothing_heavy() -> None:
    check = (
        "import sys; from orchestrator.cli import build_parser; build_parser().format_help();"
        "sys.exit(bool({'torch', 'pandas', 'optuna', 'sqlalchemy', 'numpy', 'msgspec', 'git'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
