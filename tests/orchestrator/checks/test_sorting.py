"""Files that a run opened, sorted into code, data, outputs, and what lies where no run may reach."""

import pytest

from orchestrator.checks.opened import Kind, Opened
from orchestrator.checks.sorting import Ground, Sorted, group_data, group_outputs, name_of, sort_opened, source_of

GROUND = Ground(
    checkout="/tmp/run/copy",
    root="/home/ada/digits",
    own=("/home/ada/digits/.venv", "/tmp/run/scratch"),
    tracked=frozenset({"train.py", "net/a.py", "conf/a.yaml"}),
    covered=frozenset({"train.py"}),
    data=("data/known", "/srv/known"),
    outputs=("out",),
    there=frozenset({"data/x.bin", "extra.py"}),
    unknown=frozenset({"extra.py"}),
)


@pytest.mark.parametrize(
    ("kind", "path", "found"),
    [
        ("read", "/tmp/run/copy/train.py", {"code": ("train.py",)}),
        ("read", "/tmp/run/copy/net/a.py", {"code": ("net/a.py",), "uncovered": ("net/a.py",)}),
        ("read", "/tmp/run/copy/__pycache__/train.cpython-311.pyc", {"code": ("train.py",)}),
        ("read", "/tmp/run/copy/out/net.pt", {}),
        ("read", "/tmp/run/copy/made_by_itself.txt", {}),
        ("read", "/tmp/run/copy", {}),
        ("read", "/tmp/run/copy/.git/HEAD", {}),
        ("read", "/tmp/run/copy/data/known/x", {}),
        ("write", "/tmp/run/copy/data/known/x", {"spoilt": ("data/known/x",)}),
        ("write", "/tmp/run/copy/new.txt", {}),
        ("missing", "/tmp/run/copy/data/x.bin", {"wanted": ("data/x.bin",)}),
        ("missing", "/tmp/run/copy/extra.py", {"untracked": ("extra.py",)}),
        ("missing", "/tmp/run/copy/nowhere.txt", {}),
        ("read", "/home/ada/digits/data/y.bin", {"data": ("data/y.bin",)}),
        ("read", "/home/ada/digits/data/known/y.bin", {}),
        ("read", "/home/ada/digits/net/a.py", {"astray": ("net/a.py",)}),
        ("write", "/home/ada/digits/log.txt", {"outside": ("/home/ada/digits/log.txt",)}),
        ("read", "/home/ada/digits/.venv/lib/x.py", {}),
        ("read", "/home/ada/sets/mnist.bin", {"data": ("/home/ada/sets/mnist.bin",)}),
        ("read", "/srv/known/x", {}),
        ("write", "/srv/known/x", {"spoilt": ("/srv/known/x",)}),
        ("write", "/home/ada/results.csv", {"outside": ("/home/ada/results.csv",)}),
        ("missing", "/home/ada/nowhere", {}),
        ("read", "/home/ada/.cache/torch/x", {}),
        ("write", "/home/ada/.cache/torch/x", {}),
        ("read", "/etc/hosts", {}),
        ("read", "/proc/self/maps", {}),
        ("write", "/tmp/anything", {}),
        ("write", "/dev/null", {}),
        ("read", "/home/ada/miniconda/lib/python3.11/site-packages/x.dat", {}),
    ],
)  # fmt: skip
def test_an_opened_file_has_its_place(kind: Kind, path: str, found: dict[str, tuple[str, ...]]) -> None:
    assert sort_opened([Opened(kind, path)], GROUND) == Sorted(**found)


def test_byte_code_stands_for_its_source() -> None:
    assert source_of("/a/__pycache__/b.cpython-38.opt-1.pyc") == "/a/b.py"
    assert source_of("/a/b.py") == "/a/b.py"


@pytest.mark.parametrize(
    ("paths", "tracked", "grouped"),
    [
        (["data/a.bin"], ["train.py"], ("data/a.bin",)),
        (["data/a.bin", "data/b.bin"], ["train.py"], ("data",)),
        (["data/tiny/a.bin", "data/tiny/b.bin"], ["data/tiny/prepare.py"], ("data/tiny/a.bin", "data/tiny/b.bin")),
        (["data/raw/a", "data/raw/b"], ["data/prepare.py"], ("data/raw",)),
        (["data/m/raw/a", "data/m/raw/b"], [], ("data/m/raw",)),
        (["x.csv", "y.csv"], ["train.py"], ("x.csv", "y.csv")),
        (["/srv/m/a", "/srv/m/b"], [], ("/srv/m",)),
        (["data", "data/a.bin"], [], ("data",)),
        ([], [], ()),
    ],
)
def test_data_of_one_folder_are_one_line(paths: list[str], tracked: list[str], grouped: tuple[str, ...]) -> None:
    assert group_data(paths, tracked) == grouped


@pytest.mark.parametrize(
    ("paths", "tracked", "grouped"),
    [
        (["net.pt"], ["train.py"], ("net.pt",)),
        (["out/a", "out/b/c"], ["train.py"], ("out",)),
        (["runs.v1/a"], ["train.py"], ("runs.v1/",)),
        (["results/new.csv", "results/plots/a.png"], ["results/README"], ("results/new.csv", "results/plots")),
    ],
)
def test_a_folder_without_code_is_one_output(paths: list[str], tracked: list[str], grouped: tuple[str, ...]) -> None:
    assert group_outputs(paths, tracked) == grouped


@pytest.mark.parametrize(
    ("path", "taken", "name"),
    [
        ("data/MNIST", [], "MNIST"),
        ("a/tiny-set.tar.gz", [], "tiny_set"),
        ("/srv/ä", [], "data"),
        ("x/m", ["m"], "m_2"),
        ("x/m", ["m", "m_2"], "m_3"),
    ],
)
def test_data_get_a_name_of_their_path(path: str, taken: list[str], name: str) -> None:
    assert name_of(path, taken) == name
