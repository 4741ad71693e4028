"""`import orchestrator` is enough to use every verb, and loads nothing before one is used."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.api.plan import Planned
from orchestrator.cli.main import main

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "pandas", "optuna", "sqlalchemy", "numpy", "msgspec", "git", "orchestrator.api"}
VERBS = [name for name in orchestrator.__dir__() if name[0].islower() and name in orchestrator._API]


def test_a_verb_returns_values_and_prints_nothing(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    request = orchestrator.Request(file=study.file)
    planned = orchestrator.plan(request)
    assert isinstance(planned, Planned)
    assert [row.experiment for row in planned.preview.rows] == ["baseline", "E5", "H2"]
    added = orchestrator.queue_add(request, orchestrator.RunOptions(snapshot=True))
    assert len(orchestrator.status(study.file).rows) == len(orchestrator.queue_list(study.file).rows) == added.num_runs
    assert orchestrator.cancel(study.file, ["E5-s0"])[0].startswith("E5-s0-")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_function_with_a_sentence_about_it(name: str) -> None:
    verb = getattr(orchestrator, name)
    assert verb.__module__.startswith("orchestrator.api.")
    assert verb.__doc__
    assert name in dir(orchestrator)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="`orchestrator` has no attribute `planet`"):
        _ = orchestrator.planet


def test_importing_it_loads_nothing_heavy() -> None:
    check = f"import sys, orchestrator; sys.exit(bool({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_the_version_is_printed_without_loading_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"knockout {orchestrator.__version__}\n"
