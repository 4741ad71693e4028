"""Hashes of captures, read once for as long as the file is the same one; the cache never makes a command fail."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import DataError
from orchestrator.runs import fingerprints
from orchestrator.runs.fingerprints import changed_files, fingerprint_files, is_settled

NOW_NS = 1_800_000_000_123_456_789
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "LocA.h5"
    path.write_bytes(b"bursts")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were hashed, in their order."""
    found: list[str] = []
    digest = hashlib.file_digest

    def counting(file: object, name: str) -> object:
        found.append(str(Path(f"/proc/self/fd/{file.fileno()}").readlink()))
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return found


@pytest.fixture
def _an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that a test writes is an hour old for the fingerprints."""
    now_ns = fingerprints.time.time_ns
    monkeypatch.setattr("orchestrator.runs.fingerprints.time.time_ns", lambda: now_ns() + HOUR_NS)


def fingerprint(folder: Path, *paths: str) -> dict[str, str]:
    return fingerprint_files(paths or ["LocA.h5"], folder, folder / "cache.json")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_named_by_its_content(capture: Path, tmp_path: Path) -> None:
    assert fingerprint(tmp_path) == {"LocA.h5": sha256(b"bursts")}


@pytest.mark.usefixtures("_an_hour_later")
def test_an_unchanged_file_is_not_read_again(capture: Path, tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "link.h5").symlink_to("LocA.h5")
    first = fingerprint(tmp_path)
    assert [fingerprint(tmp_path) for _ in range(3)] == [first] * 3
    assert fingerprint(tmp_path, "./LocA.h5", "link.h5") == dict.fromkeys(("./LocA.h5", "link.h5"), first["LocA.h5"])
    assert reads == [str(capture)]


def write(path: Path) -> None:
    path.write_bytes(b"BURSTS")


def put_another(path: Path) -> None:
    """As git, rsync or a person do: another file is written, and takes the place."""
    other = path.with_name("other")
    other.write_bytes(b"BURSTS")
    os.utime(other, ns=(10**18, 10**18))
    other.replace(path)


def link_to_another(path: Path) -> None:
    path.with_name("other").write_bytes(b"BURSTS")
    path.unlink()
    path.symlink_to("other")


@pytest.mark.usefixtures("_an_hour_later")
@pytest.mark.parametrize("change", [write, put_another, link_to_another])
def test_another_content_of_the_same_size_and_time_is_hashed_anew(
    change: Callable[[Path], None], capture: Path, tmp_path: Path
) -> None:
    os.utime(capture, ns=(10**18, 10**18))
    assert fingerprint(tmp_path) == {"LocA.h5": sha256(b"bursts")}
    change(capture)
    os.utime(capture, ns=(10**18, 10**18))
    assert fingerprint(tmp_path) == {"LocA.h5": sha256(b"BURSTS")}


def test_a_file_that_may_still_change_unseen_is_not_remembered(
    capture: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = capture.stat().st_ctime_ns + 1_000_000
    monkeypatch.setattr("orchestrator.runs.fingerprints.time.time_ns", lambda: now_ns)
    fingerprint(tmp_path)
    fingerprint(tmp_path)
    assert len(reads) == 2
    now_ns += 3_000_000_000
    fingerprint(tmp_path)
    fingerprint(tmp_path)
    assert len(reads) == 3


@pytest.mark.parametrize(
    ("modified_ns", "changed_ns", "settled"),
    [
        (NOW_NS - HOUR_NS, NOW_NS - HOUR_NS, True),
        (NOW_NS - HOUR_NS, NOW_NS - 1_000_000, False),
        (NOW_NS - 1_000_000, NOW_NS - HOUR_NS, False),
        (NOW_NS - HOUR_NS, NOW_NS + HOUR_NS, False),
        (NOW_NS + HOUR_NS, NOW_NS - HOUR_NS, True),
        # Whole seconds: a file system that keeps no more.
        (NOW_NS - HOUR_NS, NOW_NS // 10**9 * 10**9 - 10**9, False),
        (NOW_NS - HOUR_NS, NOW_NS // 10**9 * 10**9 - 2 * 10**9, True),
    ],
)
def test_a_young_file_is_not_settled(modified_ns: int, changed_ns: int, settled: bool) -> None:
    assert is_settled((1, 2, 3, modified_ns, changed_ns), NOW_NS) is settled


@given(age_ns=st.integers(0, 2 * HOUR_NS), later_ns=st.integers(0, HOUR_NS))
def test_a_settled_file_stays_settled(age_ns: int, later_ns: int) -> None:
    stamp = (1, 2, 3, NOW_NS - age_ns, NOW_NS - age_ns)
    assert not is_settled(stamp, NOW_NS) or is_settled(stamp, NOW_NS + later_ns)


def test_a_file_that_changes_while_it_is_read_is_refused(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.file_digest

    def meanwhile(file: object, name: str) -> object:
        with capture.open("ab") as writer:
            writer.write(b"more")
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", meanwhile)
    with pytest.raises(DataError, match=r"LocA\.h5: the file changes while it is read; wait until it is written"):
        fingerprint(tmp_path)


@pytest.mark.usefixtures("_an_hour_later")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{half",
        b"\0" * 100,
        b"[" * 5000,
        b"[]",
        b"{}",
        b'{"format": 2, "files": {"LocA.h5": "abc"}}',
        b'{"format": 3, "files": {}}',
        b'{"/somewhere/LocA.h5:6:1": "0123"}',
    ],
)
def test_a_cache_of_other_content_costs_only_time(content: bytes, capture: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.json").write_bytes(content)
    assert fingerprint(tmp_path) == {"LocA.h5": sha256(b"bursts")}
    assert sha256(b"bursts") in (tmp_path / "cache.json").read_text()


@pytest.mark.usefixtures("_an_hour_later")
@pytest.mark.parametrize(
    ("make", "where"),
    [
        (Path.mkdir, "cache.json"),
        (os.mkfifo, "cache.json"),
        (lambda path: path.symlink_to(path), "cache.json"),
        (lambda path: path.write_bytes(b"a file"), "cache.json/deeper"),
        (lambda path: path.symlink_to("/proc/self/mem"), "cache.json"),
        (lambda path: path.symlink_to("/proc"), "cache.json/1/none"),
    ],
)
def test_a_cache_that_cannot_be_used_costs_only_time(
    make: Callable[[Path], object], where: str, capture: Path, tmp_path: Path
) -> None:
    make(tmp_path / "cache.json")
    assert fingerprint_files(["LocA.h5"], tmp_path, tmp_path / where) == {"LocA.h5": sha256(b"bursts")}


@pytest.mark.usefixtures("_an_hour_later")
def test_a_cache_on_a_full_disk_costs_only_time(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(fingerprints, "write_atomically", fail)
    assert fingerprint(tmp_path) == {"LocA.h5": sha256(b"bursts")}


@pytest.mark.usefixtures("_an_hour_later")
def test_the_cache_does_not_grow_with_the_changes_of_a_file(capture: Path, tmp_path: Path) -> None:
    for number in range(5):
        capture.write_bytes(b"%d" % number)
        fingerprint(tmp_path)
    assert len(json.loads((tmp_path / "cache.json").read_bytes())["files"]) == 1


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"LocD\.h5: the file cannot be read: No such file") as raised:
        fingerprint(tmp_path, "LocD.h5")
    assert isinstance(raised.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (Path.mkdir, "is a folder, it must be a file"),
        (os.mkfifo, "is a pipe, a socket or a device, it must be a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe, a socket or a device, it must be a file"),
        (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read: Input/output error"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels"),
    ],
)
def test_what_is_no_file_is_refused_at_once(make: Callable[[Path], object], found: str, tmp_path: Path) -> None:
    make(tmp_path / "LocA.h5")
    with pytest.raises(DataError, match=rf"LocA\.h5: (this|the file) {found}"):
        fingerprint(tmp_path)


def test_a_path_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file can have this path: embedded null byte"):
        fingerprint(tmp_path, "Loc\0A.h5")


@pytest.mark.usefixtures("_an_hour_later")
def test_captures_that_are_no_longer_those_of_an_order_are_named(
    capture: Path, tmp_path: Path, reads: list[str]
) -> None:
    shutil.copy(capture, tmp_path / "LocD.h5")
    order = fingerprint(tmp_path, "LocA.h5", "LocD.h5")
    reads.clear()
    assert changed_files(order, tmp_path, tmp_path / "cache.json") == []
    assert reads == []
    put_another(tmp_path / "LocD.h5")
    assert changed_files(order, tmp_path, tmp_path / "cache.json") == ["LocD.h5"]
    (tmp_path / "LocD.h5").unlink()
    with pytest.raises(DataError, match=r"LocD\.h5: the file cannot be read: No such file"):
        changed_files(order, tmp_path, tmp_path / "cache.json")


@pytest.mark.usefixtures("_an_hour_later")
def test_the_value_of_a_variable_is_neither_remembered_nor_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOCKOUT_TEST_A", "hunter2")
    (tmp_path / "hunter2.h5").write_bytes(b"bursts")
    assert fingerprint(tmp_path, "${KNOCKOUT_TEST_A}.h5") == {"${KNOCKOUT_TEST_A}.h5": sha256(b"bursts")}
    assert "hunter2" not in (tmp_path / "cache.json").read_text()
    with pytest.raises(DataError, match=r"/\$\{KNOCKOUT_TEST_A\}/none: the file cannot be read") as raised:
        fingerprint(tmp_path, "${KNOCKOUT_TEST_A}/none")
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    assert "hunter2" not in str(raised.value.__cause__)
