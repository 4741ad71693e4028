"""How a run of a task is started: its arguments, its environment, and what lies in its checkout."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from orchestrator.errors import RunError
from orchestrator.launch.commands import (
    build_launch_file,
    build_own_job,
    find_interpreter,
    find_preload_problem,
    prepare_job,
    resolve_program,
    words_of,
)
from orchestrator.launch.slots import Slot
from orchestrator.processes import MARK, STANDBY_MARK
from orchestrator.runs.folder import RunConfig, RunFolder
from orchestrator.runs.members import mark_variables
from orchestrator.runs.order import GuardSpec, Order, OrderedCode
from orchestrator.supervisor.launch_file import CHECKPOINT, LaunchFile, ProgressFile
from orchestrator.task.spec import parse_task

CPU = Slot("cpu0", {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"})
GPUS = Slot("gpu0", {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "0,3"})
TASK: dict[str, Any] = {
    "command": ["python", "train.py", "--seed={seed}", "{params}", "{resume}"],
    "code": ["."],
    "data": {"text": "data/text", "far": "/data/far", "near": "../near", "some": "data/*.bin"},
    "outputs": ["out"],
    "env": {"WANDB_MODE": "offline", "CKPT": "x", "keep": ["SLURM_JOB_ID"]},
    "files": {"conf/params.yaml": "merge"},
    "progress": {"csv": "{run_folder}/logs/metrics.csv", "step": "step"},
    "epoch": "epoch",
    "resume": {
        "when": "{run_folder}/ckpt/*.pt",
        "arguments": ["--resume={checkpoint}"],
        "signal": "SIGINT",
        "grace_seconds": 7,
    },
}
LaunchBuilder = Callable[..., LaunchFile]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "study" / "results" / "runs" / "a-s0-0123abcd")
    made.path.mkdir(parents=True)
    return made


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The campaign's folder in a worktree, with a file to be merged into."""
    (tmp_path / "tree" / "deep" / "conf").mkdir(parents=True)
    (tmp_path / "tree" / ".git").touch()
    (tmp_path / "tree" / "deep" / "conf" / "params.yaml").write_text("lr: 1.0\nname: base\n")
    return tmp_path / "tree" / "deep"


def an_order(root: Path, task: dict[str, Any], **fields: Any) -> Order:
    given = {"guards": GuardSpec(), "code": OrderedCode(tree="c0de"), "files": {}} | fields
    return Order(run="a", identity="1d", queued="now", root=str(root), task=parse_task(task), **given)


def a_config(**params: Any) -> RunConfig:
    return RunConfig(experiment="a", profile="quick", seed=5, params=params)


@pytest.fixture
def build(tmp_path: Path, folder: RunFolder, checkout: Path) -> LaunchBuilder:
    def build(slot: Slot = CPU, guards: GuardSpec | None = None, **changes: Any) -> LaunchFile:
        order = an_order(tmp_path / "study", TASK | changes, guards=guards or GuardSpec())
        return build_launch_file(order, a_config(lr=0.5), folder, checkout, slot)

    return build


def test_the_command_is_the_tasks_with_its_parameters(build: LaunchBuilder, folder: RunFolder, checkout: Path) -> None:
    launch = build()
    assert launch.arguments == (shutil.which("python"), "train.py", "--seed=5", "--lr=0.5")
    assert (launch.checkout, launch.top) == (str(checkout), str(checkout.parent))
    assert launch.files["conf/params.yaml"] == "lr: 0.5\nname: base\n"
    assert msgspec.json.decode(launch.files[f"{folder.path}/params.json"]) == {"lr": 0.5}
    assert launch.outputs == ("out",)


def test_it_goes_on_from_the_newest_checkpoint(build: LaunchBuilder, folder: RunFolder) -> None:
    resume = build().resume
    assert resume is not None
    assert resume.when == f"{folder.path}/ckpt/*.pt"
    assert resume.arguments[2:] == ("--seed=5", "--lr=0.5", f"--resume={CHECKPOINT}")
    assert resume.environment == {}
    assert (build().stop_signal, build().grace_seconds) == ("SIGINT", 7)


def test_without_a_contract_it_starts_over(build: LaunchBuilder) -> None:
    launch = build(resume=None, command=["python", "train.py"])
    assert launch.resume is None
    assert (launch.stop_signal, launch.grace_seconds) == ("SIGTERM", 30)


def test_its_environment_tells_it_which_run_it_is(
    build: LaunchBuilder, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    seen = build().environment
    assert (seen["KNOCKOUT_SEED"], seen["KNOCKOUT_FOLDER"]) == ("5", str(folder.path))
    assert seen["KNOCKOUT_PARAMS"] == f"{folder.path}/params.json"
    assert seen["KNOCKOUT_METRICS"] == f"{folder.path}/reported.jsonl"
    assert (seen["WANDB_MODE"], seen["OMP_NUM_THREADS"], seen["PYTHONUNBUFFERED"]) == ("offline", "3", "1")
    helper, mine = seen["PYTHONPATH"].split(os.pathsep)
    assert mine == "/mine"
    assert [path.name for path in Path(helper).iterdir()] == ["knockout"]
    assert (build().hidden, build().shown) == (("SLURM_*",), ("SLURM_JOB_ID",))


def test_a_task_may_say_otherwise(build: LaunchBuilder) -> None:
    env = {"PYTHONUNBUFFERED": "", "PYTHONPATH": "src", "OMP_NUM_THREADS": 8}
    seen = build(env=env).environment
    assert (seen["PYTHONUNBUFFERED"], seen["OMP_NUM_THREADS"]) == ("", "8")
    assert seen["PYTHONPATH"].endswith(f"{os.pathsep}src")


def test_data_are_linked_where_a_relative_path_names_them(build: LaunchBuilder, tmp_path: Path) -> None:
    root = tmp_path / "study"
    (root / "data").mkdir()
    (root / "data" / "a.bin").touch()
    assert build().data == {
        "data/text": str(root / "data" / "text"),
        "../near": str(tmp_path / "near"),
        "data/a.bin": str(root / "data" / "a.bin"),
    }
    where = build(command=["python", "{data.text}", "{data.far}"]).arguments[1:]
    assert where == (str(root / "data" / "text"), "/data/far")


def test_progress_is_read_from_its_table_and_from_what_the_helper_tells(
    build: LaunchBuilder, folder: RunFolder
) -> None:
    reported = ProgressFile(kind="reported", path=f"{folder.path}/reported.jsonl", step="step")
    table = ProgressFile(kind="csv", path=f"{folder.path}/logs/metrics.csv", step="epoch")
    assert build().progress.files == (table, reported)
    lines = build(progress={"stdout": "step {step}: loss {loss}", "step": "step"}, epoch="").progress
    assert (lines.patterns, lines.step, lines.files) == (("step {step}: loss {loss}",), "step", (reported,))
    assert build(progress=None).progress.files == (reported,)


def test_a_start_from_nothing_finds_nothing_of_an_earlier_one(build: LaunchBuilder, folder: RunFolder) -> None:
    for name in ("logs", "outputs"):
        (folder.path / name).mkdir()
    for name in ("x.ckpt", "config.json", "train.log", "result.json.set-aside", "progress.jsonl", ".result.json.1"):
        (folder.path / name).touch()
    assert build().fresh == ("checkpoints", "logs", "reported.jsonl", "scores", "x.ckpt")


def test_devices_are_those_of_the_slot_unless_the_task_says_fewer(build: LaunchBuilder) -> None:
    assert build(GPUS, command=["torchrun", "--n={gpus}"]).arguments[1] == "--n=2"
    assert build(GPUS, devices={"gpus": 0}).environment["CUDA_VISIBLE_DEVICES"] == ""
    assert build(devices={"cpus": 2}).environment["OMP_NUM_THREADS"] == "2"
    with pytest.raises(RunError, match=r"wants 3 GPUs \(`devices.gpus`\), and a slot of this worker has 2; start a"):
        build(GPUS, devices={"gpus": 3})


def test_the_limit_of_a_run_is_the_guards(build: LaunchBuilder) -> None:
    assert build().run_seconds is None
    assert build(guards=GuardSpec(run_seconds=60)).run_seconds == 60


class TestPrograms:
    def test_one_of_the_users_folder_is_found_there_and_its_link_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "study" / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / "co").mkdir()
        python = tmp_path / "study" / ".venv" / "bin" / "python"
        python.symlink_to(sys.executable)
        assert resolve_program(".venv/bin/python", tmp_path / "co", tmp_path / "study") == str(python)

    def test_one_of_the_code_comes_first(self, tmp_path: Path) -> None:
        for name in ("co", "study"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "train.sh").touch()
        assert resolve_program("./train.sh", tmp_path / "co", tmp_path / "study") == str(tmp_path / "co" / "train.sh")

    def test_one_that_is_not_there_stays_as_it_is(self, tmp_path: Path) -> None:
        assert resolve_program("no-such-program", tmp_path, tmp_path) == "no-such-program"
        assert resolve_program("no/such/program", tmp_path, tmp_path) == "no/such/program"

    @pytest.mark.parametrize(
        ("line", "wanted"),
        [
            ("#!/opt/venv/bin/python3.12\n", "/opt/venv/bin/python3.12"),
            (f"#!/usr/bin/env {Path(sys.executable).name}\n", shutil.which(Path(sys.executable).name)),
            ("#!/bin/sh\n", None),
            ("#!/usr/bin/env no-such-python\n", None),
            ("binary", None),
        ],
    )
    def test_the_python_of_a_launcher_is_named_in_its_first_line(
        self, tmp_path: Path, line: str, wanted: str | None
    ) -> None:
        (tmp_path / "torchrun").write_text(line)
        assert find_interpreter(str(tmp_path / "torchrun")) == wanted

    def test_a_python_is_its_own_interpreter(self) -> None:
        assert find_interpreter("/x/python3.11") == "/x/python3.11"
        assert find_interpreter("/no/such/torchrun") is None


OWN = {
    "command": ["{python}", "-m", "model", "{run_folder}", "--data-folder", "{root}"],
    "code": ["model"],
    "supervised": False,
    "standby": ["{python}", "-m", "model.standby"],
}


class TestOwnJobs:
    def test_it_is_forked_from_the_standby_of_its_code_and_threads(
        self, tmp_path: Path, folder: RunFolder, checkout: Path
    ) -> None:
        job = build_own_job(an_order(tmp_path, OWN), a_config(), folder, checkout, GPUS)
        words = (str(folder.path), "--data-folder", str(tmp_path))
        assert job.arguments == (sys.executable, "-m", "model", *words)
        assert job.environment == GPUS.environment | mark_variables(folder)
        assert job.standby is not None
        assert job.standby.arguments == (sys.executable, "-m", "model.standby", "--gpu")
        assert job.standby.environment == {"OMP_NUM_THREADS": "3", MARK: STANDBY_MARK}
        assert (job.standby.code, job.standby.words) == ("c0de", words)

    def test_an_order_that_names_no_task_is_of_today(self, tmp_path: Path, folder: RunFolder, checkout: Path) -> None:
        order = msgspec.structs.replace(an_order(tmp_path, OWN), task=None)
        told = build_own_job(an_order(tmp_path, OWN), a_config(), folder, checkout, CPU)
        assert prepare_job(order, a_config(), folder, checkout, CPU) == told

    def test_a_script_is_given_what_follows_it(self) -> None:
        assert words_of(("python", "-m", "model", "a", "b")) == ("a", "b")
        assert words_of(("python", "train.py", "a")) == ("a",)


def test_a_supervisor_is_told_its_folder_alone(tmp_path: Path, folder: RunFolder, checkout: Path) -> None:
    job = prepare_job(an_order(tmp_path, TASK), a_config(), folder, checkout, CPU)
    assert job.arguments == (sys.executable, "-m", "orchestrator.launch.supervisors", str(folder.path))
    assert job.environment == {}
    assert job.is_supervisor
    assert job.standby is not None
    assert job.standby.words == (str(folder.path),)


@pytest.mark.parametrize(
    ("command", "env", "wanted"),
    [
        (("python", "train.py"), {}, None),
        (("python", "train.py"), {"A": "1"}, None),
        (("/bin/sh", "train.sh"), {}, "`sh` is no Python, so each run starts by itself; take `preload` out"),
        (("python", "-c", "x"), {}, "only `python script` and `python -m module` can be forked"),
        (("python", "train.py"), {"PYTHONHASHSEED": "{seed}"}, "`env.PYTHONHASHSEED` differs from run to run"),
    ],
)
def test_what_cannot_be_forked_is_told(command: tuple[str, ...], env: dict[str, str], wanted: str | None) -> None:
    task = parse_task({"command": list(command), "code": ["."], "env": env})
    problem = find_preload_problem(task, command)
    assert problem == wanted or (wanted is not None and problem is not None and problem.startswith(wanted))


@pytest.mark.parametrize(
    ("exact", "rerun", "goes_on"), [(True, "resumed", True), (False, None, True), (False, "resumed", False)]
)
def test_a_stopped_run_starts_over_where_going_on_would_change_its_numbers(
    build: LaunchBuilder, exact: bool, rerun: Literal["resumed"] | None, goes_on: bool
) -> None:
    launch = build(guards=GuardSpec(rerun=rerun), resume={**TASK["resume"], "exact": exact})
    assert (launch.resume is not None) is goes_on
    assert (launch.stop_signal, launch.grace_seconds) == ("SIGINT", 7)
