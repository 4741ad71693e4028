"""The command of one checked run."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.checks import listen
from orchestrator.checks.launching import Commanded, build_checked_launch, linked_data, opened_file, with_listener
from orchestrator.supervisor.launch_file import CHECKPOINT
from orchestrator.task.spec import parse_task


@pytest.fixture
def commanded(tmp_path: Path) -> Any:
    for name in ("root/.venv/bin/python", "checkout/conf.yaml", "folder/x", "root/data/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("depth: 2\nseed: 1\n")

    def build(values: dict[str, Any], **fields: Any) -> Commanded:
        task = parse_task({"command": [".venv/bin/python", "train.py", "{seed}"], "code": ["train.py"]} | values)
        places = {name: tmp_path / name for name in ("root", "folder", "checkout", "scratch")}
        return Commanded(**({"task": task, "params": {}, "seed": 3, **places} | fields))

    return build


def test_an_interpreter_beside_the_file_is_named_by_its_whole_path(commanded: Any, tmp_path: Path) -> None:
    launch = build_checked_launch(commanded({}))
    assert launch.arguments == (str(tmp_path / "root/.venv/bin/python"), "train.py", "3")
    (tmp_path / "checkout/run.sh").write_text("")
    assert build_checked_launch(commanded({"command": ["./run.sh", "{seed}"]})).arguments[0] == "./run.sh"
    assert build_checked_launch(commanded({"command": ["sh", "{seed}"]})).arguments[0] == "sh"


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
    assert linked_data(commanded(values).task) == ("data/a",)


def test_the_helper_and_the_users_own_modules_are_found(commanded: Any, tmp_path: Path) -> None:
    launch = build_checked_launch(commanded({}, search_path="/mine"))
    assert launch.environment["PYTHONPATH"] == f"{tmp_path}/scratch/helper:/mine"
    assert (tmp_path / "scratch/helper/knockout/__init__.py").is_file()
    said = build_checked_launch(commanded({"env": {"PYTHONPATH": "src"}}, search_path="/mine"))
    assert said.environment["PYTHONPATH"] == f"{tmp_path}/scratch/helper:src"
    assert launch.environment["KNOCKOUT_SEED"] == "3"


def test_a_checkpoint_is_put_in_by_the_supervisor(commanded: Any, tmp_path: Path) -> None:
    resume = {
        "when": "{run_folder}/*.ckpt",
        "arguments": ["--ckpt={checkpoint}"],
        "signal": "SIGINT",
        "grace_seconds": 5,
    }
    launch = build_checked_launch(commanded({"command": ["sh", "{seed}", "{resume}"], "resume": resume}))
    assert launch.arguments == ("sh", "3")
    assert launch.resume is not None
    assert launch.resume.arguments == ("sh", "3", f"--ckpt={CHECKPOINT}")
    assert launch.resume.when == f"{tmp_path}/folder/*.ckpt"
    assert (launch.stop_signal, launch.grace_seconds) == ("SIGINT", 5.0)


def test_the_listener_is_found_first(commanded: Any, tmp_path: Path) -> None:
    launch = with_listener(build_checked_launch(commanded({})), tmp_path / "scratch", tmp_path / "folder")
    assert launch.environment["PYTHONPATH"].split(":")[0] == f"{tmp_path}/scratch/listener"
    assert launch.environment[listen.VARIABLE] == str(opened_file(tmp_path / "folder"))
    placed = tmp_path / "scratch/listener/sitecustomize.py"
    assert placed.read_text() == Path(listen.__file__).read_text()
