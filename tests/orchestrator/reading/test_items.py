"""Item tables: each item has a name of its own and finite numbers, and the same items stand at every seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.reading.items import Items, read_items, require_same_items
from orchestrator.reading.sources import LM_EVAL_KEY, ItemTable, ReadingError

MEND = "; mend `task.items.test`, then `knockout report`: nothing is trained again"
COLUMNS: dict[str, list[Any]] = {
    "key": [17, 18, 20],
    "trial": ["a", "a", "b"],
    "device": [0, 1, 0],
    "x": [0.5, -1.25, 1e-3],
    "hit": [True, False, True],
    "note": ["p", "q", "r"],
}


def write(folder: Path, ending: str, columns: dict[str, list[Any]]) -> Path:
    path = folder / f"test{ending}"
    rows = list(zip(*columns.values(), strict=True))
    if ending == ".npz":
        np.savez(path, allow_pickle=True, **{name: np.array(cells) for name, cells in columns.items()})
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        comma = "\t" if ending == ".tsv" else ","
        path.write_text("".join(comma.join(map(str, row)) + "\n" for row in (columns, *rows)))
    return path


def table(folder: Path, content: dict[str, list[Any]], **wanted: Any) -> ItemTable:
    return ItemTable(path=write(folder, ".csv", content), **({"key": ("key",)} | wanted))


def refused(wanted: ItemTable) -> str:
    with pytest.raises(ReadingError) as caught:
        read_items("test", wanted)
    told = str(caught.value)
    assert told.startswith("items of `test`: ")
    assert told.endswith(MEND)
    return told.removeprefix("items of `test`: ").removesuffix(MEND)


def items(keys: list[str], **labels: list[str] | None) -> Items:
    stratum, cluster = labels.get("stratum"), labels.get("cluster")
    return Items(
        keys_B=np.array(keys),
        stratum_B=np.array(stratum or [""] * len(keys)),
        cluster_B=np.array(cluster) if cluster else None,
        columns={},
    )


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".npz"])
@pytest.mark.parametrize("columns", [("x", "hit"), None])
def test_every_kind_of_file_gives_the_same_items(tmp_path: Path, ending: str, columns: tuple[str, ...] | None) -> None:
    path = write(tmp_path, ending, COLUMNS)
    wanted = ItemTable(path=path, key=("key",), cluster="trial", stratum="device", columns=columns)
    found = read_items("test", wanted)
    assert found.keys_B.tolist() == ["17", "18", "20"]
    assert found.stratum_B.tolist() == ["0", "1", "0"]
    assert found.cluster_B is not None
    assert found.cluster_B.tolist() == ["a", "a", "b"]
    assert {name: values_B.tolist() for name, values_B in found.columns.items()} == {
        "x": [0.5, -1.25, 1e-3],
        "hit": [1.0, 0.0, 1.0],
    }
    assert all(values_B.dtype == np.float64 for values_B in found.columns.values())
    assert found.num_items == 3


def test_without_groups_there_is_one_stratum_and_no_cluster(tmp_path: Path) -> None:
    found = read_items("test", table(tmp_path, COLUMNS, columns=("x",)))
    assert found.stratum_B.tolist() == ["", "", ""]
    assert found.cluster_B is None


def test_several_columns_name_an_item_and_cannot_be_confused(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"a": "x|y", "b": "z", "v": 1}\n{"a": "x", "b": "y|z", "v": 2}\n')
    found = read_items("test", ItemTable(path=path, key=("a", "b"), columns=("v",)))
    assert found.keys_B.tolist() == [r"x\|y|z", r"x|y\|z"]


def test_whole_numbers_that_became_fractions_are_the_same_labels(tmp_path: Path) -> None:
    path = write(tmp_path, ".npz", {"key": [17.0, 18.5], "x": [1, 2]})
    assert read_items("test", ItemTable(path=path, key=("key",))).keys_B.tolist() == ["17", "18.5"]


def test_samples_of_lm_eval_are_read_as_json_lines(tmp_path: Path) -> None:
    lines = [
        {"doc_id": doc, "doc": {"q": "?"}, "filter": kind, "resps": [["a"]], "exact_match": hit}
        for doc, kind, hit in ((0, "strict", 1.0), (0, "flexible", 0.0), (1, "strict", 1.0), (1, "flexible", 1.0))
    ]
    path = tmp_path / "samples_gsm8k.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_items("test", ItemTable(path=path, key=LM_EVAL_KEY, columns=("exact_match",)))
    assert found.keys_B.tolist() == ["0|strict", "0|flexible", "1|strict", "1|flexible"]
    assert found.columns["exact_match"].tolist() == [1, 0, 1, 1]


def test_dotted_columns_of_json_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"id": 1, "scores": {"f1": 0.5}}\n{"id": 2, "scores": {"f1": 0.75}}\n')
    found = read_items("test", ItemTable(path=path, key=("id",), columns=("scores.f1",)))
    assert found.columns["scores.f1"].tolist() == [0.5, 0.75]


def test_a_key_that_stands_there_twice_is_refused_with_its_rows(tmp_path: Path) -> None:
    told = refused(table(tmp_path, {"key": [16, 17, 18, 17], "x": [1, 2, 3, 4]}))
    assert told == (f"{tmp_path}/test.csv: key `17` stands there twice (rows 3, 5); name columns that tell items apart")


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        ({"key": [1, 2], "x": [1, "abc"]}, ("x",), "test.csv:3: column `x` holds `abc`; a number is wanted"),
        ({"key": [1, 2], "x": [1, ""]}, ("x",), "test.csv:3: column `x` is empty; a number is wanted"),
        ({"key": [1, 2], "x": [1, "nan"]}, ("x",), "test.csv:3: column `x` is nan; a finite number is wanted"),
        ({"key": [1, 2], "x": [1, "inf"]}, None, "test.csv:3: column `x` is inf; a finite number is wanted"),
        ({"key": [1, ""], "x": [1, 2]}, ("x",), "test.csv:3: column `key` is empty; each item needs one"),
        ({"key": [1, 2], "errors": [1, 2]}, ("error",), "test.csv: there is no column `error`; did you mean `errors`?"),
        ({"kez": [1, 2], "x": [1, 2]}, ("x",), "test.csv: there is no column `key`; did you mean `kez`?"),
        ({"key": [], "x": []}, ("x",), "test.csv: has no items; a row for each item is wanted"),
    ],
)
def test_what_is_no_table_of_items_is_told(
    tmp_path: Path, columns: dict[str, list[Any]], wanted: tuple[str, ...] | None, message: str
) -> None:
    assert message in refused(table(tmp_path, columns, columns=wanted))


def test_a_key_that_an_object_lacks_is_told_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"id": 1, "x": 1}\n{"id": 2}\n')
    assert f"{path}:2: column `x` is empty" in refused(ItemTable(path=path, key=("id",), columns=("x",)))
    assert f"{path}: there is no column `y`; there are id, x" in refused(
        ItemTable(path=path, key=("id",), columns=("y",))
    )


def test_numbers_of_an_archive_that_are_not_finite_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, ".npz", {"key": [1, 2], "x": [1.0, float("nan")]})
    assert f"{path}:2: column `x` is nan" in refused(ItemTable(path=path, key=("key",), columns=("x",)))


def test_another_kind_of_file_is_told(tmp_path: Path) -> None:
    told = refused(ItemTable(path=tmp_path / "test.pkl", key=("key",)))
    assert "a file that ends in .csv, .tsv, .jsonl, .npz and .parquet is wanted" in told


def test_arrays_of_different_lengths_are_no_items() -> None:
    with pytest.raises(ValueError, match="arrays of items differ in length: 1 and 2"):
        Items(keys_B=np.array(["a"]), stratum_B=np.array(["", ""]), cluster_B=None, columns={})


class TestSeeds:
    def test_the_same_items_in_another_order_are_fine(self) -> None:
        require_same_items("test", {0: items(["a", "b"], stratum=["x", "y"]), 1: items(["b", "a"], stratum=["y", "x"])})

    def test_different_keys_propose_resampled(self) -> None:
        with pytest.raises(ReadingError) as caught:
            require_same_items("test", {0: items(["a", "b", "c"]), 1: items(["a", "d", "c"])})
        assert str(caught.value) == (
            "items of `test`: seeds 0 and 1 hold different keys: 1 key of seed 0 alone, such as `b`; 1 key of seed 1 "
            "alone, such as `d`; if each seed draws its own test items, say `resampled: {test_share: ...}`; else name "
            "keys that stay"
        )

    @pytest.mark.parametrize("kind", ["stratum", "cluster"])
    def test_an_item_stays_in_its_group(self, kind: str) -> None:
        with pytest.raises(
            ReadingError, match=f"key `b` is in {kind} `y` at seed 3 and in `z` at seed 4; an item stays"
        ):
            require_same_items(
                "test", {3: items(["a", "b"], **{kind: ["x", "y"]}), 4: items(["b", "a"], **{kind: ["z", "x"]})}
            )
