"""Sentences for a person, JSON for a program."""

import io
import json
import sys

import pytest

from orchestrator.cli.output import print_json, say, say_if


def test_each_sentence_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(sentence for sentence in ("one", "two \x1b[31m")) == 0
    assert capsys.readouterr().out == "one\ntwo \\x1b[31m\n"


def test_nothing_to_say_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert say([]) == 0
    assert say_if(None) == 0
    assert capsys.readouterr().out == ""


def test_a_sentence_that_there_is_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert say_if("one") == 0
    assert capsys.readouterr().out == "one\n"


@pytest.mark.parametrize("value", [{"größe": [1, None, 2.5]}, ["\N{BLACK STAR}"], "a\udcffb"])
def test_a_program_reads_the_value_that_was_printed(value: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_json(value) == 0
    assert json.loads(capsys.readouterr().out) == value


def test_a_stream_of_another_encoding_gets_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"name": "größe \N{BLACK STAR} \N{GRINNING FACE}"}
    below = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(below, encoding="ascii"))
    print_json(value)
    sys.stdout.flush()
    assert json.loads(below.getvalue().decode("ascii")) == value
