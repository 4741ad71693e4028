"""The file that every Python of a checked command loads: what it hears, and that it leaves the script alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.checks import listen
from orchestrator.checks.listen import Listener, is_write
from orchestrator.checks.observed import parse_heard


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "listener").mkdir()
    (tmp_path / "listener" / "sitecustomize.py").write_text(Path(listen.__file__).read_text())
    (tmp_path / "work").mkdir()
    return tmp_path


def run(place: Path, script: str, *search: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (place / "work" / "train.py").write_text(script)
    own = {
        "PYTHONPATH": os.pathsep.join([str(place / "listener"), *search]),
        listen.VARIABLE: str(place / "opened.txt"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "train.py"]
    return subprocess.run(
        command, cwd=place / "work", env=os.environ | own | variables, check=True, capture_output=True, text=True
    )


def heard(place: Path) -> list[tuple[str, str]]:
    found = parse_heard((place / "opened.txt").read_text().splitlines())
    work = str(place / "work")
    return [(one.kind, os.path.relpath(one.path, work)) for one in found.opened if one.path.startswith(work + "/")]


def test_reads_writes_and_missing_files_are_heard(place: Path) -> None:
    (place / "work" / "x.txt").write_text("1")
    script = "open('x.txt').read()\nopen('y.txt', 'w').close()\nimport os, pathlib\n"
    script += "try: open('z.txt')\nexcept OSError: pass\nos.close(os.open('v.bin', os.O_RDWR | os.O_CREAT))"
    run(place, script)
    assert heard(place) == [
        ("read", "train.py"), ("read", "x.txt"), ("write", "y.txt"), ("missing", "z.txt"), ("write", "v.bin"),
    ]  # fmt: skip


def test_processes_that_the_script_starts_are_heard(place: Path) -> None:
    (place / "work" / "x.txt").write_text("1")
    child = "import os; os.chdir('..'); open('work/x.txt')"
    run(place, f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)")
    assert ("read", "x.txt") in heard(place)


def test_modules_and_folders_are_heard(place: Path) -> None:
    (place / "work" / "net.py").write_text("")
    (place / "work" / "images").mkdir()
    run(place, "import net, os\nos.listdir('images')\nlist(os.scandir('images'))\nopen(0).close()")
    assert ("read", "net.py") in heard(place)
    assert heard(place).count(("read", "images")) == 1


def test_a_sitecustomize_of_the_user_is_loaded_too(place: Path) -> None:
    (place / "theirs").mkdir()
    (place / "theirs" / "sitecustomize.py").write_text("print('theirs')")
    assert run(place, "print('mine')", str(place / "theirs")).stdout == "theirs\nmine\n"


def test_an_error_in_a_sitecustomize_of_the_user_is_their_own(place: Path) -> None:
    (place / "theirs").mkdir()
    (place / "theirs" / "sitecustomize.py").write_text("import not_there_at_all")
    assert "not_there_at_all" in run(place, "", str(place / "theirs"), PYTHONVERBOSE="1").stderr


def test_the_script_sees_no_folder_of_the_listener(place: Path) -> None:
    done = run(place, "import sys; print(sys.path)")
    assert str(place / "listener") not in done.stdout
    assert done.stderr == ""


def test_nothing_is_heard_where_nobody_listens(place: Path) -> None:
    run(place, "open('train.py')", **{listen.VARIABLE: ""})
    assert not (place / "opened.txt").exists()


def test_installed_packages_and_the_time_of_imports_are_told_at_the_end(place: Path) -> None:
    packages = place / "site-packages"
    packages.mkdir()
    (packages / "slow.py").write_text("import time\ntime.sleep(0.2)\nimport json.tool")
    run(place, "import slow", str(packages))
    found = parse_heard((place / "opened.txt").read_text().splitlines())
    assert "slow" in found.packages
    assert "json" not in found.packages
    assert found.import_seconds >= 0.2


@pytest.mark.parametrize(
    ("mode", "flags", "written"),
    [
        ("r", 0, False),
        ("w", 0, True),
        ("a", 0, True),
        ("r+", 0, True),
        ("x", 0, True),
        (None, 0, False),
        (None, os.O_WRONLY, True),
        (None, os.O_RDWR, True),
        ("rb", os.O_RDONLY, False),
    ],
)
def test_a_file_is_written_by_its_mode_or_its_flags(mode: str | None, flags: int, written: bool) -> None:
    assert is_write(mode, flags) == written


def test_each_line_is_told_once_and_what_cannot_be_told_is_no_error(tmp_path: Path) -> None:
    listener = Listener(str(tmp_path / "told"))
    for path in (str(tmp_path / "a"), str(tmp_path / "a"), str(tmp_path / "b\nr\tc"), "with a \0"):
        listener.hear("open", (path, "r", 0))
    listener.hear("open", (object(), "r", 0))
    listener.hear("socket.connect", ())
    listener.hear("os.listdir", (None,))
    assert (tmp_path / "told").read_text() == f"m\t{tmp_path}/a\n"


def test_a_full_disk_ends_no_script(tmp_path: Path) -> None:
    Listener(str(tmp_path)).hear("open", (str(tmp_path), "r", 0))
