import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model.train.own_code import ForeignCodeError, require_own_code
from model.train.run_folder import RunFolder

ROOT = Path(__file__).parents[3]
FolderBuilder = Callable[..., RunFolder]


def test_all_modules_here_are_of_one_copy() -> None:
    require_own_code()


def test_a_module_from_elsewhere_is_named_with_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = type(sys)("model.lent")
    elsewhere.__file__ = "/elsewhere/model/lent.py"
    monkeypatch.setitem(sys.modules, "model.lent", elsewhere)
    with pytest.raises(
        ForeignCodeError, match=r"model.lent came from /elsewhere/model/lent.py, since .*model, lacks it"
    ):
        require_own_code()


@pytest.fixture
def torn_code(tmp_path: Path) -> Path:
    """A copy of `model` without its losses, where an installed `model` has them."""
    folder = tmp_path / "code"
    shutil.copytree(ROOT / "model", folder / "model", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model" / "train" / "losses.py").unlink()
    return folder


def run(code: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=code, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_a_job_whose_code_lacks_a_module_is_rejected_although_an_installed_one_has_it(
    build_folder: FolderBuilder, captures: Path, torn_code: Path
) -> None:
    folder = build_folder()
    done = run(torn_code, "model", str(folder.path), "--data-folder", str(captures))
    assert done.returncode != 0
    if "No module named 'model.train.losses'" in done.stderr:
        pytest.skip("no `model` is installed here that could lend the module")
    result = folder.read_result()
    assert (result.state, result.failure) == ("failed", "rejected")
    assert "model.train.losses came from" in result.reason
    assert str(torn_code / "model") in result.reason


def test_a_check_says_so_too_and_no_standby_process_starts(
    build_folder: FolderBuilder, captures: Path, torn_code: Path
) -> None:
    folder = build_folder()
    done = run(torn_code, "model", str(folder.path), "--check", "--data-folder", str(captures))
    assert done.returncode != 0
    assert "model.train.losses" in done.stderr
    assert run(torn_code, "model.standby").returncode != 0
    assert json.loads(folder.config.read_text())["experiment"] == "baseline"
