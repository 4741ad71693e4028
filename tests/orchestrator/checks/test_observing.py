"""One run of a campaign's baseline, and all that is seen of it."""

from pathlib import Path

import pytest

from orchestrator.checks.asked import read_checked, read_file
from orchestrator.checks.observed import Observed
from orchestrator.checks.observing import (
    Asked,
    find_covered,
    is_program,
    list_files,
    observe,
    paths_in,
    split_log,
)
from orchestrator.scripts.trial import Place, find_place
from tests.builders.checked import Checking, python

SCRIPT = """\
import os, sys, knockout
run = knockout.current()
print("colour \\x1b[31mred\\x1b[0m", os.getcwd() == os.path.dirname(os.path.abspath(__file__)))
print("home", sorted(name for name in os.listdir(".") if not name.startswith(".")))
for step in range(2):
    run.log(step, val_loss=run.seed + 0.5 ** step)
run.metric(R2=0.5 + run.seed)
run.scores("test", key=["a", "b"], cluster=["x", "y"], y_true=[1.0, 2.0], y_pred=[1.0, 1.5])
open("out/net.pt", "w").close()
open("own.txt", "w").close()
open(sys.argv[2] + "/written.txt", "a").close()
sys.path.insert(0, sys.argv[2])
import astray
"""


def observed(mine: Checking, task: dict[str, str], rest: str = "", seed: int = 0) -> Observed:
    mine.campaign(task, rest)
    read = read_checked(read_file(mine.file), None)
    asked = Asked(root=mine.root, task=read.task, params=read.params, metrics=read.metrics, limit_seconds=30.0)
    return observe(asked, find_place(mine.root), seed)


def test_everything_that_a_run_does_is_seen(mine: Checking) -> None:
    mine.commit({"train.py": SCRIPT, "astray.py": "", "README": "", ".gitignore": "experiments.yaml\n__pycache__/\n"})
    task = {"command": python("train.py", "{seed}", str(mine.root)), "code": "[train.py]", "outputs": "[out]"}
    run = observed(mine, task, "metrics: {R2: {better: higher, margin: 0.1, from: {reported: R2}}}", seed=1)
    assert run.ran, run.reason
    assert run.lines == ("colour red True", "home ['README', 'astray.py', 'out', 'train.py']")
    assert run.metrics["R2"].value == 1.5
    told = [(0.0, {"val_loss": 2.0}), (1.0, {"val_loss": 1.5}), (None, {"R2": 1.5})]
    assert [(row.step, row.values) for row in run.rows] == told
    assert [table.kind for table in run.tables] == ["reported", "scores"]
    assert run.written == ("own.txt",)
    assert run.files.code == ("train.py",)
    assert run.files.astray == ("astray.py",)
    assert run.files.outside == (f"{mine.root}/written.txt",)
    assert run.seconds > 0
    assert len(run.arrivals) == len(run.lines)


def test_lines_of_a_log_have_their_ends_and_none_of_ours_is_among_them() -> None:
    content = b"one\n\x1b[1mtwo\x1b[0m\r[####]\r\n[knockout] asked to stop\nthree"
    lines, ends = split_log(content, 100)
    assert lines == ("one", "two", "[####]", "three")
    assert ends[0] == 104
    assert ends[-1] == 100 + len(content)
    assert list(ends) == sorted(ends)


def test_a_missing_file_is_known_by_the_last_lines() -> None:
    lines = [
        "FileNotFoundError: [Errno 2] No such file or directory: 'data/train.bin'",
        "OSError: unable to open file (name = '../set.h5')",
        "ModuleNotFoundError: No module named 'net.blocks'",
    ]
    found = paths_in(lines)
    assert {"data/train.bin", "../set.h5", "net/blocks.py", "net/blocks/__init__.py"} <= set(found)


@pytest.mark.parametrize(
    ("code", "covered"),
    [
        (("train.py",), ["train.py"]),
        (("net/",), ["net/a.py"]),
        (("*.py",), ["net/a.py", "train.py"]),
        ((".",), ["net/a.py", "notes.txt", "train.py"]),
        (("net", "./train.py"), ["net/a.py", "train.py"]),
    ],
)
def test_pathspecs_name_the_same_files_with_git_and_without(
    mine: Checking, code: tuple[str, ...], covered: list[str]
) -> None:
    files = {"train.py": "", "net/a.py": "", "notes.txt": ""}
    assert sorted(find_covered(Place(root=mine.root), code, files)) == covered
    mine.commit(files)
    assert sorted(find_covered(find_place(mine.root), code, files)) == covered


def test_files_of_a_checkout_are_listed_without_links_and_caches(tmp_path: Path) -> None:
    for name in ("a.txt", "net/b.txt", ".git/HEAD", "__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / "link").symlink_to("a.txt")
    before = list_files(tmp_path)
    assert sorted(before) == ["a.txt", "net/b.txt"]
    (tmp_path / "a.txt").write_text("22")
    assert list_files(tmp_path)["a.txt"] != before["a.txt"]


def test_parts_of_programs_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "data.bin").write_text("")
    (tmp_path / "data.bin").chmod(0o644)
    assert is_program(str(tmp_path / "run"))
    assert is_program("/a/b.pyc")
    assert not is_program(str(tmp_path / "data.bin"))
