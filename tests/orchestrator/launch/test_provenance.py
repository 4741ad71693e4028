"""What is written down about where a run comes from."""

import json
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.launch import provenance
from orchestrator.launch.provenance import PACKAGES, environment, with_first_threads, write_provenance
from orchestrator.launch.slots import Slot
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.order import GuardSpec, Order, OrderedCode, place_run

CPU = Slot("cpu1", {"OMP_NUM_THREADS": "1"})
CODE = OrderedCode(
    tree="c0de",
    commit="c1",
    branch="experiment/E5-20260219_010041",
    base_commit="b0",
    changes=("model/train/losses.py +3 -1",),
    differs_beyond=("model/layers/norms.py",),
)


@pytest.fixture
def queued(tmp_path: Path, a_plan: Callable[..., Plan]) -> tuple[RunFolder, Order]:
    """A run with seed 3 that has its folder."""
    run = a_plan({}, seeds=(3,)).runs[0]
    folder = RunFolder(tmp_path / run.id)
    captures = {"LocA.h5": "da7a"}
    order = Order(run=run.id, identity=run.identity, queued="now", code=CODE, captures=captures, guards=GuardSpec())
    place_run(folder, run.config, order)
    return folder, order


def read(folder: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(folder.provenance.read_text())
    return content


def test_it_holds_code_data_seed_and_machine(queued: tuple[RunFolder, Order], tmp_path: Path) -> None:
    folder, order = queued
    write_provenance(folder, order, tmp_path, CPU)
    content = read(folder)
    assert content.pop("environment") == environment() | {"gpu": None}
    assert content.pop("started").endswith("+00:00")
    assert content.pop("program") == sys.executable
    assert content.pop("python") == f"Python {sys.version}"
    assert content == {
        "run": order.run,
        "device": "cpu1",
        "seed": 3,
        "identity": order.identity,
        "branch": "experiment/E5-20260219_010041",
        "commit": "c1",
        "base_commit": "b0",
        "code_tree": "c0de",
        "code_changes": ["model/train/losses.py +3 -1"],
        "code_differs_beyond": ["model/layers/norms.py"],
        "captures": {"LocA.h5": "da7a"},
        "data_folder": str(tmp_path),
        "host": platform.node(),
        "threads": "1",
    }


def test_a_run_that_goes_on_keeps_the_provenance_of_its_first_start(
    queued: tuple[RunFolder, Order], tmp_path: Path
) -> None:
    folder, order = queued
    write_provenance(folder, order, tmp_path, CPU)
    before = folder.provenance.read_bytes()
    write_provenance(folder, order, tmp_path / "elsewhere", Slot("cpu7", {}))
    assert folder.provenance.read_bytes() == before


def test_the_environment_names_the_versions_that_numbers_may_depend_on() -> None:
    versions = environment()
    assert set(versions) == {"python", "platform", *PACKAGES}
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["numpy"] == metadata.version("numpy")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    provenance._versions.cache_clear()
    try:
        versions = environment()
        assert versions["no-such-package"] is None
        assert versions["numpy"] is not None
    finally:
        provenance._versions.cache_clear()


def test_what_a_caller_adds_to_the_environment_is_not_remembered() -> None:
    environment()["gpu"] = "mine"
    assert "gpu" not in environment()


def test_a_run_on_a_gpu_names_it(
    queued: tuple[RunFolder, Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.provenance.name_gpu", lambda slot: f"GPU of {slot.name}")
    folder, order = queued
    write_provenance(folder, order, tmp_path, Slot("gpu0", {"CUDA_VISIBLE_DEVICES": "0"}))
    assert read(folder)["environment"]["gpu"] == "GPU of gpu0"


def test_a_run_that_goes_on_computes_with_the_threads_of_its_first_start(
    queued: tuple[RunFolder, Order], tmp_path: Path
) -> None:
    folder, order = queued
    write_provenance(folder, order, tmp_path, CPU)
    other = Slot("cpu0", {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4", "MALLOC_TOP_PAD_": "1"})
    same = Slot("cpu0", {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_TOP_PAD_": "1"})
    assert with_first_threads(folder, other) == same
    gpu = Slot("gpu0", {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "0"})
    assert with_first_threads(folder, gpu) == gpu


def test_a_provenance_that_says_no_threads_leaves_the_slot_its_own(
    queued: tuple[RunFolder, Order], tmp_path: Path
) -> None:
    folder, order = queued
    write_provenance(folder, order, tmp_path, Slot("cpu0", {}))
    assert with_first_threads(folder, CPU) == CPU
    folder.provenance.write_text("{}")
    assert with_first_threads(folder, CPU) == CPU
