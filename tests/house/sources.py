"""The sources of this repository as the house tests read them: modules, syntax trees, imports."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def source_files(folder: str) -> list[Path]:
    """List the Python files below a folder of the repository."""
    return sorted((ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the name that a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file once for all tests."""
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> list[tuple[str, str | None]]:
    """List what a tree imports: (module, name) for `from module import name`, (module, None) for `import module`."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


ORCHESTRATOR = source_files("orchestrator")
MODEL = source_files("model")
GPU = source_files("gpu")
HELPER = source_files("knockout")
SOURCES = HELPER + ORCHESTRATOR + MODEL + GPU
ROOTS = ("knockout", "orchestrator", "model")
"""The packages of this repository, as they are imported."""
MODULES = {module_name(path): path for path in SOURCES}
NAMES = {path: path.relative_to(ROOT).as_posix() for path in SOURCES}


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the modules of this repository that a file imports; `from package import module` is the module."""
    for module, name in imports(tree_of(path)):
        whole = f"{module}.{name}" if name else module
        if whole in MODULES:
            yield whole
        elif module in MODULES:
            yield module
