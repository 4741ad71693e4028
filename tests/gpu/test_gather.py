"""Wheels are gathered for another machine, in the pinned versions, with all that they need."""

import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gpu import gather as gathering
from gpu.gather import (
    EXPECTED,
    GATHERED,
    Target,
    describe_next_steps,
    describe_wheels,
    download_command,
    find_error,
    gather,
    main,
    normalize,
    pin,
    read_pins,
)
from gpu.machine import MODULES

ROOT = Path(__file__).parents[2]
TARGET = Target("3.12", "x86_64")


def needs(name: str) -> set[str]:
    """Return what an installed package needs here, as its metadata says."""
    found = map(Requirement, metadata.requires(name) or [])
    return {normalize(one.name) for one in found if one.marker is None or one.marker.evaluate({"extra": ""})}


def with_all_needed(names: set[str]) -> set[str]:
    """Return packages with all that they need, and so on."""
    found: set[str] = set()
    while names:
        found |= names
        names = {needed for name in names for needed in needs(name)} - found
    return found


def test_pins_are_read_whatever_the_spelling_of_a_name() -> None:
    pins = read_pins("# tested\nGitPython==3.2.1  # git\nruamel.yaml==0.19.1\n\n")
    assert pins == {"gitpython": "GitPython==3.2.1", "ruamel-yaml": "ruamel.yaml==0.19.1"}
    assert pin(["gitpython", "ruamel_yaml", "h5py", "h5py"], pins) == [
        "GitPython==3.2.1",
        "ruamel.yaml==0.19.1",
        "h5py",
    ]


def test_every_package_that_is_gathered_is_pinned() -> None:
    requirements = pin(GATHERED, read_pins((ROOT / "constraints.txt").read_text()))
    assert [requirement for requirement in requirements if "==" not in requirement] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernels are for Linux")
def test_what_a_gathered_package_needs_is_gathered_or_expected() -> None:
    """pip gathers without what packages need, so that it does not bring a second torch."""
    expected, gathered = ({normalize(name) for name in names} for names in (EXPECTED, GATHERED))
    assert with_all_needed(gathered) - gathered - with_all_needed(expected) == set()


def test_what_knockout_needs_is_gathered_or_expected() -> None:
    ours = {normalize(name) for name in MODULES}
    assert ours == ours & {normalize(name) for name in (*GATHERED, *EXPECTED)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["studies"]]
    assert {normalize(Requirement(line).name) for line in wanted} <= ours


def test_pip_fetches_wheels_alone_for_the_machine_that_is_asked_for() -> None:
    words = download_command(["msgspec==0.22.0"], TARGET, Path("folder"))
    assert words[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} < set(words)
    pairs = list(pairwise(words))
    assert ("--python-version", "3.12") in pairs
    assert [name for option, name in pairs if option == "--platform"] == [
        "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
    ]  # fmt: skip
    assert words[-3:] == ["--dest", "folder", "msgspec==0.22.0"]


class FakePip:
    """Stands for pip: makes a wheel, or ends with an error."""

    def __init__(self, status: int, printed: str = "") -> None:
        self.status, self.printed = status, printed
        self.asked: list[str] = []

    def __call__(self, command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        self.asked = command
        if self.status == 0:
            Path(command[command.index("--dest") + 1], "new-1-py3-none-any.whl").write_bytes(b"12345")
        return subprocess.CompletedProcess(command, self.status, "", self.printed)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gathering, "ROOT", tmp_path)
    (tmp_path / "constraints.txt").write_text("msgspec==0.22.0\nh5py==3.16.0\n")
    (tmp_path / ".gpu").mkdir()
    (tmp_path / ".gpu" / "old-1-py3-none-any.whl").write_bytes(b"")
    return tmp_path


def wheels(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".gpu").iterdir())


def test_new_wheels_take_the_place_of_old_ones(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", pip := FakePip(0))
    assert gather(root, TARGET, ["h5py"]) is None
    assert wheels(root) == ["new-1-py3-none-any.whl"]
    assert {"msgspec==0.22.0", "h5py==3.16.0", "optuna"} < set(pip.asked)


def test_if_pip_fails_old_wheels_stay_and_its_words_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = "ERROR: No matching distribution found for greenlet==3.5.6\n[notice] a new pip\n"
    monkeypatch.setattr("subprocess.run", FakePip(1, printed))
    told = "pip cannot fetch the wheels for Python 3.12 on x86_64: ERROR: No matching distribution found for greenlet"
    assert (gather(root, TARGET, []) or "").startswith(told)
    assert wheels(root) == ["old-1-py3-none-any.whl"]


def test_without_a_missing_package_the_last_line_of_pip_is_told() -> None:
    assert find_error("WARNING: one\nERROR: no network\n") == "ERROR: no network"
    assert find_error("") == "pip said nothing"


def test_without_a_gpu_what_to_copy_and_what_to_run_there_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subprocess.run", FakePip(0))
    monkeypatch.setattr(gathering, "find_card_problem", lambda variables: "torch sees no CUDA GPU here")
    assert main(["--python", "3.13", "h5py"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 wheels in .gpu/ for Python 3.13 on x86_64, 0 MB\n")
    assert describe_next_steps() in told
    assert "rsync -a --exclude=/.venv --exclude=/results --exclude=/reports ./ SERVER:knockout/" in told
    assert "  python3 -m gpu.check\n" in told


@pytest.mark.parametrize("status", [0, 1])
def test_with_a_gpu_the_check_runs_at_once(root: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr("subprocess.run", FakePip(0))
    monkeypatch.setattr(gathering, "find_card_problem", lambda variables: None)
    monkeypatch.setattr("gpu.check.main", lambda arguments: status)
    assert main([]) == status


def test_wheels_that_cannot_be_fetched_give_status_1(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subprocess.run", FakePip(1, "no network"))
    assert main([]) == 1
    assert capsys.readouterr().err.endswith(": no network\n")


def test_a_version_of_python_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--python", "312"])
    assert exit_info.value.code == 2
    assert "`312` is no version of Python; write it as 3.12" in capsys.readouterr().err


def test_wheels_are_counted_and_weighed(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"1" * 2_600_000)
    assert describe_wheels([tmp_path / "a.whl"], TARGET) == "1 wheels in .gpu/ for Python 3.12 on x86_64, 3 MB"


def test_the_makefile_hands_on_what_a_user_says() -> None:
    command = ["make", "--no-print-directory", "-n", "-o", "setup", "gpu", "GPU_PYTHON=3.13", "MORE=h5py scipy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("-m gpu.gather --python 3.13 h5py scipy")
