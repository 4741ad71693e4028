"""A table between the marks of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.page import publish

MARKS = ("<!-- begin -->", "<!-- end -->")


def never() -> Iterator[str]:
    """Measure for minutes."""
    pytest.fail("it measures before it asks for the file")
    yield ""


@pytest.mark.parametrize("name", ["none.md", "folder", "bytes.md", "plain.md"])
def test_a_file_that_cannot_take_the_table_is_refused_before_anything_is_measured(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe")
    (tmp_path / "plain.md").write_text("no marks")
    with pytest.raises(SystemExit) as refused:
        publish(never(), tmp_path / name, MARKS)
    assert str(refused.value.code).startswith(f"{tmp_path / name}: ")


def test_what_was_edited_while_it_was_measured_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text("<!-- begin -->\nold\n<!-- end -->\n")

    def measure() -> Iterator[str]:
        path.write_text("größe\n" + path.read_text(), encoding="utf-8")
        yield "new"

    publish(measure(), path, MARKS)
    assert path.read_text(encoding="utf-8") == "größe\n<!-- begin -->\nnew\n<!-- end -->\n"
    assert capsys.readouterr().out == "new\n"
