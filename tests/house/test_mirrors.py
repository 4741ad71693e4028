"""Each module is mirrored by its test file, or named here with the reason; each test file mirrors a module."""

from pathlib import Path

import pytest

from tests.house.sources import NAMES, ROOT, SOURCES

TESTED_ELSEWHERE: dict[str, str] = {
    "orchestrator/checks/opened.py": "a type alone; tests/orchestrator/checks/test_sorting.py sorts its values",
    "model/train/study.py": "types alone; tests/model/train/test_trainer.py trains a study that fits them",
    "orchestrator/reading/sources.py": "types alone; the tests of `metrics` and `items` read from each of them",
    "orchestrator/__main__.py": "one call of `main`; tests/orchestrator/cli/test_main.py starts it as a process",
}
"""Module -> where its behaviour is tested, and why not in a file of its name."""


def mirror_of(name: str) -> Path:
    folder, _, module = name.removesuffix(".py").rpartition("/")
    return ROOT / "tests" / folder / f"test_{module.strip('_')}.py"


@pytest.mark.parametrize("name", sorted(NAMES[path] for path in SOURCES if path.stem != "__init__"))
def test_a_module_has_its_test_file(name: str) -> None:
    assert mirror_of(name).is_file() != (name in TESTED_ELSEWHERE), f"{mirror_of(name)} is wanted"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*/**/test_*.py")), ids=lambda path: path.as_posix())
def test_a_test_file_mirrors_a_module(path: Path) -> None:
    parts = path.relative_to(ROOT / "tests").parts
    if parts[0] in ("orchestrator", "model", "gpu"):
        folder = ROOT.joinpath(*parts[:-1])
        modules = {module.stem.strip("_") for module in folder.glob("*.py")} | {folder.name}
        words = path.stem.removeprefix("test_").split("_")
        assert any("_".join(words[:number]) in modules for number in range(1, len(words) + 1))
