"""The section `metrics`: roles, margins and sources, and what does not go together."""

import re
from typing import Any

import msgspec
import pytest

from orchestrator.errors import SpecError
from orchestrator.task.metric_spec import (
    BestRow,
    CsvSource,
    FileSource,
    ItemsSource,
    JsonlSource,
    Margin,
    MetricSpec,
    ProgressSource,
    ReportedSource,
    Source,
    StdoutSource,
    TensorboardSource,
    TrainerStateSource,
    check_for_search,
    column_of,
    parse_metrics,
    pick_direction,
)

LOSS = {"better": "lower", "margin": 0.02}


def one(**keys: Any) -> MetricSpec:
    """Parse one judged metric named `loss`, with further keys."""
    return parse_metrics({"loss": LOSS | keys})["loss"]


def with_source(**source: Any) -> MetricSpec:
    return one(**{"from": source})


class TestRoles:
    def test_the_first_is_judged_and_the_others_are_shown(self) -> None:
        metrics = parse_metrics({"a": LOSS, "b": {"better": "higher"}, "c": {"better": "lower"}})
        assert [metric.role for metric in metrics.values()] == ["judged", "shown", "shown"]

    def test_a_role_that_is_said_holds(self) -> None:
        metrics = parse_metrics({"a": LOSS | {"role": "choose"}, "b": LOSS, "c": LOSS | {"role": "no_worse"}})
        assert [metric.role for metric in metrics.values()] == ["choose", "judged", "no_worse"]
        metrics = parse_metrics({"a": LOSS, "b": LOSS | {"role": "judged"}})
        assert [metric.role for metric in metrics.values()] == ["shown", "judged"]

    def test_several_are_judged_if_each_has_a_number_of_its_own(self) -> None:
        metrics = parse_metrics({name: LOSS | {"role": "judged"} for name in ("a", "b")})
        assert [metric.role for metric in metrics.values()] == ["judged", "judged"]


class TestMargins:
    @pytest.mark.parametrize(
        ("margin", "parsed", "compare"),
        [
            (2, Margin(value=2.0), "difference"),
            (0.02, Margin(value=0.02), "difference"),
            ("5%", Margin(value=0.05, is_share=True), "ratio"),
            (" 0.5 % ", Margin(value=0.005, is_share=True), "ratio"),
        ],
    )
    def test_a_margin_is_a_number_or_a_share(self, margin: object, parsed: Margin, compare: str) -> None:
        metric = one(margin=margin)
        assert (metric.margin, metric.compare) == (parsed, compare)

    def test_a_metric_that_is_only_shown_needs_none(self) -> None:
        assert parse_metrics({"a": LOSS, "b": {"better": "lower"}})["b"].margin is None


class TestSources:
    def test_without_one_it_is_the_column_of_its_name(self) -> None:
        assert one(unit="nats") == MetricSpec(
            name="loss",
            better="lower",
            source=ProgressSource(progress="loss"),
            role="judged",
            margin=Margin(value=0.02),
            unit="nats",
        )

    @pytest.mark.parametrize(
        ("values", "source", "column"),
        [
            ({"progress": "val", "pick": "first"}, ProgressSource(progress="val", pick="first"), "val"),
            ({"stdout": "acc {acc}"}, StdoutSource(stdout="acc {acc}"), "loss"),
            ({"stdout": "{a} {b}", "value": "b"}, StdoutSource(stdout="{a} {b}", value="b"), "b"),
            ({"file": "out.json", "key": "test.acc"}, FileSource(file="out.json", key="test.acc"), ""),
            (
                {"csv": "m.csv", "column": "val", "pick": {"best": "val", "better": "lower"}},
                CsvSource(csv="m.csv", column="val", pick=BestRow(best="val", better="lower")),
                "val",
            ),
            ({"jsonl": "m.jsonl", "key": "val"}, JsonlSource(jsonl="m.jsonl", key="val"), "val"),
            ({"tensorboard": "runs", "tag": "val"}, TensorboardSource(tensorboard="runs", tag="val"), "val"),
            (
                {"trainer_state": "trainer_state.json", "key": "eval_loss"},
                TrainerStateSource(trainer_state="trainer_state.json", key="eval_loss"),
                "eval_loss",
            ),
            ({"reported": "val"}, ReportedSource(reported="val"), ""),
            ({"items": "test", "median": "abs(e)"}, ItemsSource(items="test", median="abs(e)"), ""),
        ],
    )
    def test_its_first_key_says_which_it_is(self, values: dict[str, Any], source: Source, column: str) -> None:
        metric = with_source(**values)
        assert metric.source == source
        assert column_of(metric) == column

    @pytest.mark.parametrize(
        ("values", "aggregate", "columns"),
        [
            ({"mean": "correct"}, "mean", ("correct",)),
            ({"ratio": ["hits", "tries"]}, "ratio", ("hits", "tries")),
            ({"rmse": "x - y"}, "rmse", ("x - y",)),
            ({"r2": ["y", "f"]}, "r2", ("y", "f")),
            ({"auc": ["score", "label"]}, "auc", ("score", "label")),
            ({"median": "e"}, "median", ("e",)),
            ({"quantile": [0.9, "e"]}, "quantile", ("e",)),
        ],
    )
    def test_items_have_one_aggregate(self, values: dict[str, Any], aggregate: str, columns: tuple[str, ...]) -> None:
        source = with_source(items="test", **values).source
        assert isinstance(source, ItemsSource)
        assert (source.aggregate, source.columns) == (aggregate, columns)

    def test_a_metric_is_written_as_json_and_read_back(self) -> None:
        metric = with_source(items="test", quantile=[0.9, "e"])
        assert msgspec.json.decode(msgspec.json.encode(metric), type=MetricSpec) == metric


@pytest.mark.parametrize(
    ("values", "message", "where"),
    [
        ({}, "no metric is named; write one, e.g. `val_loss: {better: lower, margin: 0.02}`", ()),
        ({"a b": LOSS}, "a metric's name is letters, digits and `_ . / @ % -`, found `a b`", ("a b",)),
        ({"a": {"margin": 1}}, "`better` is missing here", ("a",)),
        ({"a": {"bettr": "lower"}}, "there is no `bettr` here; did you mean `better`?", ("a", "bettr")),
        ({"a": LOSS | {"role": "choose"}}, "no metric is judged; write `role: judged` at one of them", ()),
        (
            {"a": {"better": "lower"}},
            "a metric of role `judged` needs a `margin`, the smallest difference that matters: a number in its unit, "
            "or `margin: 5%`",
            ("a",),
        ),
        (
            {"a": LOSS | {"margin": -1}},
            "a margin is above 0, found -1; `better` says the direction",
            ("a", "margin"),
        ),
        (
            {"a": LOSS | {"margin": "5 percent"}},
            "a margin is a number above 0, or a share like `5%` below 100%, found `5 percent`",
            ("a", "margin"),
        ),
        (
            {"a": LOSS | {"margin": "100%"}},
            "a margin is a number above 0, or a share like `5%` below 100%, found `100%`",
            ("a", "margin"),
        ),
        (
            {"a": LOSS | {"margin": "5%", "compare": "difference"}},
            "with `compare: difference` the margin is a number in the metric's unit, found `5%`",
            ("a", "margin"),
        ),
        (
            {"a": LOSS | {"compare": "ratio"}},
            "with `compare: ratio` the margin is a share, e.g. `margin: 5%`, found `0.02`",
            ("a", "margin"),
        ),
        (
            {"a": LOSS | {"from": {"cvs": "x", "column": "y"}}},
            "there is no `cvs` here; did you mean `csv`?",
            ("a", "from", "cvs"),
        ),
        (
            {"a": LOSS | {"from": {}}},
            "`from` names no source; there are progress, stdout, file, csv, jsonl, tensorboard, trainer_state, "
            "reported, items",
            ("a", "from"),
        ),
        (
            {"a": LOSS | {"from": {"progress": "x", "stdout": "y {z}"}}},
            "a metric has one source, found `progress` and `stdout`; keep one",
            ("a", "from"),
        ),
        (
            {"a": LOSS | {"from": {"file": "/tmp/a.json", "key": "x"}}},
            "`/tmp/a.json` leads out of the checkout; name a path below the repository's root",
            ("a", "from", "file"),
        ),
        (
            {"a": LOSS | {"from": {"items": "test"}}},
            "a split has one aggregate (mean, ratio, rmse, r2, auc, median, quantile), found none",
            ("a", "from"),
        ),
        (
            {"a": LOSS | {"from": {"items": "test", "mean": "x", "rmse": "y"}}},
            "a split has one aggregate (mean, ratio, rmse, r2, auc, median, quantile), found `mean` and `rmse`",
            ("a", "from"),
        ),
        (
            {"a": LOSS | {"from": {"items": "test", "r2": ["x"]}}},
            "`r2` takes two columns: [truth, prediction], found 1",
            ("a", "from"),
        ),
        (
            {"a": LOSS | {"from": {"items": "test", "quantile": [90, "x"]}}},
            "a quantile lies between 0 and 1, found 90; 0.9 is the 90 % quantile",
            ("a", "from"),
        ),
        (
            {"a": LOSS | {"role": "judged"}, "b": LOSS | {"role": "judged", "from": {"progress": "a"}}},
            "`a` and `b` are judged by the same number; keep one of them",
            ("b",),
        ),
        (
            {"a": LOSS | {"from": {"progress": "x", "pick": {"best": "y"}}}},
            "nothing says which direction of `y` is better; write `pick: {best: y, better: lower}`, or higher",
            ("a", "from", "pick"),
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_path(values: dict[str, Any], message: str, where: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        parse_metrics(values)
    assert (str(refused.value), refused.value.where) == (message, ("metrics", *where))


def test_the_direction_of_a_best_row_is_that_of_the_metric_of_its_column() -> None:
    metrics = parse_metrics(
        {
            "acc": {"better": "higher", "margin": 1, "from": {"progress": "acc", "pick": {"best": "val_loss"}}},
            "val": {"better": "lower", "from": {"progress": "val_loss"}},
        }
    )
    assert pick_direction(metrics["acc"], metrics) == "lower"
    assert pick_direction(metrics["val"], metrics) is None
    assert pick_direction(with_source(progress="a", pick={"best": "b", "better": "higher"}), {}) == "higher"


class TestSearch:
    def test_a_confirmation_reads_one_metric_that_can_stand_for_the_judged_one(self) -> None:
        fresh = LOSS | {"role": "confirm"}
        fresh.pop("margin")
        metrics = parse_metrics({"a": LOSS, "b": fresh})
        assert [(metric.role, metric.is_evidence) for metric in metrics.values()] == [
            ("judged", True),
            ("confirm", False),
        ]
        for wrong, said in (
            (
                {"b": fresh, "c": fresh},
                "`b`, `c` have `role: confirm`; a confirmation reads one metric, so leave it to one",
            ),
            (
                {"b": fresh | {"better": "higher"}},
                "`b` confirms what `a` finds, so both need the same `better`, `compare` and `unit`",
            ),
        ):
            with pytest.raises(SpecError, match=re.escape(said)):
                parse_metrics({"a": LOSS} | {name: of | {"from": {"progress": name}} for name, of in wrong.items()})

    def test_a_search_chooses_by_a_metric_of_that_role(self) -> None:
        chosen = {"better": "lower", "role": "choose", "from": {"progress": "val"}}
        check_for_search(
            parse_metrics({"test": LOSS | {"from": {"progress": "test", "pick": {"best": "val"}}}, "val": chosen})
        )

    @pytest.mark.parametrize(
        ("values", "message", "where"),
        [
            (
                {"a": LOSS},
                "a search looks only at metrics with `role: choose`; give one of them that role",
                ("metrics",),
            ),
            (
                {
                    "a": LOSS | {"from": {"progress": "a", "pick": {"best": "a"}}},
                    "b": {"better": "lower", "role": "choose"},
                },
                "a search may not pick the best row by `a`, which the report judges or shows; pick `last`, or the best "
                "of a metric with `role: choose`",
                ("metrics", "a", "from", "pick"),
            ),
        ],
    )
    def test_a_search_may_not_look_at_what_is_reported(
        self, values: dict[str, Any], message: str, where: tuple[str, ...]
    ) -> None:
        with pytest.raises(SpecError) as refused:
            check_for_search(parse_metrics(values))
        assert (str(refused.value), refused.value.where) == (message, where)
