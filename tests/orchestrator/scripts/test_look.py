"""Which way a script is looked at, and what is said where it does not answer."""

import sys
from importlib.util import find_spec
from typing import Any

import pytest

from orchestrator.errors import CodeError
from orchestrator.scripts.draft import Found
from orchestrator.scripts.imports import parse, reached_modules
from orchestrator.scripts.look import Look, look
from orchestrator.scripts.trial import Place
from tests.builders import scripts


def looked(stranger: Any, *arguments: str, static: bool = True, interpreter: str = "python") -> Found:
    modules = reached_modules(stranger.root, "train.py", parse(stranger.root / "train.py"))
    return look(
        Look(
            place=Place(root=stranger.root),
            script="train.py",
            modules=tuple(modules),
            interpreter=interpreter,
            arguments=arguments,
            is_static=static,
            seconds=60.0,
        )
    )


def names(found: Found) -> list[str]:
    return [option.name for option in found.options]


def test_a_parser_in_an_imported_module_is_found(stranger: Any) -> None:
    stranger.write({"train.py": "import lib, options\n", "lib.py": "x = 1\n", "options.py": scripts.NOISY})
    assert names(looked(stranger)) == ["lr", "seed"]


def test_options_that_other_modules_add_are_found(stranger: Any) -> None:
    stranger.write(scripts.ARGPARSE_FILES)
    assert names(looked(stranger))[-1] == "depth"


def test_names_that_are_worked_out_are_said(stranger: Any) -> None:
    loop = "import argparse\np = argparse.ArgumentParser()\nfor name in 'ab':\n    p.add_argument(f'--{name}')\n"
    stranger.write({"train.py": loop})
    assert looked(stranger).notes == ("train.py works out the names of 1 option, which the tree alone does not show",)


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed here")
def test_the_parser_of_hugging_face_is_asked_itself(stranger: Any) -> None:
    stranger.write(
        {
            "train.py": "from dataclasses import dataclass\nfrom transformers import HfArgumentParser\n\n\n"
            "@dataclass\nclass A:\n    lr: float = 1\n    amp: bool = True\n\n\n"
            "HfArgumentParser(A).parse_args_into_dataclasses()\n"
        }
    )
    found = looked(stranger, static=False, interpreter=sys.executable)
    assert found.notes == ()
    by_tree = looked(stranger).options
    told = [(one.name, one.kind, one.default, one.form) for one in found.options]
    assert told == [(one.name, one.kind, one.default, one.form) for one in by_tree]


def test_hydras_settings_without_a_file_are_said(stranger: Any) -> None:
    stranger.write({"train.py": scripts.HYDRA})
    assert looked(stranger).notes == ("the settings of train.py were not found; write the parameters into `baseline`",)


def test_hydras_folder_may_lie_above_the_script(stranger: Any) -> None:
    script = scripts.HYDRA.replace('"conf"', '"../conf"')
    stranger.write({"code/train.py": script, "conf/config.yaml": "lr: 0.1\n"})
    modules = reached_modules(stranger.root, "code/train.py", parse(stranger.root / "code/train.py"))
    asked = Look(
        place=Place(root=stranger.root),
        script="code/train.py",
        modules=tuple(modules),
        interpreter="python",
        arguments=("a=b",),
        is_static=True,
        seconds=1.0,
    )
    assert (names(look(asked)), look(asked).code, look(asked).words) == (["lr"], ("conf/*",), ("a=b",))


@pytest.mark.parametrize(
    ("made", "arguments", "words"),
    [
        ("LightningCLI()", (), ("fit",)),
        ("LightningCLI()", ("--config", "a.yaml"), ("fit", "--config", "a.yaml")),
        ("LightningCLI()", ("validate",), ("validate",)),
        ("LightningCLI(run=False)", (), ()),
    ],
)
def test_lightning_is_given_a_subcommand(
    stranger: Any, made: str, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    stranger.write({"train.py": f"from lightning.pytorch.cli import LightningCLI\n{made}\n"})
    found = looked(stranger, *arguments)
    assert (found.words, names(found)) == (words, ["seed_everything"])
    assert found.notes == (
        "the tree does not show the options of train.py; write those that you change into `baseline`",
    )


def test_jsonargparse_prints_its_configuration(stranger: Any) -> None:
    fake = (
        "import sys\nclass ArgumentParser:\n    def add_argument(self, *words, **rest): ...\n"
        "    def parse_args(self):\n        assert sys.argv[1:] == ['--x=1', '--print_config']\n"
        "        print('lr: 0.1')\n"
    )
    script = "from jsonargparse import ArgumentParser\np = ArgumentParser()\np.add_argument('--lr', type=float)\n"
    stranger.write({"train.py": f"{script}p.parse_args()\n", "jsonargparse.py": fake})
    found = looked(stranger, "--x=1", static=False)
    assert (names(found), found.words, found.notes) == (["lr"], ("--x=1",), ())


def test_a_script_that_prints_no_configuration_is_read(stranger: Any) -> None:
    script = "from jsonargparse import ArgumentParser\np = ArgumentParser()\np.add_argument('--lr', type=float)\n"
    stranger.write({"train.py": script, "jsonargparse.py": "ArgumentParser = None\n"})
    found = looked(stranger, static=False)
    assert found.notes == (
        "train.py did not print its configuration by `--print_config` (TypeError: 'NoneType' object is not callable); "
        "its syntax tree alone was read",
    )
    assert names(found) == ["lr"]


def test_a_script_that_dies_without_a_word_is_read(stranger: Any) -> None:
    stranger.write({"train.py": "import os\nos._exit(0)\n" + scripts.NOISY})
    assert looked(stranger, static=False).notes == (
        "train.py could not be run up to its parser (it said nothing); its syntax tree alone was read",
    )


def test_a_repository_that_git_refuses_is_said(stranger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise CodeError("git: no room")

    monkeypatch.setattr("orchestrator.scripts.look.throw_away_code", refuse)
    stranger.write({"train.py": scripts.NOISY})
    assert looked(stranger, static=False).notes == (
        "train.py was not run (git: no room); its syntax tree alone was read",
    )
