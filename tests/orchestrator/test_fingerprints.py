"""Hashes of captures, read once."""

import hashlib
import os
from pathlib import Path

import pytest

from orchestrator.errors import DataError
from orchestrator.fingerprints import fingerprint_files


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "LocA.h5"
    path.write_bytes(b"bursts")
    return path


def test_a_file_is_named_by_its_content(capture: Path, tmp_path: Path) -> None:
    hashes = fingerprint_files(["LocA.h5"], tmp_path, tmp_path / "cache.json")
    assert hashes == {"LocA.h5": hashlib.sha256(b"bursts").hexdigest()}


def test_an_unchanged_file_is_not_read_again(capture: Path, tmp_path: Path) -> None:
    stat = capture.stat()
    first = fingerprint_files(["LocA.h5"], tmp_path, tmp_path / "cache.json")
    capture.write_bytes(b"BURSTS")
    os.utime(capture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint_files(["LocA.h5"], tmp_path, tmp_path / "cache.json") == first
    os.utime(capture, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint_files(["LocA.h5"], tmp_path, tmp_path / "cache.json") != first


def test_a_broken_cache_costs_only_time(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.json").write_text("{half")
    assert fingerprint_files(["LocA.h5"], tmp_path, tmp_path / "cache.json")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"LocD\.h5: the capture cannot be read: No such file"):
        fingerprint_files(["LocD.h5"], tmp_path, tmp_path / "cache.json")


def test_where_nothing_can_be_written_the_hash_is_told_all_the_same(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the place of the folder")
    hashes = fingerprint_files(["LocA.h5"], tmp_path, tmp_path / "results" / "fingerprints.json")
    assert hashes == {"LocA.h5": hashlib.sha256(b"bursts").hexdigest()}


def test_the_value_of_a_variable_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOCKOUT_TEST_A", "hunter2")
    (tmp_path / "hunter2.h5").write_bytes(b"bursts")
    fingerprint_files(["${KNOCKOUT_TEST_A}.h5"], tmp_path, tmp_path / "cache.json")
    assert "hunter2" not in (tmp_path / "cache.json").read_text()
