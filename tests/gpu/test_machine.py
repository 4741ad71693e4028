"""What the check makes of a GPU machine: the card, wheels, packages, a git repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gpu import machine
from gpu.machine import (
    MODULES,
    describe_machine,
    find_card_problem,
    find_missing_wheels,
    find_version,
    install_command,
    install_wheels,
    is_there,
    make_repository,
)


@pytest.fixture
def torch_that(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose torch is the file that a test writes."""
    (tmp_path / "fake").mkdir()
    return {**os.environ, "PYTHONPATH": str(tmp_path / "fake")}


def write_torch(variables: dict[str, str], code: str) -> None:
    Path(variables["PYTHONPATH"], "torch.py").write_text(code)


def make_wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any") -> Path:
    """Write a wheel with one module, as pip installs it."""
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("class cuda:\n    is_available = staticmethod(lambda: True)", None),
        ("class cuda:\n    is_available = staticmethod(lambda: False)", "torch sees no CUDA GPU here"),
        (
            "raise ImportError('libcudart.so.13 is not there')",
            "cannot import torch (ImportError: libcudart.so.13 is not",
        ),
    ],
)
def test_torch_says_whether_there_is_a_card(torch_that: dict[str, str], code: str, told: str | None) -> None:
    write_torch(torch_that, code)
    found = find_card_problem(torch_that)
    assert found is None if told is None else told in (found or "")


def test_a_torch_that_hangs_is_told(torch_that: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_torch(torch_that, "import time; time.sleep(600)")
    monkeypatch.setattr(machine, "QUESTION_SECONDS", 0.5)
    assert find_card_problem(torch_that) == "the import of torch was still at work after 0.5 s"


def test_wheels_that_are_installed_in_their_version_are_not_installed_again(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "ruamel.yaml-0.19.1.dist-info").mkdir(parents=True)
    (site / "ruamel.yaml-0.19.1.dist-info" / "METADATA").write_text("Name: ruamel.yaml\nVersion: 0.19.1\n")
    names = ("ruamel_yaml-0.19.1-py3-none-any.whl", "ruamel_yaml-0.20.0-py3-none-any.whl", "other-1-py3-none-any.whl")
    wheels = [tmp_path / name for name in names]
    assert find_missing_wheels(wheels, [str(site)]) == wheels[1:]


def test_pip_installs_without_an_index_into_the_folder_alone() -> None:
    words = install_command([Path("a.whl"), Path("b.whl")], Path("site"))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert {"--no-index", "--no-deps"} < set(words)
    assert words[-4:] == ["--target", "site", "a.whl", "b.whl"]


def test_wheels_are_installed_beside_them(tmp_path: Path) -> None:
    make_wheel(tmp_path / ".gpu", "a_package", "1.2")
    assert install_wheels(tmp_path) is None
    assert (tmp_path / ".gpu" / "site" / "a_package.py").is_file()


def test_without_wheels_nothing_is_installed(tmp_path: Path) -> None:
    assert install_wheels(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_wheels_for_another_python_are_told_with_the_command_that_gathers_the_right_ones(tmp_path: Path) -> None:
    make_wheel(tmp_path / ".gpu", "a_package", "1.2", "cp39-cp39-manylinux_2_17_x86_64")
    told = install_wheels(tmp_path) or ""
    assert "a_package-1.2-cp39-cp39-manylinux_2_17_x86_64.whl is not a supported wheel on this platform" in told
    assert told.endswith("`make gpu GPU_PYTHON={}.{}`".format(*sys.version_info))


def test_a_copy_becomes_a_repository_once(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.py").write_text("")
    for _ in range(2):
        assert make_repository(tmp_path) is None
    log = subprocess.run(["git", "log", "--format=%s"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert log.stdout == "A copy\n"


def test_without_git_the_consequence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make_repository(tmp_path) == "git is not installed; runs use a copy of the code, without branches"


def test_a_repository_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere/at/all\n")
    told = make_repository(tmp_path) or ""
    assert told.startswith("`git init` failed (fatal: ")
    assert told.endswith("runs use a copy of the code, without branches")


def test_the_machine_is_described_by_its_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "MODULES", {"numpy": "numpy", "msgspec": "msgspec"})
    assert describe_machine() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "nvidia-smi is not here, or does not answer"
    assert second.startswith(f"Python {sys.version.split()[0]}, numpy {find_version('numpy')}, msgspec ")


def test_packages_that_are_missing_are_told_with_the_command_that_gathers_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "MODULES", {"numpy": "numpy", "h5py": "no_such_h5py", "ruamel.yaml": "no_such.yaml"})
    assert describe_machine() == 1
    told = capsys.readouterr().out.splitlines()[-2:]
    assert told == [
        "not installed here: h5py, ruamel.yaml",
        "gather them where there is an index: make gpu MORE='h5py ruamel.yaml'",
    ]


def test_a_vendors_build_has_no_version_under_this_name() -> None:
    assert find_version("no-such-package") == "of unknown version"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernels are for Linux")
def test_every_module_of_the_list_is_there_after_make_setup() -> None:
    assert [name for name, module in MODULES.items() if not is_there(module)] == []
