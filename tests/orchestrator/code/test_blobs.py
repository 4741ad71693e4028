"""Which files may be code of a job."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.code.blobs import blob_name, describe_fault, hash_listing, is_importable, list_few


@pytest.mark.parametrize(
    ("path", "mode", "fault"),
    [
        ("model/a.py", "100644", None),
        ("model/a.py", "100755", None),
        ("model/a.abi3.so", "100755", None),
        ("model/a.py", "120000", "a symbolic link"),
        ("model/sub", "160000", "a submodule"),
        ("model/__pycache__/a.cpython-311.pyc", "100644", "byte code"),
        ("model/a.pyc", "100644", "byte code"),
        ("model/a.pyo", "100644", "byte code"),
        ("model/a.pyc", "000000", None),
    ],
)
def test_only_files_of_their_own_bytes_may_be_code(path: str, mode: str, fault: str | None) -> None:
    assert describe_fault(path, mode) == fault


@pytest.mark.parametrize("path", ["model/a.py", "model/deep/é.py", "model/a.pyc", "model/a.abi3.so"])
def test_an_import_finds_what_is_named_by_identifiers(path: str) -> None:
    assert is_importable(path)


@pytest.mark.parametrize("path", ["model/a.txt", "model/a-b.py", "model/.hidden/a.py", "model/a", "model/.py"])
def test_an_import_finds_nothing_else(path: str) -> None:
    assert not is_importable(path)


def test_bytes_are_called_as_git_calls_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\r\n\0b")
    said = subprocess.run(
        ["git", "hash-object", "--no-filters", "file"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert blob_name(b"a\r\n\0b") == said.strip()
    assert len(blob_name(b"", 64)) == 64


@given(st.dictionaries(st.text(min_size=1), st.text("0123456789abcdef", min_size=40, max_size=40)))
def test_the_hash_of_a_listing_does_not_depend_on_its_order(blobs: dict[str, str]) -> None:
    blobs = {name.encode(errors="replace").decode(): blob for name, blob in blobs.items()}
    assert hash_listing(blobs) == hash_listing(dict(reversed(blobs.items())))


def test_of_many_names_five_are_listed() -> None:
    assert list_few(["a", "b"]) == "a, b"
    assert list_few(list("abcdefg")) == "a, b, c, d, e and 2 more"
