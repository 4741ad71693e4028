"""`knockout plan`, `show` and `schema` as a person and as a program see them."""

import json
from typing import Any

import pytest

from orchestrator.api.show import schema
from orchestrator.cli.main import main
from orchestrator.task.ask import Answer


@pytest.fixture
def unsized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of every model: to ask `model` for it takes seconds, and the flows do so."""
    size = Answer(facts={"tokens": 16, "parameters": 12345})
    monkeypatch.setattr("orchestrator.api.show.check_configs", lambda *asked, **options: [size])


def test_a_plan_says_how_many_experiments_it_leaves_out(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.edit("quick: {}", "quick: {default_experiments: [E5]}")
    assert main(["plan", "-f", str(study.file)]) == 0
    assert "1 of the file's 2 experiments: this profile's default ones; --all takes them all" in capsys.readouterr().out
    assert main(["plan", "-f", str(study.file), "--all"]) == 0
    assert "--all" not in capsys.readouterr().out


def test_a_program_reads_the_seeds_that_are_to_be_trained(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.end(study.start("E5", 1))
    assert main(["plan", "E5", "--json", "-f", str(study.file)]) == 0
    rows = {row["experiment"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert {name: (row["to_train"], row["finished"]) for name, row in rows.items()} == {
        "baseline": ([0, 1], []),
        "E5": ([0], [1]),
    }


def test_an_experiment_is_shown_with_its_reference_and_its_change(
    study: Any, unsized: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "H2", "-f", str(study.file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "H2: Heads",
        "profile quick; reference: baseline + E5",
        "  model.num_heads: 8 -> 4",
        "16 tokens, 12,345 parameters",
    ]
    assert any(line.strip().startswith('LocA: {path: "data/LocA.h5", ') for line in said)


def test_a_program_reads_the_whole_configuration(study: Any, unsized: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "baseline", "--json", "-f", str(study.file)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["difference"], shown["facts"]) == ({}, {"tokens": 16, "parameters": 12345})
    assert shown["params"]["data"]["report"] == ["LocD"]


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema()))
