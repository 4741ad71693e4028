import errno
import os
import shutil
from pathlib import Path

import pytest

from model.data.disk_space import explain, require_space


@pytest.fixture
def _almost_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))


@pytest.mark.usefixtures("_almost_full")
def test_what_fits_is_allowed_and_a_byte_more_is_refused_with_both_sizes(tmp_path: Path) -> None:
    require_space(tmp_path, 1000)
    with pytest.raises(OSError, match=r"0\.001 MB are needed, 0\.001 MB are free") as caught:
        require_space(tmp_path, 1001)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path)


@pytest.mark.usefixtures("_almost_full")
def test_replaced_files_make_room(tmp_path: Path) -> None:
    require_space(tmp_path, 1500, freed_bytes=500)


@pytest.mark.usefixtures("_almost_full")
def test_large_amounts_are_in_gigabytes(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"2\.0 GB are needed"):
        require_space(tmp_path, 2 * 10**9)


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)


def test_the_reason_is_the_systems_own_word() -> None:
    full = os.strerror(errno.ENOSPC)
    assert explain(OSError(errno.ENOSPC, full, "file")) == full
    assert explain(RuntimeError(f"unable to write (file write failed: errno = {errno.ENOSPC})")) == full
    assert explain(RuntimeError("something else")) == "something else"
