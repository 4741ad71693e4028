"""Whatever a terminal can show, a command does its work and says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}
KNOCKOUT = Path(sys.executable).parent / "knockout"
CAMPAIGN = """\
campaign: sizes
title: "Größe \N{RIGHTWARDS ARROW} Wirkung [bold]really[/bold] :warning: \\e]52;c;YQ==\\a"
question: Tell radios apart.
margin: 1.0
seeds: 1
data:
  captures:
    A: {path: a.h5, devices: [0, 2], packets: [0, 4]}
    V: {path: a.h5, devices: [0, 2], packets: [4, 6]}
    D: {path: d.h5, devices: [0, 2], packets: [0, 4]}
  train: [A]
  validate: [V]
  report: [D]
profiles: {quick: {}}
baseline: {runtime: {compile: false}}
experiments:
  E5: {title: "Größe \N{RIGHTWARDS ARROW} [bold]x[/bold] :warning: \\e[31m", group: g, hypothesis: h,
    change: {loss.kind: focal}}
"""


def call(folder: Path, variables: dict[str, str], *words: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "COLUMNS": "200", **variables}
    return subprocess.run([KNOCKOUT, *words], cwd=folder, env=environment, capture_output=True, check=False)


@pytest.fixture(params=["größe", b"gr\xf6\xdfe"], ids=["UTF-8", "other bytes"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / (request.param if isinstance(request.param, str) else os.fsdecode(request.param))
    path.mkdir()
    (path / "experiments.yaml").write_text(CAMPAIGN, encoding="utf-8")
    return path


@pytest.mark.parametrize("variables", [ASCII, LATIN, {}], ids=["ASCII", "Latin-1", "UTF-8"])
def test_a_command_in_a_folder_of_any_name_does_its_work_and_says_so(folder: Path, variables: dict[str, str]) -> None:
    words = ["data", "emulate", "--folder", str(folder / "made"), "--packets", "2", "--samples", "64"]
    done = call(folder, variables, *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list((folder / "made").glob("*.h5"))) == 4
    assert b"LocA.h5" in done.stdout


@pytest.mark.parametrize("variables", [ASCII, LATIN, {}], ids=["ASCII", "Latin-1", "UTF-8"])
def test_a_plan_is_shown_whatever_the_terminal_takes(folder: Path, variables: dict[str, str]) -> None:
    done = call(folder, variables, "plan")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"E5" in done.stdout
    if variables is ASCII:
        assert done.stdout.isascii()


@pytest.mark.parametrize("variables", [ASCII, LATIN], ids=["ASCII", "Latin-1"])
def test_a_programs_answer_stays_json(folder: Path, variables: dict[str, str]) -> None:
    done = call(folder, variables, "plan", "--json")
    encoding = "ascii" if variables is ASCII else "latin-1"
    shown = json.loads(done.stdout.decode(encoding))
    assert [row["experiment"] for row in shown["rows"]] == ["baseline", "E5"]
    (note,) = (note for note in shown["notes"] if "not there yet" in note)
    assert os.fsencode(folder) in os.fsencode(note)


def test_text_of_others_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    (tmp_path / "experiments.yaml").write_text(CAMPAIGN, encoding="utf-8")
    done = call(tmp_path, {"PYTHONIOENCODING": "utf-8", "FORCE_COLOR": "1"}, "show", "E5")
    first = done.stdout.decode().splitlines()[0]
    assert "[bold]x[/bold] :warning: \\x1b[31m" in first


def test_a_mistake_is_told_whatever_the_terminal_takes(folder: Path) -> None:
    done = call(folder, ASCII, "plan", "-f", "no-größe.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith(b"knockout: ")
    assert done.stderr.isascii()


@pytest.mark.parametrize("size", ["0", "x", "\N{SUPERSCRIPT TWO}", "-5", "7"])
def test_a_size_of_the_terminal_that_is_none_changes_nothing_else(tmp_path: Path, size: str) -> None:
    (tmp_path / "experiments.yaml").write_text(CAMPAIGN, encoding="utf-8")
    done = call(tmp_path, {"COLUMNS": size, "LINES": size, "TERM": "nonsense"}, "plan")
    assert (done.returncode, done.stderr) == (0, b"")
