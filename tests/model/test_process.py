import os
import subprocess
import sys
from pathlib import Path

import pytest

from model import process
from model.process import birth_of, own_place, proc_is_ours, read_stat

linux = pytest.mark.skipif(not process.BOOT_ID.exists(), reason="there is no /proc here")


def test_a_start_time_stays_the_same_while_a_process_lives_and_is_gone_after_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        first = birth_of(child.pid)
        assert first is not None
        assert birth_of(child.pid) == first
    assert birth_of(child.pid) is None


@linux
def test_on_linux_a_start_time_is_boot_name_space_and_ticks() -> None:
    place, _, ticks = str(birth_of(os.getpid())).rpartition("/")
    assert place == own_place()
    assert place.count("/") == 1
    assert int(ticks) > 0


@linux
def test_a_zombie_has_no_start_time() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # leave the child a zombie
    assert read_stat(child.pid)[process.STATE] in process.GONE
    assert birth_of(child.pid) is None
    child.wait()


@linux
def test_the_name_of_a_program_may_hold_blanks_and_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a ) b (c)) S 1 2 3")
    monkeypatch.setattr(process, "PROC", tmp_path)
    monkeypatch.setattr(process, "proc_is_ours", lambda: True)
    assert read_stat(7) == ["S", "1", "2", "3"]
    assert read_stat(8) is None


def test_another_name_spaces_proc_shows_only_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "proc_is_ours", lambda: False)
    assert birth_of(os.getppid()) is None


@linux
def test_without_a_boot_id_the_clock_gives_the_start_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert proc_is_ours()
    monkeypatch.setattr(process, "BOOT_ID", tmp_path / "gone")
    assert float(str(birth_of(os.getpid()))) > 0
