"""Everything but training works where the packages of the extra `studies` are not installed."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.sources import MODULES, ROOT

HIDDEN = ("torch", "h5py", "fla", "liger_kernel", "transformers", "triton")
HIDE = f"""
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None


sys.meta_path.insert(0, Hidden())
"""
"""Makes a process find none of the packages. Python imports it at its start, by the name `sitecustomize`."""
SMALL = """
campaign: small
margin: 1.0
seeds: 2
data:
  captures:
    A: {path: a.h5, devices: [0, 2], packets: [0, 4]}
    D: {path: d.h5, devices: [0, 2], packets: [0, 4]}
    V: {path: a.h5, devices: [0, 2], packets: [4, 8]}
  train: [A]
  validate: [V]
  report: [D]
experiments:
  deep: {change: {model.depth: 6}}
"""


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what runs Python in a process that finds none of the packages, and neither do its children."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "sitecustomize.py").write_text(HIDE)
    environment = os.environ | {"PYTHONPATH": str(hidden)}

    def running(*words: str, folder: Path = ROOT, given: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder, check=False, capture_output=True, text=True, input=given, env=environment,
        )  # fmt: skip

    return running


def test_the_packages_are_hidden_from_a_process_and_from_its_children(run: Run) -> None:
    child = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import torch']))"
    done = run("-c", child)
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stderr


def test_every_module_of_the_orchestrator_is_imported(run: Run) -> None:
    names = sorted(name for name in MODULES if name.split(".")[0] in ("orchestrator", "knockout"))
    left_out = [name for name in names if name.endswith("__main__") or name == "orchestrator.queue.postgresql"]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = run("-c", code, *(name for name in names if name not in left_out))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["plan"], ["schema"], ["status"]])
def test_a_verb_that_trains_nothing_does_its_work(run: Run, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "experiments.yaml").write_text(SMALL)
    done = run("-m", "orchestrator", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("question", "content"),
    [("check", '{"root": "/", "deep": true, "configs": []}'), ("prepare", '{"root": "/", "configs": []}')],
)
def test_a_question_about_captures_is_told_what_to_install(run: Run, question: str, content: str) -> None:
    done = run("-m", "model.studies.radio.task", question, given=content)
    assert done.returncode == 2
    assert done.stderr == (
        f"model.studies.radio.task: the module `h5py` is not installed for {sys.executable}; "
        "`pip install 'knockout[studies]'` brings it\n"
    )


def test_the_other_questions_are_answered(run: Run) -> None:
    done = run("-m", "model.studies.radio.task", "check", given='{"root": "/", "configs": []}')
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert run("-m", "model.studies.radio.task", "schema").returncode == 0


def test_what_is_installed_by_default_is_not_what_trains() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    heavy = {"torch", "h5py", "flash-linear-attention", "liger-kernel", "transformers"}
    of_studies = [
        line for name in heavy for line in project["optional-dependencies"]["studies"] if line.startswith(name)
    ]
    assert len(of_studies) == len(heavy)
    assert not [line for line in project["dependencies"] if line.startswith(tuple(heavy))]
