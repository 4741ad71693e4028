"""What `doctor` finds around the trainings."""

import errno
import os
import sys
from pathlib import Path

import pytest

from orchestrator.api.doctor import (
    check_compiler,
    check_cores,
    check_disk,
    check_home,
    check_locks,
    check_names,
    check_places,
    judge_devices,
    judge_terminal,
)
from orchestrator.launch.slots import Gpu, visible_devices
from orchestrator.runs.paths import Paths

EIGHT = [Gpu(index, f"GPU-{index}", "H100") for index in range(8)]


@pytest.mark.parametrize(
    ("gpus", "variables", "kind", "told"),
    [
        ([], {}, "note", "no NVIDIA GPU"),
        (EIGHT, {}, "ok", "8 of 8 NVIDIA GPU(s) for trainings: 0, 1, 2, 3, 4, 5, 6, 7"),
        (EIGHT, {"CUDA_VISIBLE_DEVICES": "2,5"}, "ok", "2 of 8 NVIDIA GPU(s) for trainings: 2, 5 (CUDA_VISIBLE_DEV"),
        (EIGHT, {"CUDA_VISIBLE_DEVICES": "9"}, "note", "CUDA_VISIBLE_DEVICES=9 hides all 8 NVIDIA GPU(s)"),
        (EIGHT, {"CUDA_VISIBLE_DEVICES": ""}, "note", "CUDA_VISIBLE_DEVICES= hides all 8 NVIDIA GPU(s)"),
        (EIGHT, {"NVIDIA_VISIBLE_DEVICES": "void"}, "note", "NVIDIA_VISIBLE_DEVICES=void hides all"),
        ([Gpu(0, "GPU-0", "A100", ())], {}, "note", "MIG without instances hides all 1"),
    ],
)
def test_the_gpus_that_the_mask_leaves_are_told(
    gpus: list[Gpu], variables: dict[str, str], kind: str, told: str
) -> None:
    finding = judge_devices(variables, gpus, visible_devices(variables, gpus))
    assert finding.kind == kind
    assert told in finding.what


def test_cores_are_those_that_trainings_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.api.doctor.usable_cores", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    told = check_cores().what
    assert "3 CPU cores of 64, as affinity, control group or Slurm say" in told
    assert "OMP_NUM_THREADS=1 limits the threads of each training" in told


def test_a_missing_compiler_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.setenv(name, "no-such-compiler")
    finding = check_compiler()
    assert finding.kind == "note"
    assert "no-such-compiler" in finding.what


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "study").mkdir()
    return Paths(tmp_path / "study")


def test_places_that_are_not_there_yet_are_none_to_complain_about(paths: Paths) -> None:
    assert [finding.kind for finding in check_places(paths)] == ["ok"]
    assert list(paths.root.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_named(paths: Paths) -> None:
    paths.results.write_text("")
    paths.reports.write_text("")
    told = [finding.what for finding in check_places(paths)]
    assert told == [
        f"runs and the queue: {paths.results} must be a folder, and is none; rename or remove it",
        f"reports: {paths.reports} must be a folder, and is none; rename or remove it",
    ]


def test_a_place_that_only_can_be_read_is_named(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != paths.root)
    told = [finding.what for finding in check_places(paths)]
    assert told[0].startswith(f"runs and the queue: this user cannot write to {paths.root}; ")
    assert len(told) == 2


def test_without_a_home_folder_the_variable_is_named(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(paths: Paths) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Paths, "worktrees", property(refuse))
    [finding] = check_places(paths)
    told = "checkouts of experiments: this user has no home folder; set HOME to a folder that can be written"
    assert (finding.kind, finding.what) == ("bad", told)


@pytest.mark.parametrize(("name", "told"), [("none", "cannot be written"), ("file", "cannot be written")])
def test_a_home_folder_that_cannot_be_written_is_noted(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_home() == []
    monkeypatch.setenv("HOME", str(tmp_path / name))
    [finding] = check_home()
    assert finding.kind == "note"
    assert f"the home folder {tmp_path / name} {told}; set HOME to" in finding.what


def test_without_temporary_files_the_place_is_told(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", refuse)
    [finding] = check_places(paths)
    assert finding.what.startswith("temporary files: No usable temporary directory found; ")


def test_locks_are_tried_where_the_runs_lie(paths: Paths) -> None:
    [finding] = check_locks(paths)
    assert (finding.kind, finding.what) == ("ok", f"files can be locked in {paths.root}")


def test_each_lock_that_does_not_work_is_named(paths: Paths) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    paths.results.mkdir()
    [finding] = check_locks(paths, {"flock": refuse, "fcntl": lambda descriptor, operation: None})
    assert finding.kind == "bad"
    assert finding.what.startswith(f"{paths.results}: flock does not work (No locks available)")
    assert list(paths.results.iterdir()) == []


def test_a_full_disk_is_bad(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GB free for results" in check_disk(paths).what
    monkeypatch.setattr("orchestrator.api.doctor.MIN_FREE_BYTES", 10**18)
    assert check_disk(paths).kind == "bad"


@pytest.mark.parametrize(("encoding", "kind"), [("utf-8", "ok"), ("UTF8", "ok"), ("utf_8", "ok"), ("ascii", "note")])
def test_a_terminal_that_shows_few_signs_is_noted(encoding: str, kind: str) -> None:
    assert judge_terminal(encoding).kind == kind


def test_a_package_of_the_users_that_hides_ours_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_names(tmp_path) == []
    (tmp_path / "model.py").write_text("")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    (finding,) = check_names(tmp_path)
    assert finding.kind == "note"
    assert "has `model` of its own" in finding.what
    assert "`pipx install knockout` or `uv tool install knockout`" in finding.what
