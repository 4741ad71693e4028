"""Wrong campaign files: each is refused by one sentence with file, line, what was found and what to do."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.campaign.source import Source
from orchestrator.errors import SpecError
from orchestrator.task.metric_spec import check_for_search, parse_metrics
from orchestrator.task.parameters import apply_to_parameters, nest, parameter_names
from orchestrator.task.rules import check_baseline, check_task
from orchestrator.task.schema import read_schema
from orchestrator.task.spec import parse_task

FILE = """\
campaign: tiny-gpt
task:
  command: [python, train.py, "--seed={seed}", "{params}", "{resume}"]
  forms: {compile: pair}
  code: [train.py, model.py]
  data: {text: data/tiny_char}
  outputs: [out]
  resume: {when: out/ckpt.pt, arguments: [--init_from=resume]}
  schema: {dropout: {min: 0, max: 1}}
metrics:
  val_loss: {better: lower, margin: 0.02}
  best: {better: lower, role: choose, from: {progress: tuning_loss}}
baseline:
  learning_rate: 1e-3
  n_layer: 2
  dropout: 0.0
  compile: false
experiments:
  deep: {change: {n_layer: 4}}
"""


def read(text: str) -> None:
    """Read a campaign file as far as it speaks of its task."""
    source = Source(Path("experiments.yaml"), text)
    values: dict[str, Any] = source.values
    with source.locating():
        task = parse_task(values["task"])
        check_task(task)
        baseline = nest(values["baseline"])
        check_baseline(task, baseline)
        schema = read_schema(task.schema, parameter_names(baseline))
        check_for_search(parse_metrics(values["metrics"]))
        for name, experiment in values["experiments"].items():
            apply_to_parameters(baseline, experiment["change"], schema, ("experiments", name, "change"))


def test_the_right_file_is_read() -> None:
    read(FILE)


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        (
            '  command: [python, train.py, "--seed={seed}", "{params}", "{resume}"]',
            "  command: python train.py --seed={seed} {params}",
            "3: task.command: a command is a list of words, and no shell ever reads it; write "
            '[python, train.py, "--seed={seed}", "{params}"]',
        ),
        (
            '"--seed={seed}", ',
            "",
            "3: task.command: the seed never reaches the script: put `{seed}` into `task.command` or `task.env`; if "
            "the "
            "script takes it by `import knockout` or $KNOCKOUT_SEED, write `reads: [seed]`",
        ),
        (
            '"{params}", ',
            "",
            "3: task.command: no template passes parameters on: put `{params}` or `{config}` into `task.command`",
        ),
        (
            "{seed}",
            "{sed}",
            "3: task.command[2]: there is no template `{sed}`; did you mean `{seed}`?; double the braces (`{{` and "
            "`}}`) if they are meant as they stand",
        ),
        (
            '"{params}"',
            '"--all={params}"',
            "3: task.command[3]: `{params}` stands for several arguments, or for none; make it an item of its own, "
            "found "
            "`--all={params}`",
        ),
        (
            '"{params}"',
            '"{params}", "{data.txt}"',
            "3: task.command[4]: there is no template `{data.txt}`; did you mean `{data.text}`?",
        ),
        (
            "  forms: {compile: pair}\n",
            "",
            "16: baseline.compile: `compile` is true or false, and parsers differ in how they are told so: write "
            "`forms: {compile: switch}` (`--compile` or nothing), `pair` (or `--no-compile`), `type_bool` (or "
            "`--compile=`) or `text` (or `--compile=False`)",
        ),
        (
            "  code:",
            "  coed:",
            "5: task.coed: there is no `coed` here; did you mean `code`?",
        ),
        (
            "[train.py, model.py]",
            "[train.py, /src/model.py]",
            "5: task.code[1]: `/src/model.py` leads out of the checkout; name a path below the repository's root",
        ),
        (
            "[train.py, model.py]",
            "[train.py, ../model.py]",
            "5: task.code[1]: `../model.py` leads out of the checkout; name a path below the repository's root",
        ),
        (
            "outputs: [out]",
            "outputs: [out, data]",
            "7: task.outputs[1]: the output `data` overlaps with the data `text` (data/tiny_char), so a run would "
            "change "
            "what others read; write elsewhere",
        ),
        (
            "outputs: [out]",
            "outputs: [out, model.py]",
            "7: task.outputs[1]: the output `model.py` overlaps with `model.py` of `code`; write elsewhere, or take "
            "it out "
            "of the code by `:!model.py`",
        ),
        (
            "outputs: [out]",
            "outputs: [out, out]",
            "7: task.outputs[1]: `out` is named twice; keep one of them",
        ),
        (
            "[python, train.py,",
            "[torchrun, train.py,",
            "8: task.resume.signal: SIGUSR1 ends torchrun itself, before a worker can save; write `signal: SIGTERM`",
        ),
        (
            "margin: 0.02}",
            "margin: 5 percent}",
            "11: metrics.val_loss.margin: a margin is a number above 0, or a share like `5%` below 100%, found `5 "
            "percent`",
        ),
        (
            "margin: 0.02}",
            "margin: 0.02, from: {items: test, quantile: [90, loss]}}",
            "11: metrics.val_loss.from: a quantile lies between 0 and 1, found 90; 0.9 is the 90 % quantile",
        ),
        (
            "margin: 0.02}",
            "margin: 0.02, from: {progress: val_loss, stdout: 'loss {loss}'}}",
            "11: metrics.val_loss.from: a metric has one source, found `progress` and `stdout`; keep one",
        ),
        (
            "margin: 0.02}",
            "margin: 0.02, from: {progress: val_loss, pick: {best: val_loss}}}",
            "11: metrics.val_loss.from.pick: a search may not pick the best row by `val_loss`, which the report "
            "judges or "
            "shows; pick `last`, or the best of a metric with `role: choose`",
        ),
        (
            "n_layer: 4",
            "n_layr: 4",
            "19: experiments.deep.change.n_layr: there is no parameter `n_layr`; did you mean `n_layer`?",
        ),
        (
            "n_layer: 4",
            "warmup: 4",
            "19: experiments.deep.change.warmup: `warmup` is not in `baseline`; write its value there, so that both "
            "sides "
            "say it",
        ),
        (
            "n_layer: 4",
            "n_layer: 4.5",
            "19: experiments.deep.change.n_layer: `n_layer` is a whole number (`2`) in `baseline`, found a number "
            "(`4.5`); "
            "a change keeps the type",
        ),
        (
            "n_layer: 4",
            "dropout: 1.5",
            "19: experiments.deep.change.dropout: this must be at most 1, found 1.5",
        ),
        (
            "n_layer: 4",
            "n_layer: 2",
            "19: experiments.deep.change.n_layer: `n_layer: 2` changes nothing: the stack it is put on has that value "
            "already",
        ),
        (
            "  learning_rate: 1e-3",
            "  learning_rate: 1e-3\n  compile.mode: fast",
            "18: baseline.compile: `compile` is given twice, once as a parameter and once as a section; keep one of "
            "them",
        ),
    ],
)
def test_a_wrong_file_is_told_what_to_do(right: str, wrong: str, sentence: str) -> None:
    assert right in FILE
    text = FILE.replace(right, wrong)
    if "torchrun" in wrong:
        text = text.replace("{when:", "{signal: SIGUSR1, when:")
    with pytest.raises(SpecError) as refused:
        read(text)
    assert str(refused.value) == f"experiments.yaml:{sentence}"
