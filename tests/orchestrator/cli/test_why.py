"""`knockout why` as a person and as a program see it."""

import json
from typing import Any

import pytest

from orchestrator.cli.main import main
from tests.builders.results import write_done
from tests.orchestrator.api.test_accept import edit_code, planned_id


def test_the_command_line_accepts_and_then_takes_the_run_as_it_is(
    study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.paths.root)
    trained = study.start("E5", num_epochs=2)
    write_done(study.paths.run(trained), correct=4, epochs=2)
    edit_code(study)
    target = planned_id(study)
    assert main(["why", trained, "--accept"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{target} takes the result of {trained}; ")
    assert said[1:] == ["`knockout report` judges with it"]
    assert main(["why", target]) == 0
    assert f"{target}: the same: `knockout run" in capsys.readouterr().out
    assert main(["why", trained, "--accept"]) == 2
    assert f"{target} has its own result, or a job at work on it; there is nothing" in capsys.readouterr().err


def test_a_program_reads_the_parts_that_differ(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = study.end(study.start("E5"))
    study.edit("loss.gamma: 2.0", "loss.gamma: 1.0")
    assert main(["why", run_id, "--json", "-f", str(study.file)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["config"] == {"loss.gamma": {"before": 2.0, "after": 1.0}}
    assert (answer["is_same"], answer["data"], answer["code"], answer["format"]) == (False, {}, None, None)


def test_a_person_reads_a_sentence_a_line(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = study.end(study.start("E5"))
    assert main(["why", run_id, "-f", str(study.file)]) == 0
    assert capsys.readouterr().out == f"{run_id}: the same: `knockout run` takes this result\n"
