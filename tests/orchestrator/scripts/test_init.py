"""`knockout init`: a script of each style, and a campaign file that a person only trims."""

import ast
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.scripts.init import InitOptions, find_interpreter, init_campaign
from orchestrator.task.command import Places, build_launch
from orchestrator.task.parameters import apply_to_parameters, nest
from tests.builders import scripts


def run_with(stranger: Any, seed: int = 7, **changes: Any) -> dict[str, Any]:
    """Start the script with the command that the file gives; return the values that reached it."""
    parameters = nest(stranger.baseline)
    if changes:
        parameters = apply_to_parameters(parameters, changes)
    launch = build_launch(stranger.task, parameters, seed, Places(run_folder="/run"))
    command = [sys.executable, *launch.arguments[1:]]
    done = subprocess.run(command, cwd=stranger.root, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


class TestArgparse:
    @pytest.mark.parametrize("static", [False, True])
    def test_a_parser_becomes_typed_parameters(self, stranger: Any, static: bool) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        written = stranger.init("train.py", static=static)
        assert stranger.baseline == {
            "batch-size": 64,
            "lr": 1.0,
            "use_bias": True,
            "amp": False,
            "ema": False,
            "nesterov": True,
            "opt": "sgd",
            "milestones": [30, 60],
            "wd": 1e-5,
            "depth": 2,
        }
        assert stranger.task.command[1:] == ("train.py", "-wd={params.wd}", "--seed={seed}", "{params}")
        assert (written.num_parameters, written.num_left_out, written.notes) == (10, 2, ())

    def test_running_and_reading_say_the_same(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        stranger.init("train.py")
        first = stranger.text
        stranger.file.unlink()
        stranger.init("train.py", static=True)
        assert stranger.text == first

    def test_every_value_reaches_the_script(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        stranger.init("train.py")
        assert run_with(stranger)["seed"] == 7
        changed = run_with(
            stranger,
            **{"batch-size": 8, "lr": -0.5, "use_bias": False, "amp": True, "ema": True, "nesterov": False},
            milestones=[1, 2, 3],
            wd=0.25,
        )
        assert changed["batch_size"] == 8
        assert [changed[name] for name in ("use_bias", "amp", "ema", "nesterov")] == [False, True, True, False]
        assert (changed["lr"], changed["milestones"], changed["wd"]) == (-0.5, [1, 2, 3], 0.25)

    def test_code_is_what_the_script_imports(self, stranger: Any) -> None:
        stranger.commit({**scripts.ARGPARSE_FILES, "uv.lock": ""})
        stranger.init("train.py")
        assert stranger.task.code == (
            "train.py", "net/__init__.py", "net/blocks.py", "options.py", "net/sizes.py", "uv.lock"
        )  # fmt: skip

    def test_usual_arguments_become_the_baseline(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        stranger.init("train.py", "-b", "8", "--lr", "0.5", "--no_use_bias", "--data-dir=/big", "--seed", "3")
        assert (stranger.baseline["batch-size"], stranger.baseline["lr"]) == (8, 0.5)
        assert stranger.baseline["use_bias"] is False
        assert stranger.task.command[2:] == ("--data-dir=/big", "-wd={params.wd}", "--seed={seed}", "{params}")

    def test_a_wrong_usual_argument_is_told(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        with pytest.raises(UsageError, match=r"usual arguments do not fit the script: argument .*--lr: invalid float"):
            stranger.init("train.py", "--lr", "high")
        assert not stranger.file.exists()

    def test_the_prints_become_patterns_and_metrics(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        stranger.init("train.py")
        assert stranger.task.progress.patterns == ("epoch {epoch}: train loss {train_loss}, val loss {val_loss}",)
        assert [(one.name, one.better, one.role) for one in stranger.metrics.values()] == [
            ("val_loss", "lower", "judged"),
            ("train_loss", "lower", "shown"),
        ]
        assert "progress:  # guess" in stranger.text

    def test_a_script_that_prints_at_its_import_is_asked_all_the_same(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.NOISY})
        assert stranger.init("train.py").notes == ()
        assert stranger.baseline == {"lr": 0.1}

    def test_where_an_import_fails_the_tree_is_read_and_that_is_said(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.CRASHING})
        (note,) = stranger.init("train.py").notes
        assert note == (
            "train.py could not be run up to its parser (ModuleNotFoundError: No module named "
            "'a_module_that_is_not_there'); its syntax tree alone was read"
        )
        assert stranger.baseline == {"lr": 0.1}

    def test_a_small_parser_in_front_is_let_pass(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.TWO_PARSERS})
        (note,) = stranger.init("train.py").notes
        assert note == "train.py has 2 argparse parsers; the parameters are those of the one with the most options"
        assert stranger.baseline == {"lr": 0.1}

    @pytest.mark.parametrize("static", [False, True])
    def test_a_subcommand_is_guessed_and_said(self, stranger: Any, static: bool) -> None:
        stranger.commit({"train.py": scripts.SUBCOMMANDS})
        (note,) = stranger.init("train.py", static=static).notes
        assert note.startswith("train.py has the subcommands train and test; `train` is a guess")
        assert stranger.task.command[2:] == ("train", "--seed={seed}", "{params}")
        assert stranger.baseline == {"lr": 0.1}

    def test_the_usual_arguments_choose_a_subcommand(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.SUBCOMMANDS})
        stranger.init("train.py", "--verbose", "test", "--split", "all")
        assert stranger.task.command[2:] == ("--verbose", "test", "{params}")
        assert stranger.values["baseline"] == {"split": "all"}

    def test_116_options_take_one_start_and_one_look_at_each_file(
        self, stranger: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stranger.commit({"train.py": scripts.many_options(116)})
        starts: list[Any] = []
        parsed: list[Any] = []
        start, parse = subprocess.Popen, ast.parse
        popen = "orchestrator.scripts.trial.subprocess.Popen"
        monkeypatch.setattr(popen, lambda *words, **rest: starts.append(words) or start(*words, **rest))
        monkeypatch.setattr(ast, "parse", lambda *words, **rest: parsed.append(words) or parse(*words, **rest))
        assert stranger.init("train.py").num_parameters == 116
        ours = [words for (words, *_) in starts if words[1:2] == ["-c"]]
        assert (len(ours), len(parsed)) == (1, 1)


class TestIsolation:
    def test_nothing_of_the_user_is_changed_and_nothing_is_left(
        self, stranger: Any, in_place: Callable[[], list[str]]
    ) -> None:
        stranger.commit({**scripts.ARGPARSE_FILES, ".gitignore": "data/\n"})
        stranger.write({"data/rows.csv": "1\n", "notes.txt": "mine"})
        index, branches = (stranger.root / ".git/index").read_bytes(), stranger.git("for-each-ref")
        before = stranger.git("status", "--porcelain")
        stranger.init("train.py")
        assert stranger.git("status", "--porcelain") == before.replace("?? notes", "?? experiments.yaml\n?? notes")
        assert (stranger.root / ".git/index").read_bytes() == index
        assert stranger.git("for-each-ref") == branches
        assert stranger.git("worktree", "list").count("\n") == 1
        assert not (stranger.root / ".git/worktrees").exists()
        assert in_place() == []

    def test_a_script_that_passes_the_hook_by_is_ended_with_its_processes(
        self, stranger: Any, in_place: Callable[[], list[str]]
    ) -> None:
        stranger.commit({"train.py": scripts.ENDLESS})
        note, no_seed = stranger.init("train.py", seconds=1.5).notes
        assert note == (
            "train.py went on where its parameters are asked for; it was ended after 1.5 s, and so was 1 process that "
            "it had started; its syntax tree alone was read"
        )
        assert no_seed.startswith("train.py has no option for a seed")
        assert not (stranger.root / "left_behind.txt").exists()
        assert in_place() == []
        # Its copy is the working folder of all that it started, so nothing has that folder open any more.
        assert not [folder for folder in working_folders() if folder.startswith(str(stranger.root.parent))]

    def test_uncommitted_edits_are_what_is_looked_at(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.NOISY, "old.py": ""})
        stranger.write({"train.py": scripts.NOISY.replace("0.1", "0.5") + "import new\n", "new.py": ""})
        (stranger.root / "old.py").unlink()
        (note,) = stranger.init("train.py").notes
        assert note == "git does not track new.py, so no run would have it; run `git add` and commit"
        assert stranger.baseline == {"lr": 0.5}
        assert stranger.task.code == ("train.py",)

    def test_data_are_not_in_the_copy(self, stranger: Any) -> None:
        reading = "from pathlib import Path\nassert not Path('data').exists()\nassert Path('.git').exists()\n"
        stranger.commit({"train.py": reading + scripts.NOISY, ".gitignore": "data/\n"})
        stranger.write({"data/rows.csv": "1\n"})
        assert stranger.init("train.py").notes == ()

    def test_a_folder_outside_git_is_copied(self, stranger: Any, in_place: Callable[[], list[str]]) -> None:
        stranger.write({**scripts.ARGPARSE_FILES, ".venv/big": "", "net/__pycache__/x.pyc": ""})
        before = sorted(stranger.root.rglob("*"))
        assert stranger.init("train.py").notes == ()
        assert stranger.baseline["depth"] == 2
        assert sorted(stranger.root.rglob("*")) == sorted([*before, stranger.file])
        assert in_place() == []

    def test_a_large_folder_outside_git_is_not_copied(self, stranger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.scripts.trial.MAX_COPY_FILES", 3)
        stranger.write(scripts.ARGPARSE_FILES)
        (note,) = stranger.init("train.py").notes
        assert note.startswith("train.py was not run: its folder is in no repository, and holds too many files")
        assert stranger.baseline["depth"] == 2

    def test_a_static_look_starts_nothing(self, stranger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        monkeypatch.setattr("orchestrator.scripts.look.run_trial", lambda *rest: pytest.fail("it was started"))
        stranger.init("train.py", static=True)

    def test_an_interpreter_that_cannot_be_started_is_told(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.NOISY})
        stranger.write({".venv/bin/python": "no program"})
        note = stranger.init("train.py").notes[0]
        assert note.startswith("train.py was not run (")
        assert stranger.task.command[0] == ".venv/bin/python"


def working_folders() -> list[str]:
    """Return the working folders of all processes that this user may see, but of this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += [str((folder / "cwd").readlink())] if folder.name != str(os.getpid()) else []
    return found


class TestOtherStyles:
    def test_globals_that_a_configurator_overwrites(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.GLOBALS, "configurator.py": scripts.CONFIGURATOR})
        (note,) = stranger.init("train.py", "--compile=False").notes
        assert note.startswith("train.py has no option for a seed")
        assert stranger.values["baseline"] == {
            "eval_interval": 2000,
            "learning_rate": 6e-4,
            "steps": 40,
            "compile": False,
            "dataset": "tiny",
        }
        assert (stranger.task.style, stranger.task.code) == ("literal", ("train.py", "configurator.py"))
        assert "# device:  # it says where to compute" in stranger.text

    def test_hydra_is_asked_for_its_configuration(self, stranger: Any) -> None:
        files = {"train.py": scripts.HYDRA, "conf/config.yaml": scripts.HYDRA_CONFIG}
        stranger.commit({**files, "hydra/__init__.py": scripts.FAKE_HYDRA})
        assert stranger.init("train.py", "+experiment=x").notes == ()
        assert stranger.baseline == {
            "model.depth": 2,
            "model.name": "small net",
            "model.sizes": [1, 2],
            "optim.lr": 1e-3,
            "optim.nesterov": False,
            "optim.clip": None,
        }
        assert stranger.task.command[1:] == ("train.py", "+experiment=x", "seed={seed}", "{params}")
        assert stranger.task.code == ("train.py", "hydra/__init__.py", "conf/*")

    def test_without_hydra_its_file_of_settings_is_read(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.HYDRA, "conf/config.yaml": scripts.HYDRA_CONFIG})
        first, second = stranger.init("train.py").notes
        assert first.startswith("train.py did not print its configuration by `--cfg job` (ModuleNotFoundError")
        assert second == "conf/config.yaml takes in other files by `defaults`, whose parameters are missing here"
        assert stranger.baseline["optim.lr"] == 1e-3

    def test_lightning_prints_its_configuration(self, stranger: Any) -> None:
        cli = (
            "import sys\n\n\nclass LightningCLI:\n    def __init__(self):\n"
            "        assert sys.argv[1:] == ['fit', '--print_config']\n"
            "        print('seed_everything: 0\\nmodel: {lr: 0.1, bias: true, sizes: [1]}')\n"
            "        print('trainer: {devices: auto}')\n"
        )
        stranger.commit({"train.py": "from cli import LightningCLI\n\nLightningCLI()\n", "cli.py": cli})
        assert stranger.init("train.py").notes == ()
        assert stranger.baseline == {"model.lr": 0.1, "model.bias": True, "model.sizes": [1]}
        assert stranger.task.command[1:] == ("train.py", "fit", "--seed_everything={seed}", "{params}")
        assert stranger.task.forms == {"model.bias": "text", "model.sizes": "json"}

    def test_dataclasses_of_the_hugging_face_parser(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.DATACLASS})
        notes = stranger.init("train.py", static=True).notes
        assert notes[0].startswith("TrainingArguments come from an installed package")
        assert notes[-1] == "the script needs a value that is not known: put yours in the place of FILL_IN (task)"
        assert stranger.baseline == {
            "task": "FILL_IN",
            "model_name_or_path": "small",
            "use_lora": False,
            "lora_rank": 8,
            "dropout": 0.0,
            "targets": None,
            "kind": "a",
            "layers": [1, 2],
        }
        assert stranger.task.command[-2:] == ("--seed={seed}", "{params}")

    def test_flags_of_absl(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.ABSL})
        assert stranger.init("train.py", "--noaugment", "--workdir=/w").notes == ()
        assert stranger.task.style == "absl"
        assert stranger.baseline == {
            "learning_rate": 0.1,
            "layers": 3,
            "augment": False,
            "optimizer": "adam",
            "stages": ["1", "2"],
            "sizes": [1, 2],
        }
        assert stranger.task.command[2:] == ("--workdir=/w", "--seed={seed}", "{params}")

    def test_options_of_click_reach_the_script(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.CLICK})
        assert stranger.init("train.py", "-d", "4").notes == ()
        assert stranger.baseline["depth"] == 4
        told = run_with(stranger, lr=0.5, amp=True, bias=False, fast=True, opt="adam", stage=["x", "y"])
        assert told == {
            "lr": 0.5, "depth": 4, "amp": True, "bias": False, "fast": True, "opt": "adam", "stage": ["x", "y"],
            "seed": 7,
        }  # fmt: skip

    def test_arguments_of_a_function_that_fire_calls(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.FIRE})
        assert stranger.init("train.py").notes == ()
        assert stranger.task.style == "literal"
        assert stranger.baseline == {"lr": 0.1, "depth": 2, "amp": False}
        assert [one.name for one in stranger.metrics.values()] == ["test_accuracy"]

    def test_a_script_that_takes_nothing(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.NOTHING})
        note = stranger.init("train.py").notes[0]
        assert note.startswith(
            "nothing in train.py takes parameters from outside (its constants: learning_rate); let it read "
            "$KNOCKOUT_PARAMS"
        )
        assert stranger.task.command[1:] == ("train.py",)
        assert stranger.values["baseline"] == {}

    def test_a_script_that_reads_the_seed_by_itself(self, stranger: Any) -> None:
        stranger.commit({"train.py": "import os\nseed = os.environ['KNOCKOUT_SEED']\n"})
        assert len(stranger.init("train.py").notes) == 1
        assert stranger.task.reads == ("seed",)
        assert stranger.baseline == {}

    @pytest.mark.parametrize(("name", "program"), [("train.sh", "bash"), ("train.R", "Rscript")])
    def test_a_script_of_another_language(self, stranger: Any, name: str, program: str) -> None:
        stranger.commit({name: "echo val_loss: 1.2\n"})
        notes = stranger.init(name, "fast").notes
        assert (
            notes[0] == f"{name} is no Python, so its parameters are not known; name them behind `--`, such as "
            f"`knockout init {name} -- --lr=0.1`, or write them into the command"
        )
        assert stranger.task.command == (program, name, "fast")
        assert "# Nothing passes parameters on. Add the words that tell them" in stranger.text

    def test_a_program_that_can_be_executed(self, stranger: Any) -> None:
        stranger.commit({"train": "#!/bin/sh\n"})
        (stranger.root / "train").chmod(0o755)
        stranger.init("train")
        assert stranger.task.command == ("./train",)

    def test_an_executable_of_python_is_read_as_python(self, stranger: Any) -> None:
        stranger.commit({"train": f"#!/usr/bin/env python3\n{scripts.NOISY}"})
        stranger.init("train")
        assert stranger.baseline == {"lr": 0.1}


class TestTheFile:
    def test_a_second_init_changes_nothing(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        stranger.init("train.py")
        before = stranger.file.read_bytes()
        with pytest.raises(
            UsageError, match=r"is there already, and `init` writes over nothing; name another one with"
        ):
            stranger.init("train.py")
        assert stranger.file.read_bytes() == before
        other = stranger.root / "other.yaml"
        init_campaign(stranger.root / "train.py", other, InitOptions())
        assert other.read_bytes() == before

    def test_a_dangling_link_is_not_written_through(self, stranger: Any) -> None:
        stranger.commit({"train.py": scripts.NOISY})
        stranger.file.symlink_to("elsewhere.yaml")
        with pytest.raises(UsageError, match="is there already"):
            stranger.init("train.py")

    def test_a_script_below_the_campaigns_folder(self, stranger: Any) -> None:
        stranger.commit({"code/train.py": f"import lib\n{scripts.NOISY}", "code/lib.py": ""})
        stranger.init("code/train.py")
        assert stranger.task.command[1] == "code/train.py"
        assert stranger.task.code == ("code/train.py", "code/lib.py")

    def test_a_campaign_in_a_folder_of_the_repository(self, stranger: Any) -> None:
        stranger.commit({"sub/train.py": f"import lib\n{scripts.NOISY}", "sub/lib.py": "", "top.py": ""})
        stranger.file = stranger.root / "sub" / "experiments.yaml"
        assert stranger.init("sub/train.py").notes == ()
        assert stranger.task.code == ("train.py", "lib.py")

    def test_the_examples_are_a_campaign_once_they_are_uncommented(self, stranger: Any) -> None:
        stranger.commit(scripts.ARGPARSE_FILES)
        stranger.init("train.py")
        head, mark, rest = stranger.text.partition("# experiments:")
        stranger.file.write_text(head + (mark + rest).replace("# ", "", 1).replace("\n#  ", "\n "))
        changes = [one["change"] for one in stranger.values["experiments"].values()]
        assert changes == [{"lr": 3.0}, {"batch-size": 128}]
        for change in changes:
            apply_to_parameters(nest(stranger.baseline), change)


class TestRefused:
    def test_a_script_that_is_not_there(self, stranger: Any) -> None:
        with pytest.raises(UsageError, match=r"train.py: there is no such file; name the script that trains"):
            stranger.init("train.py")

    def test_a_folder(self, stranger: Any) -> None:
        stranger.write({"code/train.py": ""})
        with pytest.raises(UsageError, match=r"code: this is a folder; name the script in it that trains"):
            stranger.init("code")

    def test_a_script_beside_the_campaigns_folder(self, stranger: Any) -> None:
        stranger.write({"train.py": "", "sub/x": ""})
        stranger.file = stranger.root / "sub" / "experiments.yaml"
        with pytest.raises(UsageError, match=r"it lies outside of .*/sub, the folder of the campaign file; .*-f "):
            stranger.init("train.py")

    def test_a_campaign_in_a_folder_that_is_not_there(self, stranger: Any) -> None:
        stranger.write({"train.py": ""})
        stranger.file = stranger.root / "nowhere" / "experiments.yaml"
        with pytest.raises(UsageError, match=r"nowhere is not there; make it, or name another file"):
            stranger.init("train.py")

    def test_a_script_of_an_older_python(self, stranger: Any) -> None:
        stranger.commit({"train.py": "x = 1\nprint 'loss'\n"})
        with pytest.raises(
            UsageError, match=r"train.py:2: this is no Python of this version: .*; mend that line first"
        ):
            stranger.init("train.py")

    def test_bytes_that_are_no_source(self, stranger: Any) -> None:
        stranger.write({"train.py": "x\0y"})
        with pytest.raises(UsageError, match=r"train.py.*: this is no Python"):
            stranger.init("train.py")

    def test_a_pipe(self, stranger: Any) -> None:
        os.mkfifo(stranger.root / "train.py")
        with pytest.raises(UsageError, match=r"train.py: cannot be read: train.py is no plain file"):
            stranger.init("train.py")

    def test_a_file_that_no_program_is_known_for(self, stranger: Any) -> None:
        stranger.write({"train.xyz": "?"})
        with pytest.raises(UsageError, match=r"train.xyz: nothing says which program runs it; give it a suffix"):
            stranger.init("train.xyz")


def test_the_interpreter_of_an_environment_beside_the_script_is_taken(tmp_path: Path) -> None:
    (tmp_path / "code/.venv/bin").mkdir(parents=True)
    (tmp_path / "code/.venv/bin/python").write_text("")
    assert find_interpreter(tmp_path, "code/train.py") == "code/.venv/bin/python"
    assert find_interpreter(tmp_path, "train.py") in ("python", "python3")


def test_a_script_that_takes_its_seed_from_the_helper_says_so(stranger: Any) -> None:
    script = "import argparse\nimport knockout\nparser = argparse.ArgumentParser()\n"
    script += 'parser.add_argument("--lr", type=float, default=0.1)\nargs = parser.parse_args()\n'
    stranger.commit({"train.py": script + "print('loss:', knockout.current().seed)\n"})
    written = stranger.init("train.py")
    assert stranger.task.reads == ("seed",)
    assert written.notes == ()
