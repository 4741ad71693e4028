"""Rules over a task: what cannot work is refused before anything runs."""

from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.task.rules import check_arm, check_baseline, check_task, named_parameters, unnamed_parameters
from orchestrator.task.spec import parse_task

SMALL: dict[str, Any] = {"command": ["python", "train.py", "--seed={seed}", "{params}"], "code": ["train.py"]}
RESUMED: dict[str, Any] = SMALL | {
    "command": ["torchrun", "train.py", "{seed}", "{params}", "{resume}"],
    "outputs": ["out"],
    "resume": {"when": "out/ckpt.pt", "arguments": ["--resume={checkpoint}"]},
}


def checked(**keys: Any) -> None:
    check_task(parse_task(SMALL | keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"code": ["."], "outputs": ["out"]},
        {"code": ["src", ":!src/out"], "outputs": ["src/out"]},
        {"code": ["src", ":(exclude)src/runs"], "outputs": ["src/runs/a"]},
        {"code": [":(glob)**/*.py"], "outputs": ["out"]},
        {"data": {"MNIST": "../data/MNIST"}, "outputs": ["mnist_cnn.pt"]},
        {"command": ["python", "{data.x}", "{{literal}}"], "data": {"x": "/data/x"}},
        {"resume": {"when": "{run_folder}/*.ckpt"}},
        {"style": "absl", "forms": {"x": "append"}},
    ],
)
def test_a_task_that_can_work_passes(keys: dict[str, Any]) -> None:
    checked(**keys)


@pytest.mark.parametrize(
    ("keys", "message", "where"),
    [
        (
            {"env": {"A": "{params}"}},
            "`{params}` has no value here; it belongs into `command`",
            ("env", "A"),
        ),
        (
            {"items": {"test": {"file": "{out}/a.csv", "key": "k"}}},
            "there is no template `{out}`; there are {seed}, {run_folder}; double the braces (`{{` and `}}`) if they "
            "are meant as they stand",
            ("items", "test", "file"),
        ),
        (
            {"command": ["python", "{resume}"]},
            "`{resume}` needs the section `resume`, which says when and how",
            ("command",),
        ),
        ({"code": ["a", "a"]}, "`a` is named twice; keep one of them", ("code", "[1]")),
        (
            {"code": [":!/etc"]},
            "`/etc` leads out of the checkout; name a path below the repository's root",
            ("code", "[0]"),
        ),
        ({"code": [":!a"]}, "these pathspecs only exclude; name the files that a run executes", ("code",)),
        (
            {"outputs": ["../out"]},
            "`../out` leads out of the checkout; name a path below the repository's root",
            ("outputs", "[0]"),
        ),
        (
            {"outputs": ["*.pt"]},
            "`*.pt` is a glob; an output is linked before it is there, so name a plain path",
            ("outputs", "[0]"),
        ),
        (
            {"code": ["*.py"], "outputs": ["model.py"]},
            "the output `model.py` overlaps with `*.py` of `code`; write elsewhere, or take it out of the code by "
            "`:!model.py`",
            ("outputs", "[0]"),
        ),
        (
            {"code": ["src/a.py"], "outputs": ["src"]},
            "the output `src` overlaps with `src/a.py` of `code`; write elsewhere, or take it out of the "
            "code by `:!src`",
            ("outputs", "[0]"),
        ),
        (
            {"data": {"x": "data"}, "outputs": ["./data/out"]},
            "the output `./data/out` overlaps with the data `x` (data), so a run would change what others read; write "
            "elsewhere",
            ("outputs", "[0]"),
        ),
        (
            {"files": {"a.ini": "write"}},
            "`a.ini` has none of the suffixes .json, .yaml, .yml, .toml, so its format is unknown",
            ("files", "a.ini"),
        ),
        (
            {"files": {"data/a.json": "write"}, "data": {"x": "data"}},
            "`data/a.json` lies in the data `x`, which a run may only read",
            ("files", "data/a.json"),
        ),
        ({"env": {"A-B": "1"}}, "a variable is letters, digits and `_`, found `A-B`", ("env", "A-B")),
        ({"data": {"a b": "x"}}, "a name here is letters, digits, `_` and `-`, found `a b`", ("data", "a b")),
        (
            {"preload": ["torch", "import numpy"]},
            "`import numpy` is no module of Python; write what an `import` line names",
            ("preload", "[1]"),
        ),
        (
            {"progress": {"csv": "/logs/metrics.csv"}},
            "`/logs/metrics.csv` leads out of the checkout; name a path below the repository's root",
            ("progress", "csv"),
        ),
        ({"cosmetic": ["a", "a"]}, "`a` is named twice; keep one of them", ("cosmetic", "[1]")),
        (
            {"style": "literal", "forms": {"x": "switch"}},
            "style `literal` spells every parameter alike; take `forms` out",
            ("forms",),
        ),
        (
            {"style": {"template": "-{name}"}},
            "the template holds no `{value}`, found `-{name}`; write e.g. `-{name} {value}`",
            ("style", "template"),
        ),
        (
            {"resume": {"when": "{run_folder}/a", "arguments": ["--resume"]}},
            "nothing passes these arguments on; put `{resume}` into `task.command` where they belong",
            ("resume", "arguments"),
        ),
        (
            {"resume": {"when": "ckpt/a.pt"}},
            "`ckpt/a.pt` lies in none of `outputs`, so it would go with the checkout; add its folder to `task.outputs`",
            ("resume", "when"),
        ),
        (
            RESUMED | {"resume": {"when": "out/ckpt.pt", "signal": "SIGUSR1"}},
            "SIGUSR1 ends torchrun itself, before a worker can save; write `signal: SIGTERM`",
            ("resume", "signal"),
        ),
        (
            {"command": ["python", "-m", "torch.distributed.run", "a.py"]}
            | {"resume": {"when": "{run_folder}/a", "signal": "SIGUSR1"}},
            "SIGUSR1 ends torchrun itself, before a worker can save; write `signal: SIGTERM`",
            ("resume", "signal"),
        ),
    ],
)
def test_a_task_that_cannot_work_is_refused(keys: dict[str, Any], message: str, where: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        checked(**keys)
    assert (str(refused.value), refused.value.where) == (message, ("task", *where))


def test_sigusr1_is_fine_without_torchrun() -> None:
    checked(resume={"when": "{run_folder}/a", "signal": "SIGUSR1"})


class TestNamed:
    def test_parameters_that_a_template_names_are_left_out_of_the_rest(self) -> None:
        task = parse_task(
            SMALL | {"command": ["python", "{params.data}", "{params}"], "env": {"LR": "{params.optim.lr}"}}
        )
        parameters = {"data": "x", "optim": {"lr": 1, "beta": 2}, "depth": 3}
        assert named_parameters(task) == ("data", "optim.lr")
        assert unnamed_parameters(task, parameters) == {"optim.beta": 2, "depth": 3}

    def test_a_section_that_a_template_names_takes_its_parameters_with_it(self) -> None:
        task = parse_task(SMALL | {"command": ["python", "{params.optim}", "{params}"]})
        assert unnamed_parameters(task, {"optim": {"lr": 1}, "optimizer": 2}) == {"optimizer": 2}


class TestBaseline:
    @pytest.mark.parametrize(
        ("keys", "parameters"),
        [
            ({}, {"lr": 0.1}),
            ({"command": ["sh", "echo.sh", "{seed}"]}, {}),
            ({"command": ["python", "train.py"], "env": {"SEED": "{seed}"}, "reads": ["params"]}, {"lr": 0.1}),
            ({"command": ["bash", "-c", "train --seed=$KNOCKOUT_SEED {params.lr}"]}, {"lr": 0.1}),
            ({"command": ["python", "{config}"]}, {"train": {"seed": "{seed}"}}),
            ({"command": ["python"], "reads": ["seed"], "files": {"a.json": "write"}}, {"lr": 0.1}),
            ({"forms": {"use_bias": "switch"}}, {"use_bias": True}),
            ({"command": ["sh", "-c", "train $KNOCKOUT_PARAMS $KNOCKOUT_SEED"]}, {"lr": 0.1}),
            ({"data": {"x": "data/x"}}, {"folder": "{data.x}"}),
        ],
    )
    def test_a_baseline_that_reaches_the_script_passes(self, keys: dict[str, Any], parameters: dict[str, Any]) -> None:
        check_baseline(parse_task(SMALL | keys), parameters)

    @pytest.mark.parametrize(
        ("keys", "message", "where"),
        [
            (
                {"command": ["python", "{seed}"]},
                "no template passes parameters on: put `{params}` or `{config}` into `task.command`",
                ("task", "command"),
            ),
            (
                {"command": ["python", "{seed}", "{params.lr}"]},
                "no template passes `model.depth` on: put `{params}`, which spells all that are not named, into "
                "`task.command`",
                ("task", "command"),
            ),
            (
                {"command": ["python", "{params}"]},
                "the seed never reaches the script: put `{seed}` into `task.command` or `task.env`; if the script "
                "takes "
                "it by `import knockout` or $KNOCKOUT_SEED, write `reads: [seed]`",
                ("task", "command"),
            ),
            (
                {"command": ["python", "{seed}", "{params}", "{params.model.dpth}"]},
                "there is no parameter `model.dpth`; did you mean `model.depth`?",
                ("task", "command", "[3]"),
            ),
            (
                {"cosmetic": ["model.with"]},
                "there is no parameter `model.with`; did you mean `model.wide`?",
                ("task", "cosmetic", "model.with"),
            ),
            (
                {"forms": {"us_bias": "switch"}},
                "there is no parameter `us_bias`; there are lr, model.depth, model.wide",
                ("task", "forms", "us_bias"),
            ),
            (
                {},
                "`model.wide` is true or false, and parsers differ in how they are told so: write "
                "`forms: {model.wide: switch}` (`--model.wide` or nothing), `pair` (or `--no-model.wide`), "
                "`type_bool` (or `--model.wide=`) or `text` (or `--model.wide=False`)",
                ("baseline", "model", "wide"),
            ),
        ],
    )
    def test_a_baseline_that_does_not_is_refused(
        self, keys: dict[str, Any], message: str, where: tuple[str, ...]
    ) -> None:
        parameters = {"lr": 0.1, "model": {"depth": 2, "wide": True}}
        with pytest.raises(SpecError) as refused:
            check_baseline(parse_task(SMALL | keys), parameters)
        assert (str(refused.value), refused.value.where) == (message, where)

    @pytest.mark.parametrize(
        ("keys", "parameters", "message", "where"),
        [
            (
                {"command": ["{seed}", "--drop={params.m.drop}"]},
                {"m": {"drop": None}},
                "`{params.m.drop}` is null, which no text stands for",
                ("baseline", "m", "drop"),
            ),
            (
                {"data": {"text": "x"}},
                {"folder": "{data.txt}"},
                "there are no data `txt`; did you mean `text`?",
                ("baseline", "folder"),
            ),
            (
                {},
                {"folder": "{data.txt}"},
                "there are no data `txt`; give it a line in `task.data`",
                ("baseline", "folder"),
            ),
            (
                {"command": ["{seed}", "{params.lr}"]},
                {},
                "there is no parameter `lr`; `baseline` has none",
                ("task", "command", "[1]"),
            ),
        ],
    )
    def test_a_value_that_no_template_can_pass_on_is_refused(
        self, keys: dict[str, Any], parameters: dict[str, Any], message: str, where: tuple[str, ...]
    ) -> None:
        with pytest.raises(SpecError) as refused:
            check_baseline(parse_task(SMALL | keys), parameters)
        assert (str(refused.value), refused.value.where) == (message, where)


class TestArm:
    WHERE = ("experiments", "e", "change")
    BASELINE: dict[str, Any] = {"drop": 0.1, "sizes": None, "m": {"x": None}}

    @pytest.mark.parametrize(
        ("keys", "change"),
        [
            ({}, {"drop": 0.2}),
            ({"style": "literal"}, {"drop": None}),
            ({"style": "hydra"}, {"drop": None}),
            ({"style": {"template": "--{name}={value}", "null": "null"}}, {"drop": None}),
            ({"command": ["x", "{config}"]}, {"drop": None}),
            ({"forms": {"sizes": "comma"}}, {"sizes": [1, 2]}),
        ],
    )
    def test_what_the_command_line_can_tell_passes(self, keys: dict[str, Any], change: dict[str, Any]) -> None:
        check_arm(parse_task(SMALL | keys), self.BASELINE, self.BASELINE | change, self.WHERE)

    @pytest.mark.parametrize(
        ("change", "message", "name"),
        [
            (
                {"drop": None},
                "`drop` is null here and `0.1` in `baseline`; a command line leaves a null out, so the script would "
                "take its own default: pass parameters on by `{config}`",
                "drop",
            ),
            (
                {"m": {"x": True}},
                "`m.x` is true or false, and parsers differ in how they are told so: write `forms: {m.x: switch}` "
                "(`--m.x` or nothing), `pair` (or `--no-m.x`), `type_bool` (or `--m.x=`) or `text` (or `--m.x=False`)",
                "m.x",
            ),
        ],
    )
    def test_what_it_cannot_tell_is_refused(self, change: dict[str, Any], message: str, name: str) -> None:
        with pytest.raises(SpecError) as refused:
            check_arm(parse_task(SMALL), self.BASELINE, self.BASELINE | change, self.WHERE)
        assert (str(refused.value), refused.value.where) == (message, (*self.WHERE, name))
