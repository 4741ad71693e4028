"""The study answers by processes: JSON in, JSON out, sentences for mistakes."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.studies.radio import task
from model.studies.radio.task import Check, check, main
from tests.builders.jobs import capture, params

ROOT = Path(__file__).parents[4]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what asks a question in this process, and returns the exit status."""

    def asking(question: str, content: object) -> int:
        text = content if isinstance(content, str) else json.dumps(content)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return main([question])

    return asking


def test_a_check_answers_in_the_order_of_the_question(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configs = [params(), params(modle={}), params(optim={"epochs": 7})]
    assert (
        ask("check", {"root": "/nowhere", "deep": False, "configs": configs, "hashes": None, "remembered": None}) == 0
    )
    good, bad, other = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (good["problem"], good["epochs"], other["epochs"]) == (None, 600, 7)
    assert bad["problem"] == {"message": "there is no `modle` here; did you mean `model`?", "at": ["modle"]}
    assert bad["params"] == {}
    assert set(good) == {
        "params", "problem", "reads", "splits", "epochs", "needs", "chance", "shuffled", "notes", "command", "facts",
        "sessions",
    }  # fmt: skip


def test_with_hashes_roles_that_name_equal_files_are_refused() -> None:
    (found,) = check(Check(root="/nowhere", configs=[params()], hashes={"here.h5": "0", "there.h5": "0"}))
    assert found.problem is not None
    assert found.problem.message.endswith("these files have the same content: here.h5, there.h5")
    assert found.problem.at == ("data",)
    assert list(found.params["data"]["report"]) == ["D"]


def test_a_baseline_that_is_refused_leaves_the_others_their_answers() -> None:
    bad, good = check(Check(root="/nowhere", configs=[{}, params()]))
    assert bad.problem is not None
    assert bad.problem.message == "`data` is missing here"
    assert good.command is not None


def test_the_schema_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["data"]


@pytest.mark.parametrize(
    ("question", "content", "sentence"),
    [
        ("check", '{"root"', "Expecting ':' delimiter: line 1 column 8 (char 7)"),
        ("check", {"configs": []}, "Object missing required field `root`"),
        ("prepare", {"root": "/nowhere", "configs": [], "deep": True}, "Object contains unknown field `deep`"),
        (
            "prepare",
            {"root": "/nowhere", "configs": [params(data={"sampels": 3})]},
            "data.sampels: there is no `sampels` here; did you mean `samples`?",
        ),
        (
            "prepare",
            {"root": "/nowhere", "configs": [params()]},
            "its capture /nowhere/here.h5 is not there; correct `path` under `data.captures`",
        ),
    ],
)
def test_a_question_without_an_answer_ends_with_a_sentence(
    ask: Any, capsys: pytest.CaptureFixture[str], question: str, content: object, sentence: str
) -> None:
    assert ask(question, content) == 2
    assert capsys.readouterr().err == f"{task.NAME}: {sentence}\n"


def test_prepare_makes_what_is_missing(ask: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    captures = {name: capture(path=f"data/Loc{name}.h5") for name in "ABCD"}
    data = {"captures": captures, "validate": ["B"], "emulate": {"packets": 2, "samples": 64}}
    question = {"root": str(tmp_path), "configs": [params(data=data)] * 2}
    assert ask("prepare", question) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/data/LocA.h5: 10 emulated devices x 2 packets of 64 samples"
    assert len(lines) == 4
    assert ask("prepare", question) == 0
    assert capsys.readouterr().out == ""


def test_a_check_that_is_not_deep_loads_no_torch_and_opens_no_file() -> None:
    code = (
        "import sys; from model.studies.radio import task\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, found: opened.append(found[0]) if event == 'open' else None)\n"
        f"assert task.check(task.Check(root='/', configs=[{params()!r}]))[0].problem is None\n"
        "assert not {'torch', 'numpy', 'h5py'} & set(sys.modules)\n"
        "assert not [path for path in opened if not str(path).endswith(('.py', '.pyc'))], opened"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_is_a_command() -> None:
    command = [sys.executable, "-m", task.NAME, "check"]
    question = '{"root": "/", "configs": []}'
    done = subprocess.run(command, cwd=ROOT, input=question, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n")
