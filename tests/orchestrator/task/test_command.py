"""One command for one run: arguments, environment and files, worked out from the task's templates."""

import argparse
import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.task.command import Launch, Places, build_launch, hidden_variables
from orchestrator.task.spec import parse_task

PLACES = Places(run_folder="/runs/r1", data={"text": "/data/text"}, gpus=2)


def launched(parameters: dict[str, Any], places: Places = PLACES, **keys: Any) -> Launch:
    return build_launch(parse_task({"code": ["a.py"]} | keys), parameters, 7, places)


class TestArguments:
    def test_each_template_becomes_its_text(self) -> None:
        command = [
            "python",
            "--seed={seed}",
            "{run_folder}/x",
            "{data.text}",
            "-n{gpus}",
            "{{a}}",
            "{params.m.lr}",
            "{params}",
        ]
        launch = launched({"m": {"lr": 1e-5, "depth": 2}, "name": "a b"}, command=command)
        assert launch.arguments == (
            *("python", "--seed=7", "/runs/r1/x", "/data/text", "-n2", "{a}"),
            *("1e-05", "--m.depth=2", "--name=a b"),
        )

    def test_no_parameters_are_no_arguments(self) -> None:
        assert launched({}, command=["python", "{params}", "x"]).arguments == ("python", "x")

    def test_resume_stands_for_its_arguments_where_a_checkpoint_is_there(self) -> None:
        keys = {
            "command": ["python", "{resume}", "end"],
            "resume": {"when": "{run_folder}/a", "arguments": ["--ckpt", "{checkpoint}", "--s={seed}"]},
        }
        assert launched({}, **keys).arguments == ("python", "end")
        places = Places(run_folder="/r", checkpoint="/r/a b")
        assert launched({}, places, **keys).arguments == ("python", "--ckpt", "/r/a b", "--s=7", "end")

    def test_a_parameter_may_stand_for_a_place(self) -> None:
        parameters = {"train": {"seed": "{seed}", "out": "{run_folder}", "data": "{data.text}"}, "text": "{seed} x"}
        assert launched(parameters, command=["{params}"]).arguments == (
            "--train.seed=7",
            "--train.out=/runs/r1",
            "--train.data=/data/text",
            "--text={seed} x",
        )

    def test_a_value_is_never_read_as_a_template(self) -> None:
        launch = launched({"a": "{params}", "b": "{{x}}"}, command=["{params.a}", "{params}"])
        assert launch.arguments == ("{params}", "--b={{x}}")

    @pytest.mark.parametrize("text", ["a\0b", "\ud800"])
    def test_what_no_argument_can_hold_is_refused(self, text: str) -> None:
        with pytest.raises(SpecError) as refused:
            launched({"a": text}, command=["{params}"])
        assert str(refused.value) == (
            f"no argument can hold {f'--a={text}'!r}: it has a zero byte or half a character; take that out"
        )

    @settings(deadline=None, max_examples=20)
    @given(
        st.dictionaries(
            st.from_regex(r"x[a-z]{1,3}", fullmatch=True),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        )
    )
    def test_a_process_is_given_every_text_as_it_is(self, parameters: dict[str, Any]) -> None:
        code = "import json, sys; print(json.dumps(sys.argv[1:]))"
        launch = launched(parameters, command=[sys.executable, "-I", "-S", "-c", code, "{params}"])
        done = run(launch.arguments, check=True, capture_output=True, text=True)
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for name in parameters:
            parser.add_argument(f"--{name}")
        assert vars(parser.parse_args(json.loads(done.stdout))) == parameters


def test_the_environment_has_the_task_s_variables_and_the_seed() -> None:
    launch = launched({"lr": 0.1}, command=["x"], env={"HASH": "{seed}", "LR": "{params.lr}", "N": 3})
    assert launch.environment == {"HASH": "7", "LR": "0.1", "N": "3"} | {
        "KNOCKOUT_SEED": "7",
        "KNOCKOUT_PARAMS": "/runs/r1/params.json",
    }


class TestFiles:
    def test_a_file_with_all_parameters_is_written_in_the_format_asked_for(self) -> None:
        parameters = {"model": {"depth": 2}, "lr": 1e-5, "seed": "{seed}"}
        launch = launched(parameters, command=["x", "{config}", "{config.yaml}"], env={"C": "{config.toml}"})
        assert launch.arguments == ("x", "/runs/r1/params.json", "/runs/r1/params.yaml")
        assert launch.environment["C"] == "/runs/r1/params.toml"
        assert sorted(launch.files) == [f"/runs/r1/params.{form}" for form in ("json", "toml", "yaml")]
        assert json.loads(launch.files["/runs/r1/params.json"]) == parameters | {"seed": 7}
        assert yaml.safe_load(launch.files["/runs/r1/params.yaml"]) == parameters | {"seed": 7}

    def test_a_file_of_the_checkout_is_merged_into_or_written(self) -> None:
        places = Places(run_folder="/r", texts={"conf/a.yaml": "lr: 1\nother: yes\n"})
        launch = launched({"lr": 2}, places, command=["x"], files={"conf/a.yaml": "merge", "b.toml": "write"})
        assert launch.files == {
            "/r/params.json": '{\n  "lr": 2\n}\n',
            "conf/a.yaml": "lr: 2\nother: yes\n",
            "b.toml": "lr = 2\n",
        }

    def test_a_file_that_is_not_there_cannot_be_merged_into(self) -> None:
        with pytest.raises(SpecError) as refused:
            launched({"lr": 2}, command=["x"], files={"conf/a.yaml": "merge"})
        assert str(refused.value) == (
            "`conf/a.yaml` is not in the checkout, so there is nothing to merge into; commit it, or say `write`"
        )
        assert refused.value.where == ("task", "files", "conf/a.yaml")

    def test_parameters_are_always_written_as_json(self) -> None:
        assert launched({"lr": 2}, command=["x"]).files == {"/runs/r1/params.json": '{\n  "lr": 2\n}\n'}


def test_a_launch_starts_a_script_that_reads_its_file(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import json, sys; print(json.load(open(sys.argv[1]))['lr'] * 2)")
    places = Places(run_folder=str(tmp_path))
    launch = launched({"lr": 0.25}, places, command=[sys.executable, str(script), "{config}"])
    for path, text in launch.files.items():
        Path(path).write_text(text)
    assert run(launch.arguments, check=True, capture_output=True, text=True).stdout == "0.5\n"


def test_variables_of_slurm_are_hidden_unless_they_are_kept() -> None:
    names = ["PATH", "SLURM_JOB_ID", "SLURM_NTASKS"]
    assert hidden_variables(names, []) == {"SLURM_JOB_ID", "SLURM_NTASKS"}
    assert hidden_variables(names, ["SLURM_JOB*"]) == {"SLURM_NTASKS"}
    assert hidden_variables(names, ["SLURM_*"]) == set()
