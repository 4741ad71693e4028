"""Which files a script runs, by the imports of all of them."""

from pathlib import Path

import pytest

from orchestrator.scripts.imports import as_pathspecs, parse, reached_modules


def reached(root: Path, script: str, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [module.path for module in reached_modules(root, script, parse(root / script))]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import lib.a", ["lib/__init__.py", "lib/a.py"]),
        ("from lib import a", ["lib/__init__.py", "lib/a.py"]),
        ("from lib.a import name", ["lib/__init__.py", "lib/a.py"]),
        ("from lib import *", ["lib/__init__.py"]),
        ("import numpy, side", ["side.py"]),
        ("def f():\n    import side", ["side.py"]),
        ("exec(open('side.py').read())", ["side.py"]),
        ("exec(open('nowhere.py').read())", []),
        ("from . import side", ["side.py"]),
        ("from ...up import side", []),
    ],
)
def test_an_import_leads_to_its_files(tmp_path: Path, line: str, found: list[str]) -> None:
    files = {"train.py": line, "lib/__init__.py": "", "lib/a.py": "", "side.py": "", "unused.py": ""}
    assert reached(tmp_path, "train.py", files) == ["train.py", *found]


def test_imports_are_followed_and_circles_end(tmp_path: Path) -> None:
    files = {
        "train.py": "import a",
        "a.py": "from lib import b",
        "lib/b.py": "from .c import x\nimport a",
        "lib/c.py": "",
    }
    assert reached(tmp_path, "train.py", files) == ["train.py", "a.py", "lib/b.py", "lib/c.py"]


def test_modules_lie_beside_the_script_or_in_the_campaigns_folder(tmp_path: Path) -> None:
    files = {"code/train.py": "import near, far", "code/near.py": "", "far.py": ""}
    assert reached(tmp_path, "code/train.py", files) == ["code/train.py", "code/near.py", "far.py"]


def test_a_module_that_is_no_python_ends_the_way(tmp_path: Path) -> None:
    assert reached(tmp_path, "train.py", {"train.py": "import old", "old.py": "print 1"}) == ["train.py"]


def test_many_files_are_named_by_their_folders() -> None:
    paths = ["train.py", "options.py", *(f"net/part{index}.py" for index in range(12))]
    assert as_pathspecs(paths, "train.py") == ["train.py", "options.py", "net/*.py"]
    assert as_pathspecs(paths[:5], "train.py") == paths[:5]
