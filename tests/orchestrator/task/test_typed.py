"""Plain values as typed ones: each refusal has the path of its key."""

from typing import Literal

import pytest

from orchestrator.closed import Config
from orchestrator.errors import SpecError
from orchestrator.task.typed import convert, kind_of, mapping, refuse_outside, refuse_twice, section


class Inner(Config, frozen=True, kw_only=True):
    """A section inside of another."""

    mode: Literal["fast", "slow"] = "fast"


class Outer(Config, frozen=True, kw_only=True):
    """A section."""

    name: str
    inner: Inner = Inner()


def test_a_section_becomes_its_type() -> None:
    assert convert({"name": "x", "inner": {"mode": "slow"}}, Outer, ()) == Outer(name="x", inner=Inner(mode="slow"))


@pytest.mark.parametrize(
    ("values", "message", "where"),
    [
        ({"nam": "x"}, "there is no `nam` here; did you mean `name`?", ("nam",)),
        ({}, "`name` is missing here", ()),
        ({"name": 3}, "Expected `str`, got `int`", ("name",)),
        ({"name": "x", "inner": {"mod": "fast"}}, "there is no `mod` here; did you mean `mode`?", ("inner", "mod")),
        (
            {"name": "x", "inner": {"mode": "fats"}},
            "Invalid enum value 'fats'; valid are fast, slow",
            ("inner", "mode"),
        ),
        ("prose", "Expected keys with values, got a text", ()),
        ({1: 2}, "a key must be a word, found 1; quote it", ()),
    ],
)
def test_what_does_not_fit_is_refused(values: object, message: str, where: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        convert(values, Outer, ("task",))
    assert (str(refused.value), refused.value.where) == (message, ("task", *where))


def test_a_section_keeps_its_values() -> None:
    assert section({"a": [1]}, ("a", "b"), ()) == mapping({"a": [1]}, ()) == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true or false"),
        (1, "a whole number"),
        (1.5, "a number"),
        ("", "a text"),
        ({}, "a section"),
        ([], "a list"),
        ((), "a list"),
        (b"", "another kind of value"),
    ],
)
def test_a_kind_has_words(value: object, words: str) -> None:
    assert kind_of(value) == words


def test_a_name_stands_once_in_a_list() -> None:
    refuse_twice(["a", "b"], ())
    with pytest.raises(SpecError, match=r"^`a` is named twice; keep one of them$") as refused:
        refuse_twice(["a", "b", "a"], ("task", "code"))
    assert refused.value.where == ("task", "code", "[2]")


@pytest.mark.parametrize("path", ["/etc", "~/x", "..", "a/../b"])
def test_a_path_stays_in_the_checkout(path: str) -> None:
    refuse_outside("a/..b/c", ())
    with pytest.raises(SpecError) as refused:
        refuse_outside(path, ())
    assert str(refused.value) == f"`{path}` leads out of the checkout; name a path below the repository's root"
