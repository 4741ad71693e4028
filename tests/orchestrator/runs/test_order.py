"""What the queue needs to start a run is written whole, and read only if it is of this version."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.errors import RunError
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.order import GuardSpec, Order, OrderedCode, read_order, write_order
from orchestrator.task.spec import TaskSpec

ORDER = Order(
    run="E5-s0-3466db1c",
    identity="3466db1c" * 8,
    queued="2026-11-22T07:10:00Z",
    code=OrderedCode(
        tree="c0de", commit="abc", branch="experiment/E5", changes=("model/train/losses.py +3 -1",), is_own=True
    ),
    files={"data/LocA.h5": "da7a"},
    task=TaskSpec(command=("python", "train.py"), code=("train.py",)),
    guards=GuardSpec(epoch_seconds=10.0),
    references=("baseline-s0-00000000",),
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / ORDER.run)


def refusal_of(folder: RunFolder) -> str:
    with pytest.raises(RunError) as refusal:
        read_order(folder)
    return str(refusal.value)


def test_an_order_is_read_as_it_was_written(folder: RunFolder) -> None:
    write_order(folder, ORDER)
    assert read_order(folder) == ORDER
    assert [path.name for path in folder.path.iterdir()] == ["order.json"]


def test_a_run_without_an_order_is_told_how_to_get_one(folder: RunFolder) -> None:
    assert refusal_of(folder) == (
        f"{folder.order}: there is no such file; queue the run again with `knockout queue add`"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fomat": 1}, "cannot be read: Object contains unknown field `fomat`"),
        ({"code": None}, "cannot be read: Expected `object`, got `null` - at `$.code`"),
    ],
)
def test_an_order_of_another_version_is_refused(folder: RunFolder, change: dict[str, Any], said: str) -> None:
    folder.path.mkdir()
    folder.order.write_bytes(msgspec.json.encode(msgspec.to_builtins(ORDER) | change))
    assert refusal_of(folder) == f"{folder.order}: {said}; queue the run again with `knockout queue add`"


@pytest.mark.parametrize("version", [1, 3])
def test_an_order_of_another_format_is_refused_in_one_sentence(folder: RunFolder, version: int) -> None:
    folder.path.mkdir()
    folder.order.write_bytes(msgspec.json.encode({"format": version, "captures": {}}))
    assert refusal_of(folder) == (
        f"{folder.order}: this is format {version}, wanted is 2; another version of Knockout wrote this run, so move "
        f"{folder.path} away to train it again"
    )


def test_a_configuration_of_an_earlier_format_is_refused_in_one_sentence(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.config.write_bytes(b'{"format": 1, "experiment": "E5", "model": {}}')
    with pytest.raises(ValueError, match="is of format 1, wanted is 2; another version of Knockout wrote this run"):
        folder.read_config()


@pytest.mark.parametrize("content", [b"", b'{"format": 2, "ru', b"\xff\xfe"])
def test_a_torn_order_is_refused(folder: RunFolder, content: bytes) -> None:
    folder.path.mkdir()
    folder.order.write_bytes(content)
    said = refusal_of(folder)
    assert said.startswith(f"{folder.order}: cannot be read: ")
    assert said.endswith("; queue the run again with `knockout queue add`")


def test_an_order_that_is_a_folder_is_refused(folder: RunFolder) -> None:
    folder.order.mkdir(parents=True)
    assert "order.json: cannot be read: [Errno 21] Is a directory" in refusal_of(folder)


def test_a_run_without_a_limit_by_the_clock_may_share_a_gpu() -> None:
    guards = GuardSpec(relative_to_reference=2.0, divergence_factor=3.0, memory_bytes=10, hang_seconds=60.0)
    assert (guards.clock_limits, guards.why_alone()) == ((), None)


@pytest.mark.parametrize("name", ["epoch_seconds", "smoke_epoch_seconds", "wall_seconds"])
def test_each_limit_by_the_clock_is_a_reason_to_have_a_gpu_alone(name: str) -> None:
    assert GuardSpec(**{name: 10.0}).why_alone() == (
        f"jobs on one GPU slow each other, and `{name}` is a limit by the clock, so a run would be stopped for its "
        "neighbour"
    )
