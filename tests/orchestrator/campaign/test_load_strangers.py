"""A campaign of a stranger's script: its task stands in the file, and its parameters are what the file says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.campaign.captures import make_captures, missing_captures, refuse_same_files, refuse_untrainable
from orchestrator.campaign.plan import plan_runs
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.campaign.spec import Campaign
from orchestrator.errors import DataError, SpecError
from orchestrator.runs.identity import CodeAndData

NANO = """\
campaign: tiny-gpt
seeds: 5
task:
  command: [.venv/bin/python, train.py, "--seed={seed}", "{params}", "{resume}"]
  style: literal
  code: [train.py, model.py, configurator.py]
  data: {text: data/tiny_char}
  outputs: [out]
  progress: {stdout: "step {step}: train loss {train_loss}, val loss {val_loss}"}
  resume: {when: out/ckpt.pt, arguments: [--init_from=resume]}
metrics:
  val_loss: {better: lower, margin: 0.02, from: {progress: val_loss}}
guards: {relative_to_reference: 2.0, divergence_factor: 2.0}
baseline: {dataset: tiny_char, device: cpu, compile: false, n_layer: 2, n_head: 2, n_embd: 64, block_size: 64,
           dropout: 0.0, max_iters: 200, eval_interval: 50, learning_rate: 1e-3}
experiments:
  lr-3e-3: {change: {learning_rate: 3e-3}}
  deep:    {change: {n_layer: 4}, hypothesis: Depth beats width at this size.}
  rmsnorm: {on: deep, patch: changes/rmsnorm.diff}
"""
"""The first example of the design."""
ITEMS = """\
campaign: imu
seeds: 3
task:
  command: [torchrun, --standalone, "--nproc_per_node={gpus}", train.py, --config, "{config.yaml}"]
  code: [train.py]
  env: {WANDB_MODE: offline, PYTHONHASHSEED: "{seed}"}
  files: {conf/params.yaml: merge}
  devices: {gpus: 2, cpus: 8}
  data: {train: /data/imu/train, test: {path: /data/imu/test, fingerprint: names}}
  items: {test: {file: "{run_folder}/test.parquet", key: [trial, t], cluster: trial, stratum: device}}
  resume: {when: "{run_folder}/checkpoints/*.ckpt", signal: SIGTERM, grace_seconds: 25}
metrics:
  error_m: {better: lower, margin: 0.05, unit: m, from: {items: test, median: "norm(x - x_true, y - y_true)"}}
  R2:      {better: higher, margin: 0.01, from: {items: test, r2: [speed_true, speed]}}
  latency: {better: lower, margin: 5%, unit: ms, role: no_worse, from: {file: "{run_folder}/bench.json", key: p95_ms}}
baseline: {model: {dim: 8, depth: 2}, lr: 1e-3}
experiments:
  deep: {change: {model.depth: 4}}
"""
"""The second one: items with clusters, several metrics, and parameters as a file."""
TWO_LINES = """\
campaign: two
seeds: 2
task: {command: [python, train.py, "--seed={seed}", "{params}"], code: [train.py]}
metrics: {loss: {better: lower, margin: 0.1}}
baseline: {lr: 0.1}
experiments:
  high:
    change: {lr: 1}
"""
Open = Callable[[str], Selection]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_text(text: str) -> Selection:
        (tmp_path / "experiments.yaml").write_text(text)
        return open_campaign(Request(file=tmp_path / "experiments.yaml"))

    return open_text


def refusal(opened: Open, text: str) -> str:
    with pytest.raises(SpecError) as refused:
        opened(text)
    return str(refused.value).partition("experiments.yaml")[2]


def test_the_first_example_of_the_design_is_a_campaign(opened: Open) -> None:
    selection = opened(NANO)
    campaign, arms = selection.campaign, selection.arms
    assert campaign.judged.name == "val_loss"
    assert (campaign.margin, campaign.items, campaign.notes, campaign.splits) == (0.02, {}, (), {"val_loss": "judged"})
    assert campaign.task.resume is not None
    assert arms["lr-3e-3"].params == arms["baseline"].params | {"learning_rate": 3e-3}
    assert (arms["rmsnorm"].stack, arms["rmsnorm"].params["n_layer"]) == (("deep", "rmsnorm"), 4)
    assert arms["deep"].reads == ()
    assert [path.name for path in missing_captures(selection)] == ["tiny_char"]


def test_the_second_example_has_items_clusters_and_several_metrics(opened: Open) -> None:
    campaign = opened(ITEMS).campaign
    assert list(campaign.metrics) == ["error_m", "R2", "latency"]
    assert campaign.splits == {"error_m": "judged", "R2": "shown", "latency": "no_worse"}
    assert campaign.reported == ("error_m", "latency", "R2")
    assert campaign.items["test"].cluster == "trial"
    assert msgspec.json.decode(msgspec.json.encode(campaign), type=Campaign) == campaign


def test_an_experiment_of_two_lines_is_one(opened: Open) -> None:
    arm = opened(TWO_LINES).arms["high"]
    assert (arm.title, arm.params, arm.reference) == ("lr: 1", {"lr": 1.0}, "baseline")


def test_runs_get_names_that_depend_on_command_parameters_seed_code_and_data(opened: Open) -> None:
    def names(text: str = TWO_LINES, **inputs: Any) -> set[str]:
        selection = opened(text)
        given = CodeAndData(**{"code_tree": "c0de", "data": {"text": "da7a"}} | inputs)
        return set(plan_runs(selection.campaign, selection.resolved, given).run_ids)

    first = names()
    assert len(first) == 4
    assert names(TWO_LINES.replace("loss: {better: lower, margin: 0.1}", "acc: {better: higher, margin: 2}")) == first
    for other in (
        names(TWO_LINES.replace("train.py,", "other.py,")),
        names(code_tree="0ther"),
        names(data={"text": "0ther"}),
    ):
        assert not other & first


def test_a_profile_changes_single_parameters(opened: Open) -> None:
    text = ITEMS.replace("seeds: 3\n", "seeds: 3\nprofiles: {small: {baseline: {model.dim: 4}}}\n")
    assert opened(text).arms["baseline"].params == {"model": {"dim": 4, "depth": 2}, "lr": 1e-3}


def test_names_of_the_experiment_itself_may_be_parameters(opened: Open) -> None:
    text = TWO_LINES.replace("{lr: 0.1}", "{title: Plain, params: {title: a, lr: 0.1}}")
    arm = opened(text).arms["baseline"]
    assert (arm.title, arm.params) == ("Plain", {"title": "a", "lr": 0.1})


def test_a_schema_narrows_parameters_inline_or_in_a_file(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "params.schema.json").write_text('{"type": "object", "properties": {"lr": {"maximum": 0.5}}}')
    for schema in ("{lr: {max: 0.5}}", "params.schema.json"):
        text = TWO_LINES.replace("code: [train.py]", f"code: [train.py], schema: {schema}")
        assert refusal(opened, text) == ":8: experiments.high.change.lr: this must be at most 0.5, found 1.0"


def test_a_task_may_stand_in_another_file(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text('command: [python, x.py, "{seed}"]\ncode: [x.py]\n')
    task = 'task: {command: [python, train.py, "--seed={seed}", "{params}"], code: [train.py]}'
    other = 'task: {from: task.yaml, command: [python, x.py, "{seed}", "{params}"]}'
    assert opened(TWO_LINES.replace(task, other)).campaign.task.code == ("x.py",)
    (tmp_path / "task.yaml").write_text("command: [python, x.py]\ncod: [x.py]\n")
    with pytest.raises(SpecError, match=r"task\.yaml:2: cod: there is no `cod` here; did you mean `code`\?$"):
        opened(TWO_LINES.replace(task, other))
    (tmp_path / "task.yaml").write_text("from: other.yaml\n")
    with pytest.raises(SpecError, match=r"task\.yaml:1: from: a task that is written elsewhere is whole"):
        opened(TWO_LINES.replace(task, other))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("code: [train.py]}", "cod: [train.py]}", ":3: task.cod: there is no `cod` here; did you mean `code`?"),
        ("{seed}", "{sed}", ":3: task.command[2]: there is no template `{sed}`; did you mean `{seed}`?"),
        (', "{params}"', "", ":3: task.command: no template passes parameters on: put `{params}` or `{config}`"),
        ('"--seed={seed}", ', "", ":3: task.command: the seed never reaches the script"),
        ("{lr: 1}", "{lrr: 1}", ":8: experiments.high.change.lrr: there is no parameter `lrr`; did you mean `lr`?"),
        ("{lr: 1}", "{lr: 0.1}", ":8: experiments.high.change.lr: `lr: 0.1` changes nothing"),
        ("{lr: 1}", "{lr: a}", ":8: experiments.high.change.lr: `lr` is a number (`0.1`) in `baseline`"),
        ("{lr: 1}", "{warmup: 1}", ":8: experiments.high.change.warmup: `warmup` is not in `baseline`"),
        ("seeds: 2\n", "seeds: 2\ndata: {a: b}\n", ":3: data: this task has no section `data`; name files under"),
        ("seeds: 2\n", "seeds: 2\nmargin: 1\n", ":3: margin: each metric has its own margin; write it under"),
        ("metrics: {loss: {better: lower, margin: 0.1}}\n", "", ":1: metrics: nothing says what is read of a run"),
        ("better: lower", "better: lowr", ":4: metrics.loss.better: Invalid enum value 'lowr'"),
        ("margin: 0.1}", "margin: 0.1, from: {items: tst, mean: x}}", ":4: metrics.loss.from.items: there are"),
        ("{command", "{from: nowhere.yaml, command", ":3: task.from: there is no file"),
        ("    change: {lr: 1}", "    control: shuffled_labels", ":8: experiments.high.control: the task has no"),
        ("{lr: 0.1}", "{lr: 0.1, params: {lr: 1}}", ":5: baseline.lr: `lr` is given twice, also in `params`"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(opened: Open, old: str, new: str, message: str) -> None:
    assert TWO_LINES.count(old) == 1
    assert refusal(opened, TWO_LINES.replace(old, new)).startswith(message)


def test_nobody_is_asked_about_a_task_without_a_check(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.task.call.call", None)
    selection = opened(TWO_LINES)
    refuse_same_files(selection, {})
    refuse_untrainable(selection, list(selection.arms.values()))
    assert make_captures(selection) == ""


def test_data_that_are_missing_are_named(opened: Open) -> None:
    with pytest.raises(DataError, match=r"data/tiny_char: this file is not there; correct its path in the campaign"):
        make_captures(opened(NANO))


def test_a_task_with_a_check_of_its_own_says_what_is_scored(opened: Open, tmp_path: Path) -> None:
    """A small built-in study: its answers name splits, files and notes."""
    (tmp_path / "asked.py").write_text(STUDY)
    text = (
        CHECKED + "experiments:\n  deep: {change: {model.depth: 4}}\n  wide: {change: {model.depth: 4, model.dim: 8}}\n"
    )
    selection = opened(text)
    campaign, arm = selection.campaign, selection.arms["deep"]
    assert (campaign.splits, list(campaign.metrics)) == ({"far": "judged", "near": "validate"}, ["far"])
    assert (list(campaign.items), set(campaign.task.items)) == (["far"], {"far", "near"})
    assert campaign.notes == ("Emulated.",)
    assert arm.params == {"model": {"depth": 4, "dim": 16}, "data": {"path": "x.h5"}}
    assert [(read.at, read.path) for read in arm.reads] == [(("data", "path"), "x.h5")]
    assert (arm.about.epochs, arm.about.chance) == (6, 0.1)
    assert (tmp_path / "count").read_text() == "x"
    assert refusal(opened, text.replace("depth: 4}}", "depth: 99}}")) == (
        ":9: experiments.deep.change.model.depth: too deep"
    )
    assert refusal(opened, text.replace("depth: 2", "depth: 99")) == ":7: baseline.model.depth: too deep"
    assert refusal(opened, text.replace("x.h5", "99")) == ":6: data.path: no file"


STUDY = """\
import json, pathlib, sys
asked = json.load(sys.stdin)
with open("count", "a") as file:
    file.write("x")
answers = []
for config in asked["configs"]:
    params = {"model": {"dim": 16} | config["model"], "data": config["data"]}
    problem = {"message": "too deep", "at": ["model", "depth"]} if params["model"]["depth"] > 9 else None
    if config["data"]["path"] == 99:
        problem = {"message": "no file", "at": ["data", "path"]}
    answers.append({"params": params, "problem": problem, "epochs": 6, "chance": 0.1, "notes": ["Emulated."],
        "reads": [{"at": ["data", "path"], "path": str(config["data"]["path"])}],
        "splits": {"far": "judged", "near": "validate"}})
print(json.dumps(answers))
"""
CHECKED = """\
campaign: checked
seeds: 2
margin: 1.0
task: {command: ["{python}", asked.py, "{seed}", "{params}"], code: [asked.py], check: ["{python}", asked.py]}
data:
  path: x.h5
baseline: {model: {depth: 2}}
"""
