"""An import goes to a lower level or stays inside its package; inside a package there is no circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import (
    GPU,
    HELPER,
    MODEL,
    MODULES,
    NAMES,
    ORCHESTRATOR,
    ROOT,
    ROOTS,
    SOURCES,
    imported_modules,
    imports,
    tree_of,
)

LEVELS = {
    "errors": 0, "files": 0, "closed": 0, "processes": 0, "wording": 0,
    "reading": 1, "stats": 1, "task": 1,
    "design": 2, "runs": 2,
    "code": 3, "queue": 3, "supervisor": 3,
    "campaign": 4, "launch": 4, "scripts": 4,
    "checks": 5, "verdicts": 5, "search": 5,
    "report": 6,
    "api": 7,
    "cli": 8,
    "__main__": 9,
}  # fmt: skip
"""Package or ground file of the orchestrator -> its level."""
MODEL_LEVELS = {
    "config": 0, "emulate": 0, "endings": 0, "files": 0, "process": 0, "streams": 0,
    "data": 1, "layers": 1, "augment": 1,
    "train": 2,
    "studies": 3,
    "describe": 4, "kernels": 4, "probe": 4, "speed": 4,
    "__main__": 5, "standby": 6,
}  # fmt: skip
"""The same of the model."""
MAX_PAIRS = 114
"""Most pairs of packages between which imports go."""
MAX_MODULES = 18
"""Most modules of a package, so that one look takes it in."""
CONCLUDING = ("design", "stats", "verdicts")
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
OPENERS = {"open", "read_text", "read_bytes", "write_text", "write_bytes"}


def package_of(path: Path) -> str:
    return path.relative_to(ROOT / "orchestrator").parts[0].removesuffix(".py")


def arrows() -> set[tuple[str, str]]:
    found = set()
    for path in ORCHESTRATOR:
        for module in imported_modules(path):
            if module.startswith("orchestrator."):
                found.add((package_of(path), module.split(".")[1]))
    return {(own, other) for own, other in found if own not in (other, "__init__")}


def test_every_package_has_its_level() -> None:
    assert {package_of(path) for path in ORCHESTRATOR} == LEVELS.keys() | {"__init__"}


@pytest.mark.parametrize(("own", "other"), sorted(arrows()))
def test_imports_go_down(own: str, other: str) -> None:
    assert LEVELS[other] < LEVELS[own], f"{own} imports {other}, which is not below it"


@pytest.mark.parametrize("path", MODEL, ids=NAMES.get)
def test_imports_of_the_model_go_down(path: Path) -> None:
    own, *_ = path.relative_to(ROOT / "model").with_suffix("").parts
    others = {module.split(".")[1] for module in imported_modules(path) if module.startswith("model.")}
    assert all(MODEL_LEVELS[other] < MODEL_LEVELS[own] for other in others - {own})


def test_few_packages_know_each_other() -> None:
    assert len(arrows()) <= MAX_PAIRS


def test_the_top_of_the_orchestrator_is_taken_in_with_one_look() -> None:
    entries = [path for path in (ROOT / "orchestrator").iterdir() if not path.name.startswith("__")]
    assert len([path for path in entries if path.is_dir()]) <= 17
    assert len([path for path in entries if path.is_file()]) <= 5


@pytest.mark.parametrize("package", sorted(path.name for path in (ROOT / "orchestrator").iterdir() if path.is_dir()))
def test_a_package_is_taken_in_with_one_look(package: str) -> None:
    modules = [path for path in (ROOT / "orchestrator" / package).glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= MAX_MODULES


@pytest.mark.parametrize("root", ["orchestrator", "model", "gpu"])
def test_no_module_is_reached_from_itself(root: str) -> None:
    left = {name: set(imported_modules(path)) - {name} for name, path in MODULES.items() if name.startswith(root)}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, f"these import each other in a circle: {', '.join(sorted(left))}"


@pytest.mark.parametrize("path", ORCHESTRATOR, ids=NAMES.get)
def test_the_orchestrator_imports_neither_torch_nor_the_model(path: Path) -> None:
    """The front door between the two is files."""
    assert not {"torch", "model"} & {module.split(".")[0] for module, _ in imports(tree_of(path))}


@pytest.mark.parametrize("path", MODEL, ids=NAMES.get)
def test_the_model_never_imports_the_orchestrator(path: Path) -> None:
    assert "orchestrator" not in {module.split(".")[0] for module, _ in imports(tree_of(path))}


@pytest.mark.parametrize("path", HELPER, ids=NAMES.get)
def test_the_helper_imports_the_standard_library_alone(path: Path) -> None:
    assert {module.split(".")[0] for module, _ in imports(tree_of(path))} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_no_private_name_of_another_module_is_imported(path: Path) -> None:
    ours = [(module, name) for module, name in imports(tree_of(path)) if module.split(".")[0] in ROOTS]
    private = [(module, name) for module, name in ours if name and name.startswith("_") and not name.startswith("__")]
    assert not private


@pytest.mark.parametrize("path", [path for path in ORCHESTRATOR if package_of(path) in CONCLUDING], ids=NAMES.get)
def test_what_concludes_opens_no_file(path: Path) -> None:
    called = {node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
    names = {func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in called}
    assert not names & OPENERS


@pytest.mark.parametrize("path", GPU, ids=NAMES.get)
def test_the_check_of_a_gpu_machine_needs_pythons_library_alone(path: Path) -> None:
    assert {module.split(".")[0] for module, _ in imports(tree_of(path))} <= {*sys.stdlib_module_names, "gpu"}


def test_git_knows_no_campaign() -> None:
    of_code = {module for path in ORCHESTRATOR if package_of(path) == "code" for module in imported_modules(path)}
    assert not {module for module in of_code if module.startswith("orchestrator.campaign")}


IMPORT_ALONE = """
import importlib, os, sys
others, modules = sys.argv[1].split(","), sys.argv[2].split(",")
for name in others:
    importlib.import_module(name)
for name in modules:
    child = os.fork()
    if child == 0:
        importlib.import_module(name)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""
"""Loads the packages of others once; then each module of ours is imported by a process of its own."""


def test_each_module_is_imported_alone() -> None:
    ours = sorted(name for name in MODULES if not name.endswith("__main__"))
    heads = [[node for node in tree_of(path).body if not isinstance(node, DEFINITIONS)] for path in SOURCES]
    heads_imports = {module for head in heads for module, _ in imports(ast.Module(head, []))}
    others = sorted(name for name in heads_imports if name.split(".")[0] not in (*ROOTS, "__future__"))
    command = [sys.executable, "-c", IMPORT_ALONE, ",".join(others), ",".join(ours)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_planning_loads_no_torch() -> None:
    check = "import sys, orchestrator.api.run, orchestrator.cli.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_help_loads_nothing_heavy() -> None:
    check = (
        "import sys; from orchestrator.cli.main import build_parser; build_parser().format_help();"
        "sys.exit(bool({'torch', 'pandas', 'optuna', 'sqlalchemy', 'numpy', 'msgspec', 'git'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
