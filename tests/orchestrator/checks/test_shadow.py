"""A folder whose own package has the name of one of ours."""

import sys
from pathlib import Path

import pytest

from orchestrator.checks.shadow import find_shadowed

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("model/__init__.py", "train.py", "bin/python"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_a_package_of_our_name_in_our_python_is_told(root: Path) -> None:
    assert find_shadowed(root, "{python}") == (
        f"{root} has `model` of its own, and Knockout is installed in the Python of your script with a package of that "
        "name: one hides the other; install Knockout beside it: `pipx install knockout` or `uv tool install knockout`"
    )
    assert find_shadowed(root, sys.executable)
    assert find_shadowed(root, "bin/python", root / "bin/python3")


@pytest.mark.parametrize("name", ["model.py", "orchestrator/__init__.py", "orchestrator/train.py"])
def test_modules_and_folders_without_init_count_too(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    assert find_shadowed(tmp_path, sys.executable)


def test_another_python_hides_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_shadowed(root, "bin/python") is None
    monkeypatch.setenv("PATH", str(root / "bin"))
    assert find_shadowed(root, "python") is None
    assert find_shadowed(root, "no-such-program") is None


def test_a_folder_without_such_a_package_is_fine(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.pt").write_text("")
    assert find_shadowed(tmp_path, sys.executable) is None


def test_a_checkout_of_knockout_is_fine() -> None:
    assert find_shadowed(ROOT, sys.executable) is None
