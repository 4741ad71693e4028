"""The command of one checked run."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checks import listen
from orchestrator.checks.launching import Commanded, build_checked_launch, opened_file
from orchestrator.errors import RunError
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.launch_file import CHECKPOINT
from orchestrator.task.spec import parse_task


@pytest.fixture
def commanded(tmp_path: Path) -> Any:
    for name in ("root/.venv/bin/python", "checkout/conf.yaml", "folder/x", "root/data/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("depth: 2\nseed: 1\n")

    def build(values: dict[str, Any], **fields: Any) -> Commanded:
        task = parse_task({"command": [".venv/bin/python", "train.py", "{seed}"], "code": ["train.py"]} | values)
        places = {name: tmp_path / name for name in ("root", "checkout", "scratch")}
        run = {"task": task, "params": {}, "seed": 3, "folder": RunFolder(tmp_path / "folder")}
        return Commanded(**(run | places | fields))

    return build


def test_an_interpreter_beside_the_file_is_named_by_its_whole_path(commanded: Any, tmp_path: Path) -> None:
    launch = build_checked_launch(commanded({}))
    assert launch.arguments == (str(tmp_path / "root/.venv/bin/python"), "train.py", "3")
    (tmp_path / "checkout/run.sh").write_text("")
    own = build_checked_launch(commanded({"command": ["./run.sh", "{seed}"]}))
    assert own.arguments[0] == str(tmp_path / "checkout/run.sh")
    assert build_checked_launch(commanded({"command": ["sh", "{seed}"]})).arguments[0] == shutil.which("sh")


def test_data_are_linked_and_files_are_written(commanded: Any, tmp_path: Path) -> None:
    values = {
        "command": ["sh", "{data.a}", "{data.b}", "{seed}"],
        "data": {"a": "data/a", "b": "/srv/b"},
        "files": {"conf.yaml": "merge"},
        "outputs": ["out"],
    }
    launch = build_checked_launch(commanded(values, params={"depth": 4}, limit_seconds=5.0))
    assert launch.data == {"data/a": str(tmp_path / "root/data/a")}
    assert launch.arguments[1:3] == (str(tmp_path / "root/data/a"), "/srv/b")
    assert launch.files["conf.yaml"] == "depth: 4\nseed: 1\n"
    assert (launch.outputs, launch.run_seconds) == (("out",), 5.0)
    assert launch.files[str(tmp_path / "folder/params.json")]


def test_the_listener_the_helper_and_the_users_own_modules_are_found_in_this_order(
    commanded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    launch = build_checked_launch(commanded({}))
    ours = f"{tmp_path}/scratch/listener:{tmp_path}/scratch/helper"
    assert launch.environment["PYTHONPATH"] == f"{ours}:/mine"
    assert (tmp_path / "scratch/helper/knockout/__init__.py").is_file()
    said = build_checked_launch(commanded({"env": {"PYTHONPATH": "src"}}))
    assert said.environment["PYTHONPATH"] == f"{ours}:src"
    assert launch.environment["KNOCKOUT_SEED"] == "3"
    assert launch.environment[listen.VARIABLE] == str(opened_file(RunFolder(tmp_path / "folder")))
    assert (tmp_path / "scratch/listener/sitecustomize.py").read_text() == Path(listen.__file__).read_text()


def test_nothing_is_written_into_the_users_own_folder(commanded: Any, tmp_path: Path) -> None:
    before = sorted((tmp_path / "root").rglob("*"))
    build_checked_launch(commanded({}))
    assert sorted((tmp_path / "root").rglob("*")) == before


def test_a_run_gets_its_gpus_or_is_told_that_there_are_too_few(commanded: Any) -> None:
    values = {"devices": {"gpus": 2}, "command": ["sh", "{seed}", "{gpus}"]}
    launch = build_checked_launch(commanded(values, devices=("3", "5")))
    assert launch.environment["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert launch.arguments[1:] == ("3", "2")
    with pytest.raises(RunError, match=r"the task wants 2 GPUs \(`devices.gpus`\), and a slot of this worker has 0"):
        build_checked_launch(commanded(values))


def test_a_checkpoint_is_put_in_by_the_supervisor(commanded: Any, tmp_path: Path) -> None:
    resume = {
        "when": "{run_folder}/*.ckpt",
        "arguments": ["--ckpt={checkpoint}"],
        "signal": "SIGINT",
        "grace_seconds": 5,
    }
    launch = build_checked_launch(commanded({"command": ["sh", "{seed}", "{resume}"], "resume": resume}))
    assert launch.arguments[1:] == ("3",)
    assert launch.resume is not None
    assert launch.resume.arguments[1:] == ("3", f"--ckpt={CHECKPOINT}")
    assert launch.resume.when == f"{tmp_path}/folder/*.ckpt"
    assert (launch.stop_signal, launch.grace_seconds) == ("SIGINT", 5.0)
