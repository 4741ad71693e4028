"""Templates: what is literal, what is a field, and what a wrong one is told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.task.templates import (
    CHECKPOINT,
    PARAMS,
    PLACE_FIELDS,
    WORD_FIELDS,
    Field,
    check_fields,
    check_place,
    field_names,
    fill,
    split_template,
)

COMMAND = (*WORD_FIELDS, PARAMS)


def test_a_text_is_split_into_literal_parts_and_fields() -> None:
    assert split_template("--seed={seed}/{{x}}") == ("--seed=", Field("seed"), "/", "{", "x", "}")
    assert split_template("") == ()
    assert field_names("{a}{b.c}") == ("a", "b.c")


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_a_text_with_doubled_braces_is_that_text(text: str) -> None:
    assert fill(text.replace("{", "{{").replace("}", "}}"), {}) == text


def test_fields_are_replaced_by_values_as_they_are() -> None:
    assert fill("{a}-{{a}}-{a}", {"a": "{b} c"}) == "{b} c-{a}-{b} c"


@pytest.mark.parametrize("text", ["{params}", "{params.lr}", "--n={gpus}", "{data.text}", "{config.yaml}", "{{x}}"])
def test_a_known_template_passes(text: str) -> None:
    check_fields(text, COMMAND, ["text"], ())


@pytest.mark.parametrize(
    ("text", "known", "message"),
    [
        (
            "--seed={sed}",
            COMMAND,
            "there is no template `{sed}`; did you mean `{seed}`?; double the braces (`{{` and `}}`) if they are meant "
            "as they stand",
        ),
        (
            "${HOME}",
            PLACE_FIELDS,
            "there is no template `{HOME}`; there are {seed}, {run_folder}; double the braces (`{{` and `}}`) if they "
            "are meant as they stand",
        ),
        ("{data.tset}", COMMAND, "there is no template `{data.tset}`; did you mean `{data.test}`?"),
        (
            "a{",
            COMMAND,
            "`{` stands alone in `a{`; double the braces (`{{` and `}}`) if they are meant as they stand",
        ),
        (
            "--all={params}",
            COMMAND,
            "`{params}` stands for several arguments, or for none; make it an item of its own, found `--all={params}`",
        ),
        ("{checkpoint}", COMMAND, "`{checkpoint}` has no value here; it belongs into `resume.arguments`"),
        ("{params}", (*WORD_FIELDS, CHECKPOINT), "`{params}` has no value here; it belongs into `command`"),
    ],
)
def test_a_wrong_template_is_told_what_is_right(text: str, known: tuple[str, ...], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_fields(text, known, ["test"], ("task", "command"))
    assert str(refused.value) == message
    assert refused.value.where == ("task", "command")


@pytest.mark.parametrize("path", ["out/a.csv", "{run_folder}/a.csv", "out-{seed}/a"])
def test_a_place_lies_in_the_checkout_or_in_the_run_folder(path: str) -> None:
    check_place(path, ())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/a/b", "`/a/b` leads out of the checkout; name a path below the repository's root"),
        ("{run_folder}/../b", "`../b` leads out of the checkout; name a path below the repository's root"),
        (
            "{gpus}/a",
            "there is no template `{gpus}`; there are {seed}, {run_folder}; double the braces (`{{` and `}}`) if they "
            "are meant as they stand",
        ),
    ],
)
def test_a_place_elsewhere_is_refused(path: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_place(path, ("task", "items"))
    assert (str(refused.value), refused.value.where) == (message, ("task", "items"))


def test_data_is_asked_for_where_a_task_has_none() -> None:
    with pytest.raises(SpecError, match=r"^there is no template `\{data.text\}`; give it a line in `data`$"):
        check_fields("{data.text}", COMMAND, [], ())
