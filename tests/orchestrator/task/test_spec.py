"""The section `task`: what a file says becomes typed values, and a task written elsewhere lies below it."""

from typing import Any

import msgspec
import pytest

from orchestrator.errors import SpecError
from orchestrator.task.rules import check_task
from orchestrator.task.spec import (
    DataSpec,
    DevicesSpec,
    EnvSpec,
    ItemsSpec,
    ProgressSpec,
    ResumeSpec,
    TaskSpec,
    lay_over,
    parse_task,
    written_elsewhere,
)
from orchestrator.task.spelling import Flags, Spelling, TemplateStyle

SMALL: dict[str, Any] = {"command": ["python", "train.py", "--seed={seed}", "{params}"], "code": ["train.py"]}
NANOGPT: dict[str, Any] = {
    "command": [".venv/bin/python", "train.py", "--seed={seed}", "{params}", "{resume}"],
    "style": "literal",
    "code": ["train.py", "model.py", "configurator.py"],
    "data": {"text": "data/tiny_char"},
    "outputs": ["out"],
    "progress": {"stdout": "step {step}: train loss {train_loss}, val loss {val_loss}"},
    "resume": {"when": "out/ckpt.pt", "arguments": ["--init_from=resume"]},
}
TORCHRUN: dict[str, Any] = {
    "command": ["torchrun", "--standalone", "--nproc_per_node={gpus}", "train.py", "--config", "{config.yaml}"],
    "code": ["train.py", "src"],
    "env": {"WANDB_MODE": "offline", "PYTHONHASHSEED": "{seed}", "keep": ["SLURM_*"]},
    "files": {"conf/params.yaml": "merge"},
    "devices": {"gpus": 2, "cpus": 8},
    "data": {"train": "/data/imu/train", "test": {"path": "/data/imu/test", "fingerprint": "names"}},
    "items": {
        "test": {"file": "{run_folder}/test.parquet", "key": ["trial", "t"], "cluster": "trial", "stratum": "device"}
    },
    "resume": {
        "when": "{run_folder}/checkpoints/*.ckpt",
        "arguments": [],
        "signal": "SIGTERM",
        "grace_seconds": 25,
    },
}


def test_two_keys_are_a_task() -> None:
    task = parse_task(SMALL)
    check_task(task)
    assert task == TaskSpec(command=tuple(SMALL["command"]), code=("train.py",))
    assert task.spelling == Spelling("argparse", {})


def test_the_page_s_first_example_is_a_task() -> None:
    task = parse_task(NANOGPT)
    check_task(task)
    assert task.data == {"text": DataSpec(path="data/tiny_char")}
    assert task.progress is not None
    assert task.progress.patterns == ("step {step}: train loss {train_loss}, val loss {val_loss}",)
    assert task.resume == ResumeSpec(when="out/ckpt.pt", arguments=("--init_from=resume",))
    assert task.spelling.style == "literal"


def test_the_page_s_second_example_is_a_task() -> None:
    task = parse_task(TORCHRUN)
    check_task(task)
    assert task.env == EnvSpec(values={"WANDB_MODE": "offline", "PYTHONHASHSEED": "{seed}"}, keep=("SLURM_*",))
    assert task.files == {"conf/params.yaml": "merge"}
    assert task.devices == DevicesSpec(gpus=2, cpus=8)
    assert task.data["test"] == DataSpec(path="/data/imu/test", fingerprint="names")
    assert task.items["test"].keys == ("trial", "t")
    assert task.resume is not None
    assert task.resume.grace_seconds == 25.0


def test_each_key_has_its_type() -> None:
    task = parse_task(
        SMALL
        | {
            "style": {"template": "-{name} {value}"},
            "env": {"OMP_NUM_THREADS": 1},
            "reads": ["seed"],
            "items": {"test": {"file": "out.csv", "key": "id", "resampled": {"test_share": 0.2}}},
            "progress": {"csv": "out/metrics.csv", "step": "epoch"},
            "epoch": "epoch",
            "preload": ["torch"],
            "cosmetic": ["log_every"],
            "schema": {"dropout": {"min": 0}},
            "check": ["python", "-m", "study", "check"],
            "labels": {"item": "burst"},
            "shares_checkout": True,
        }
    )
    assert task.style == TemplateStyle(template="-{name} {value}")
    assert task.env.values == {"OMP_NUM_THREADS": "1"}
    assert isinstance(task.items["test"], ItemsSpec)
    assert task.items["test"].keys == ("id",)
    assert task.progress == ProgressSpec(csv="out/metrics.csv", step="epoch")
    assert task.progress.patterns == ()
    assert task.labels.item == "burst"
    assert (task.schema, task.check) == ({"dropout": {"min": 0}}, ("python", "-m", "study", "check"))


def test_a_form_is_a_word_or_the_flags_themselves() -> None:
    forms = {"bias": {"if_true": "--use_bias", "if_false": "--no_use_bias"}, "compile": "pair"}
    assert parse_task(SMALL | {"forms": forms}).forms == {
        "bias": Flags(if_true="--use_bias", if_false="--no_use_bias"),
        "compile": "pair",
    }


@pytest.mark.parametrize(
    ("values", "message", "where"),
    [
        ({"code": ["x"]}, "`command` is missing here", ()),
        ({"command": ["x"]}, "`code` is missing here", ()),
        (SMALL | {"command": []}, "this must not be empty", ("command",)),
        (
            SMALL | {"command": "python train.py 'a"},
            'a command is a list of words, and no shell ever reads it; write [python, train.py, "\'a"]',
            ("command",),
        ),
        (
            SMALL | {"check": "python check.py"},
            "a command is a list of words, and no shell ever reads it; write [python, check.py]",
            ("check",),
        ),
        (
            SMALL | {"command": ["python", 3]},
            'each word of a command is a text, found a whole number; write "3" with quotes',
            ("command", "[1]"),
        ),
        (SMALL | {"data": {"x": {"pth": "y"}}}, "there is no `pth` here; did you mean `path`?", ("data", "x", "pth")),
        (
            SMALL | {"items": {"test": {"file": "x.csv"}}},
            "`key` is missing here",
            ("items", "test"),
        ),
        (SMALL | {"forms": {"x": "swich"}}, "there is no `swich` here; did you mean `switch`?", ("forms", "x")),
        (
            SMALL | {"forms": {"x": {"if_true": "", "if_false": ""}}},
            "`if_true` and `if_false` are the same, so the script is told nothing",
            ("forms", "x"),
        ),
        (
            SMALL | {"files": {"a.yaml": "append"}},
            "there is no `append` here; there are merge, write",
            ("files", "a.yaml"),
        ),
        (
            SMALL | {"env": {"DEBUG": True}},
            "a variable is a text or a number, found true or false; write the text in quotes",
            ("env", "DEBUG"),
        ),
        (
            SMALL | {"progress": {"stdout": "{a}", "csv": "x.csv"}},
            "progress has one source (stdout, csv, jsonl, tensorboard, trainer_state), found stdout and csv",
            ("progress",),
        ),
        (
            SMALL | {"resume": {"when": "x", "signal": "SIGKILL"}},
            "Invalid enum value 'SIGKILL'; valid are SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2",
            ("resume", "signal"),
        ),
        (SMALL | {"devices": {"gpus": -1}}, "Expected `int` >= 0", ("devices", "gpus")),
    ],
)
def test_what_is_wrong_is_refused_by_its_path(values: dict[str, Any], message: str, where: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        parse_task(values)
    assert (str(refused.value), refused.value.where) == (message, ("task", *where))


def test_a_task_is_written_as_json_and_read_back() -> None:
    for values in (SMALL | {"forms": {"x": {"if_true": "--x"}, "y": "pair"}}, NANOGPT, TORCHRUN):
        task = parse_task(values)
        assert msgspec.json.decode(msgspec.json.encode(task), type=TaskSpec) == task


def test_a_task_may_be_written_in_another_file() -> None:
    assert written_elsewhere({"from": "studies/radio/task.yaml"}) == "studies/radio/task.yaml"
    assert written_elsewhere(SMALL) is None
    with pytest.raises(SpecError, match=r"^`from` is the path of a file with the task, found a list$") as refused:
        written_elsewhere({"from": []})
    assert refused.value.where == ("task", "from")


class TestLayOver:
    def test_own_keys_lie_on_top_and_sections_are_merged(self) -> None:
        base = {"command": ["a"], "env": {"A": "1", "B": "2"}, "data": {"x": "y"}, "resume": {"when": "c"}}
        own = {"from": "task.yaml", "env": {"B": "3"}, "data": {"x": {"path": "z"}}, "resume": {"signal": "SIGINT"}}
        assert lay_over(base, own) == {
            "command": ["a"],
            "env": {"A": "1", "B": "3"},
            "data": {"x": {"path": "z"}},
            "resume": {"when": "c", "signal": "SIGINT"},
        }

    def test_a_source_takes_the_place_of_another(self) -> None:
        base = {"val": {"better": "lower", "from": {"csv": "a", "column": "b"}}}
        own = {"val": {"margin": 2, "from": {"progress": "c"}}}
        assert lay_over(base, own) == {"val": {"better": "lower", "margin": 2, "from": {"progress": "c"}}}

    def test_the_base_stays_as_it_is(self) -> None:
        base: dict[str, Any] = {"env": {"A": "1"}}
        lay_over(base, {"env": {"A": "2"}})
        assert base == {"env": {"A": "1"}}


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "step"),
        ({"progress": {"stdout": "step {step}: loss {loss}"}}, "step"),
        ({"progress": {"stdout": "epoch {epoch}: loss {loss}"}}, "epoch"),
        ({"progress": {"csv": "m.csv", "step": "epoch"}}, "epoch"),
        ({"progress": {"csv": "m.csv"}, "epoch": "ep"}, "epoch"),
        ({"supervised": False}, "epoch"),
    ],
)
def test_a_row_of_progress_is_an_epoch_where_the_task_calls_it_so(more: dict[str, Any], name: str) -> None:
    assert parse_task({"command": ["run", "{seed}"], "code": ["."], **more}).progress_name == name
