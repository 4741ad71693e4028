"""Dotted knobs: how two configurations differ, and which knobs a number may depend on."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.task.knobs import differing, leaves, result_knobs

VALUES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2))
CONFIG = {
    "name": "data/LocE.h5",
    "workers": 3,
    "data": {"captures": {"LocD": {"path": "data/LocD.h5", "devices": [0, 10]}}, "shuffled_labels": False},
    "loss": {"kind": "focal", "path": "kept"},
    "augment": {},
}


class TestDiffering:
    def test_names_each_value_on_both_sides_those_of_the_first_side_first(self) -> None:
        found = differing({"depth": 2, "dim": 64}, {"roll": 1, "depth": 4, "dim": 64}, absent=None)
        assert list(found.items()) == [("depth", (2, 4)), ("roll", (None, 1))]

    def test_a_value_that_is_absent_differs_from_none_only_where_none_does_not_stand_for_it(self) -> None:
        assert differing({}, {"depth": None}, absent=None) == {}
        assert differing({}, {"depth": None}, absent=msgspec.UNSET) == {"depth": (msgspec.UNSET, None)}

    @given(VALUES, VALUES)
    def test_is_empty_for_equal_sides_alone_and_turns_around(self, one: dict[str, int], two: dict[str, int]) -> None:
        found = differing(one, two, absent=None)
        assert (not found) == (one == two)
        assert {name: pair[::-1] for name, pair in found.items()} == differing(two, one, absent=None)


def test_a_number_depends_on_nothing_cosmetic_and_on_no_path_of_a_file() -> None:
    assert result_knobs(CONFIG, ("workers",), ("data/LocD.h5",)) == {
        "name": "data/LocE.h5",
        "data.captures.LocD.devices": [0, 10],
        "data.shuffled_labels": False,
        "loss.kind": "focal",
        "loss.path": "kept",
        "augment": {},
    }


def test_leaves_are_named_by_the_whole_path_and_an_empty_mapping_is_one() -> None:
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": 2})) == {"a.b": 1, "a.c": {}, "d": 2}
