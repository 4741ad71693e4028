"""Tables that others write are read within bounds, and refused in sentences."""

import contextlib
import io
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.reading import tables
from orchestrator.reading.sources import ReadingError
from orchestrator.reading.tables import (
    find_key,
    load_extra,
    open_plain,
    parse_json,
    read_csv,
    read_json_lines,
    read_npz,
    read_parquet,
    read_text,
    require_number,
    to_number,
)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


class TestCsv:
    def read(self, folder: Path, text: str | bytes, name: str = "m.csv", **options: bool) -> tables.Table:
        return read_csv(write(folder / name, text), **options)

    def test_columns_and_rows_are_as_a_person_counts_them(self, tmp_path: Path) -> None:
        table = self.read(tmp_path, '\ufeffa, b\n1,2\n\n"x\ny",4\n')
        assert {name: list(cells) for name, cells in table.columns.items()} == {"a": ["1", "x\ny"], "b": ["2", "4"]}
        assert list(table.rows) == [2, 5]

    def test_tabs_separate_a_tsv_file(self, tmp_path: Path) -> None:
        assert list(self.read(tmp_path, "a\tb\n1\t2\n", "m.tsv").column("b")) == ["2"]

    def test_a_torn_last_line_is_left_out(self, tmp_path: Path) -> None:
        assert list(self.read(tmp_path, "a,b\n1,2\n3").column("a")) == ["1"]

    def test_a_whole_last_line_without_an_end_counts_once_the_run_is_finished(self, tmp_path: Path) -> None:
        assert list(self.read(tmp_path, "a,b\n1,2\n3,4").column("b")) == ["2", "4"]
        assert list(self.read(tmp_path, "a,b\n1,2\n3,4", is_finished=False).column("b")) == ["2"]

    def test_a_head_alone_has_empty_columns(self, tmp_path: Path) -> None:
        assert list(self.read(tmp_path, "a,b\n").column("b")) == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n1,2\n3\n4,5\n", r"m.csv:3: found 1 cells, the head names 2 columns"),
            ("", "m.csv: is empty; a line of names"),
            (b"a,b\n\xff,2\n", r"m.csv:2: this is not UTF-8 \(byte 0xff\)"),
            ("a\n" + "1" * 200_000 + "\n", r"m.csv:2: this is no CSV: field larger than field limit"),
        ],
    )
    def test_what_is_no_table_is_refused(self, tmp_path: Path, text: str | bytes, message: str) -> None:
        with pytest.raises(ReadingError, match=message):
            self.read(tmp_path, text)

    def test_a_column_that_is_not_there_is_refused_with_the_nearest(self, tmp_path: Path) -> None:
        table = self.read(tmp_path, "loss,x,x\n1,2,3\n")
        with pytest.raises(ReadingError, match=r"m.csv: there is no column `los`; did you mean `loss`"):
            table.column("los")
        with pytest.raises(ReadingError, match="column `x` stands in the head twice"):
            table.column("x")

    def test_rows_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "MAX_ROWS", 2)
        with pytest.raises(ReadingError, match="has more than 2 rows; write fewer"):
            self.read(tmp_path, "a\n1\n2\n3\n")


class TestJsonLines:
    def read(self, folder: Path, text: str, **options: bool) -> list[tuple[int, dict[str, Any]]]:
        return list(read_json_lines(write(folder / "m.jsonl", text), **options))

    def test_objects_have_their_rows(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, '{"a": 1}\n\n{"a": NaN}\r\n{"a": 3}')[::2] == [(1, {"a": 1}), (4, {"a": 3})]

    def test_a_torn_last_line_is_left_out(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, '{"a": 1}\n{"a": ') == [(1, {"a": 1})]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"a": ', r"m.jsonl:1: this is no JSON; one object a line is wanted, found `{\"a\":`"),
            ("[1]", r'm.jsonl:1: one object a line is wanted, such as {"step": 1}, found `\[1\]`'),
            ("[" * 100_000, "m.jsonl:1: this is no JSON"),
        ],
    )
    def test_a_line_that_is_no_object_is_refused(self, tmp_path: Path, line: str, message: str) -> None:
        with pytest.raises(ReadingError, match=message):
            self.read(tmp_path, f"{line}\n")
        assert self.read(tmp_path, f'{line}\n{{"a": 1}}\n', is_strict=False) == [(2, {"a": 1})]


class TestFiles:
    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ReadingError, match=r"m.csv: there is no such file; the run did not write it, or it has"):
            read_text(tmp_path / "m.csv")

    def test_a_folder_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ReadingError, match="it is a folder and must be a file"):
            read_text(tmp_path)

    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ReadingError, match="has 5 bytes, at most 4 are read"),
            open_plain(write(tmp_path / "a", "12345"), 4),
        ):
            pytest.fail("it was opened")

    def test_what_is_no_json_is_told_with_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(ReadingError, match=r"a.json:2: this is no JSON: .*; is the file whole\?"):
            parse_json(tmp_path / "a.json", '{"a": 1,\n')
        with pytest.raises(ReadingError, match="this is no JSON that can be read"):
            parse_json(tmp_path / "a.json", "[" * 100_000)


class TestKeys:
    VALUE = {"a": [{"b": 1}, {"b": 2}], "eval.loss": 3, "x": {"y.z": {"w": 4}}, "0": 5, "none": None}

    @pytest.mark.parametrize(
        ("key", "value"), [("a.1.b", 2), ("eval.loss", 3), ("x.y.z.w", 4), ("0", 5), ("a.0", {"b": 1}), ("none", None)]
    )
    def test_dotted_keys_are_found(self, key: str, value: Any) -> None:
        assert find_key(self.VALUE, key) == value

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("a.2.b", "there is no `2`; there are 0, 1"),
            ("a.-1", "there is no `-1`"),
            ("x.y", "there is no `y`; there are y.z"),
            ("0.b", "there is no `b`"),
            ("evil.loss", "there is no `evil`"),
        ],
    )
    def test_what_is_missing_is_named(self, key: str, message: str) -> None:
        with pytest.raises(KeyError, match=message):
            find_key(self.VALUE, key)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "number"),
        [(1, 1.0), (True, 1.0), (" 1.5e3 ", 1500.0), ("False", 0.0), (np.float32(0.5), 0.5), (np.bool_(1), 1.0)],
    )
    def test_numbers_are_read(self, value: Any, number: float) -> None:
        assert to_number(value) == number

    @pytest.mark.parametrize("value", ["", "abc", "1_000", "1,5", None, [1], {}])
    def test_what_is_no_number_is_none(self, value: Any) -> None:
        assert to_number(value) is None

    def test_a_number_beyond_all_numbers_is_infinite(self) -> None:
        assert to_number(10**400) == float("inf")

    def test_a_number_is_required(self) -> None:
        assert require_number("2", "m.csv:3", "`a`") == 2.0
        with pytest.raises(ReadingError, match=r"m\.csv:3: `a` holds `abc`, a number is wanted"):
            require_number("abc", "m.csv:3", "`a`")


class TestNpz:
    def save(self, folder: Path, **arrays: NDArray[Any]) -> Path:
        np.savez_compressed(folder / "m.npz", allow_pickle=True, **arrays)
        return folder / "m.npz"

    def test_arrays_are_read(self, tmp_path: Path) -> None:
        table = read_npz(
            self.save(tmp_path, a=np.arange(3), b=np.array(["x", "y", "z"]), c=np.zeros((2, 2))), ["a", "b"]
        )
        assert [list(cells) for cells in table.columns.values()] == [[0, 1, 2], ["x", "y", "z"]]
        assert list(table.rows) == [1, 2, 3]
        assert table.there == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.array([{}, []], dtype=object), "`a` is of type object; numbers, truth or text are wanted"),
            (np.zeros((2, 2)), r"`a` has the shape \(2, 2\); one number for each item is wanted"),
            (np.array(1.0), r"`a` has the shape \(\)"),
        ],
    )
    def test_other_kinds_are_refused(self, tmp_path: Path, array: NDArray[Any], message: str) -> None:
        with pytest.raises(ReadingError, match=message):
            read_npz(self.save(tmp_path, a=array), None)

    def test_columns_of_different_lengths_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadingError, match="its columns differ in length: 2 of `a`, 3 of `b`"):
            read_npz(self.save(tmp_path, a=np.zeros(2), b=np.zeros(3)), None)

    def test_an_array_that_declares_more_than_it_holds_is_refused(self, tmp_path: Path) -> None:
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**60,)})
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
            archive.writestr("a.npy", member.getvalue() + b"\0" * 8)
        with pytest.raises(ReadingError, match="`a` says 1,152,921,504,606,846,976 items, and holds another number"):
            read_npz(tmp_path / "m.npz", None)

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_a_cut_archive_is_refused(self, tmp_path: Path, share: float) -> None:
        content = self.save(tmp_path, a=np.random.default_rng(0).random(1000)).read_bytes()
        write(tmp_path / "m.npz", content[: int(share * len(content))])
        with pytest.raises(ReadingError, match=r"m.npz: is cut, or no NPZ file: "):
            read_npz(tmp_path / "m.npz", None)

    @pytest.mark.parametrize("place", range(40, 400, 40))
    def test_a_spoilt_archive_is_refused_or_read(self, tmp_path: Path, place: int) -> None:
        content = bytearray(self.save(tmp_path, a=np.arange(100.0)).read_bytes())
        content[place] ^= 0xFF
        with contextlib.suppress(ReadingError):
            assert len(read_npz(write(tmp_path / "m.npz", bytes(content)), None).rows) in (0, 100)


class TestParquet:
    def test_a_missing_package_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(ReadingError) as caught:
            read_parquet(tmp_path / "m.parquet", None)
        assert str(caught.value) == (
            f"{tmp_path}/m.parquet: to read Parquet, pyarrow is needed; `pip install 'knockout[parquet]'` brings it"
        )

    def test_only_the_wanted_columns_are_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", types.ModuleType("pyarrow"))
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", fake_parquet({"a": [1, 2], "b": ["x", "y"]}))
        table = read_parquet(write(tmp_path / "m.parquet", "whatever"), ["b"])
        assert table.columns == {"b": ["x", "y"]}
        assert table.there == ["a", "b"]

    def test_a_real_file_is_read(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow", reason="only users of Parquet have pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(
            pyarrow.table({"a": [1.5, 2.5], "b": ["x", "y"], "c": [True, None]}), tmp_path / "m.parquet"
        )
        assert read_parquet(tmp_path / "m.parquet", ["a", "c"]).columns == {"a": [1.5, 2.5], "c": [True, None]}
        with pytest.raises(ReadingError, match=r"cannot be read|is cut, or no Parquet file"):
            read_parquet(write(tmp_path / "n.parquet", "PAR1 nothing"), None)


def fake_parquet(columns: dict[str, list[Any]]) -> types.ModuleType:
    """Stand in for pyarrow.parquet, as far as it is used."""

    class Column(list[Any]):
        def to_pylist(self) -> list[Any]:
            return list(self)

    class Read:
        def __init__(self, names: list[str]) -> None:
            self.column_names = names

        def column(self, name: str) -> Column:
            return Column(columns[name])

    class ParquetFile:
        def __init__(self, file: Any) -> None:
            self.metadata = types.SimpleNamespace(num_rows=len(next(iter(columns.values()))))
            self.schema_arrow = types.SimpleNamespace(names=list(columns))

        def read(self, columns: list[str]) -> Read:
            return Read(columns)

    module = types.ModuleType("pyarrow.parquet")
    module.ParquetFile = ParquetFile
    return module


def test_a_package_that_is_there_is_imported() -> None:
    assert load_extra("json", "to test", "nothing").loads("1") == 1
