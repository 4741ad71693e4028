"""Parameters: they are closed, keep their types, and lie in nested sections."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.task.knobs import leaves
from orchestrator.task.parameters import apply_to_parameters, check_parameters, nest, parameter_names

BASELINE: dict[str, Any] = {
    "learning_rate": 1e-3,
    "epochs": 3,
    "compile": False,
    "name": "adam",
    "seed_from": None,
    "sizes": [1, 2],
    "betas": [0.9, 0.99],
    "mixed": [1, "auto"],
    "model": {"depth": 2, "dropout": 0.1},
    "extra": {},
}


class TestNest:
    def test_dotted_names_become_sections(self) -> None:
        values = {"model.depth": 2, "model": {"drop.rate": 0.1}, "lr": 1}
        assert nest(values) == {"model": {"depth": 2, "drop": {"rate": 0.1}}, "lr": 1}

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from(["a", "b.c", "b.d", "e.f.g"]), st.integers()))
    def test_flat_and_nested_are_the_same_parameters(self, flat: dict[str, int]) -> None:
        nested = nest(flat)
        assert dict(leaves(nested)) == flat
        assert nest(nested) == nested

    @pytest.mark.parametrize(
        ("values", "message", "where"),
        [
            (
                {"a.b": 1, "a": {"b": 2}},
                "`b` is given twice, once with dots and once in a section; keep one of them",
                ("baseline", "a"),
            ),
            ({"a": 1, "a.b": 2}, "`a` is a parameter and cannot hold `a.b` too", ("baseline", "a.b")),
            (
                {"a.b": 1, "a": 2},
                "`a` is given twice, once as a parameter and once as a section; keep one of them",
                ("baseline", "a"),
            ),
            (
                {"--lr": 1},
                "a parameter's name has no spaces, no `=` and no dash in front, found `--lr`; write `lr` for `--lr`",
                ("baseline", "--lr"),
            ),
            (
                {"a": {"b..c": 1}},
                "a parameter's name has no spaces, no `=` and no dash in front, found `b..c`; write `lr` for `--lr`",
                ("baseline", "a", "b..c"),
            ),
            (
                {"a": float("inf")},
                "the number inf is not finite; quote it if the script takes it as a word",
                ("baseline", "a"),
            ),
        ],
    )
    def test_what_cannot_be_parameters_is_refused(
        self, values: dict[str, Any], message: str, where: tuple[str, ...]
    ) -> None:
        with pytest.raises(SpecError) as refused:
            nest(values)
        assert (str(refused.value), refused.value.where) == (message, where)


class TestChange:
    @pytest.mark.parametrize(
        ("change", "name", "value"),
        [
            ({"learning_rate": 3}, "learning_rate", 3.0),
            ({"epochs": 2e3}, "epochs", 2000),
            ({"compile": True}, "compile", True),
            ({"name": "1"}, "name", "1"),
            ({"seed_from": 7}, "seed_from", 7),
            ({"seed_from": "file"}, "seed_from", "file"),
            ({"sizes": []}, "sizes", []),
            ({"mixed": ["x", 2.5]}, "mixed", ["x", 2.5]),
            ({"betas": [1, 0.5]}, "betas", [1.0, 0.5]),
            ({"model.depth": 4}, "model.depth", 4),
            ({"model": {"depth": 4}}, "model.depth", 4),
        ],
    )
    def test_a_change_keeps_the_type(self, change: dict[str, Any], name: str, value: object) -> None:
        changed = dict(leaves(apply_to_parameters(BASELINE, change)))
        before = dict(leaves(BASELINE))
        assert changed.pop(name) == value
        assert type(dict(leaves(apply_to_parameters(BASELINE, change)))[name]) is type(value)
        before.pop(name)
        assert changed == before

    def test_the_stack_stays_as_it_is(self) -> None:
        stack: dict[str, Any] = {"model": {"depth": 2}, "sizes": [1]}
        sizes = [3]
        changed = apply_to_parameters(stack, {"model.depth": 3, "sizes": sizes})
        sizes.append(4)
        assert stack == {"model": {"depth": 2}, "sizes": [1]}
        assert changed == {"model": {"depth": 3}, "sizes": [3]}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"learnin_rate": 1.0}, "there is no parameter `learnin_rate`; did you mean `learning_rate`?"),
            ({"model.dpth": 1}, "there is no parameter `model.dpth`; did you mean `model.depth`?"),
            ({"warmup": 1}, "`warmup` is not in `baseline`; write its value there, so that both sides say it"),
            ({"epochs.x": 1}, "there is no parameter `epochs.x`; did you mean `epochs`?"),
            ({"model": 3}, "`model` is a section; name one of its parameters: `model.depth`, `model.dropout`"),
            (
                {"epochs": 2.5},
                "`epochs` is a whole number (`3`) in `baseline`, found a number (`2.5`); a change keeps the type",
            ),
            (
                {"epochs": True},
                "`epochs` is a whole number (`3`) in `baseline`, found true or false (`True`); a change keeps the type",
            ),
            (
                {"learning_rate": "1e-3"},
                "`learning_rate` is a number (`0.001`) in `baseline`, found a text (`1e-3`); a change keeps the type",
            ),
            (
                {"sizes": [1.5]},
                "`sizes` is a list (`[1, 2]`) in `baseline`, found a list (`[1.5]`); a change keeps the type",
            ),
            (
                {"sizes": 1},
                "`sizes` is a list (`[1, 2]`) in `baseline`, found a whole number (`1`); a change keeps the type",
            ),
            (
                {"model.dropout": None},
                "`model.dropout` is a number (`0.1`), never null; a schema may allow it: `model.dropout: {null: true}`",
            ),
            ({"epochs": 3}, "`epochs: 3` changes nothing: the stack it is put on has that value already"),
            (
                {"learning_rate": float("inf")},
                "the number inf is not finite; quote it if the script takes it as a word",
            ),
        ],
    )
    def test_a_change_that_cannot_be_is_refused(self, change: dict[str, Any], message: str) -> None:
        where = ("experiments", "e", "change")
        with pytest.raises(SpecError) as refused:
            apply_to_parameters(BASELINE, change, where=where)
        assert (str(refused.value), refused.value.where) == (message, (*where, *change))


class TestSchema:
    def test_a_schema_allows_null_and_other_types(self) -> None:
        schema = {"properties": {"epochs": {"type": ["integer", "null", "string"]}, "name": {"enum": ["adam", 3]}}}
        assert apply_to_parameters(BASELINE, {"epochs": None}, schema)["epochs"] is None
        assert apply_to_parameters(BASELINE, {"epochs": "auto"}, schema)["epochs"] == "auto"
        assert apply_to_parameters(BASELINE, {"name": 3}, schema)["name"] == 3

    def test_a_whole_number_for_a_real_one_gets_a_point(self) -> None:
        schema = {"properties": {"seed_from": {"anyOf": [{"type": "number"}, {"type": "null"}]}}}
        assert repr(apply_to_parameters(BASELINE, {"seed_from": 3}, schema)["seed_from"]) == "3.0"

    def test_a_limit_alone_changes_no_type(self) -> None:
        schema = {"properties": {"epochs": {"minimum": 1, "maximum": 9}}}
        with pytest.raises(SpecError, match=r"a change keeps the type$"):
            apply_to_parameters(BASELINE, {"epochs": 2.5}, schema)
        with pytest.raises(SpecError, match=r"^this must be at most 9, found 10$"):
            apply_to_parameters(BASELINE, {"epochs": 10}, schema)

    def test_a_baseline_outside_of_its_schema_is_refused(self) -> None:
        schema = {"properties": {"model": {"properties": {"dropout": {"maximum": 0.05}}}}}
        with pytest.raises(SpecError, match=r"^this must be at most 0\.05, found 0\.1$") as refused:
            check_parameters(BASELINE, schema)
        assert refused.value.where == ("baseline", "model", "dropout")


def test_names_are_dotted() -> None:
    assert parameter_names({"model": {"depth": 1, "x": {"y": 2}}, "lr": 1}) == ("model.depth", "model.x.y", "lr")
