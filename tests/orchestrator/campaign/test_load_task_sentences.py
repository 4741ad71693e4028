"""Wrong task files, and the sentence that each one gets: file, line, place, what is wrong and what to do."""

from pathlib import Path

import pytest

from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import SpecError

CAMPAIGN = """\
campaign: tiny
seeds: 2
task:
  command: [python, train.py, "--seed={seed}", "{params}"]
  code: [train.py]
  forms: {amp: switch}
  progress: {stdout: "step {step}: loss {loss}"}
metrics:
  loss: {better: lower, margin: 0.1}
baseline: {lr: 0.1, depth: 2, amp: false}
experiments:
  high:
    change: {lr: 0.3}
"""
WRONG = [
    (
        "{lr: 0.3}",
        "{learnin_rate: 0.3}",
        (
            "13: experiments.high.change.learnin_rate: `learnin_rate` is not in `baseline`; write its v"
            "alue there, so that both sides say it"
        ),
    ),
    (
        "{lr: 0.3}",
        "{warmup: 3}",
        ("13: experiments.high.change.warmup: there is no parameter `warmup`; did you mean `amp`?"),
    ),
    (
        ', "{params}"]',
        "]",
        ("4: task.command: no template passes parameters on: put `{params}` or `{config}` into `task.command`"),
    ),
    (
        '"--seed={seed}", ',
        "",
        (
            "4: task.command: the seed never reaches the script: put `{seed}` into `task.command` or `t"
            "ask.env`; if the script takes it by `import knockout` or $KNOCKOUT_SEED, write `reads: [se"
            "ed]`"
        ),
    ),
    (
        '[python, train.py, "--seed={seed}", "{params}"]',
        "python train.py",
        ("4: task.command: a command is a list of words, and no shell ever reads it; write [python, train.py]"),
    ),
    (
        '"{params}"]',
        '"{parms}"]',
        (
            "4: task.command[3]: there is no template `{parms}`; did you mean `{params}`?; double the b"
            "races (`{{` and `}}`) if they are meant as they stand"
        ),
    ),
    (
        '"{params}"]',
        '"{params.lrr}", "{params}"]',
        ("4: task.command[3]: there is no parameter `lrr`; did you mean `lr`?"),
    ),
    ("  code: [train.py]\n", "", ("3: task: `code` is missing here")),
    ("code: [train.py]", "code: []", ("5: task.code: this must not be empty")),
    ("  code:", "  codes: [a]\n  code:", ("5: task.codes: there is no `codes` here; did you mean `code`?")),
    (
        "better: lower",
        "better: smaller",
        ("9: metrics.loss.better: Invalid enum value 'smaller'; valid are higher, lower"),
    ),
    (
        ", margin: 0.1",
        "",
        (
            "9: metrics.loss: a metric of role `judged` needs a `margin`, the smallest difference that "
            "matters: a number in its unit, or `margin: 5%`"
        ),
    ),
    (
        "margin: 0.1",
        "margin: 5 points",
        ("9: metrics.loss.margin: a margin is a number above 0, or a share like `5%` below 100%, found `5 points`"),
    ),
    (
        "{lr: 0.3}",
        "{depth: 2.5}",
        (
            "13: experiments.high.change.depth: `depth` is a whole number (`2`) in `baseline`, found a "
            "number (`2.5`); a change keeps the type"
        ),
    ),
    (
        "{lr: 0.3}",
        "{amp: 3}",
        (
            "13: experiments.high.change.amp: `amp` is true or false (`False`) in `baseline`, found a w"
            "hole number (`3`); a change keeps the type"
        ),
    ),
    (
        "{lr: 0.3}",
        "{lr: fast}",
        (
            "13: experiments.high.change.lr: `lr` is a number (`0.1`) in `baseline`, found a text (`fas"
            "t`); a change keeps the type"
        ),
    ),
    (
        "{better: lower, margin: 0.1}",
        "{better: lower, margin: 0.1, from: {items: test, mean: loss}}",
        ("9: metrics.loss.from.items: there are no items `test`; name its table under `task.items`"),
    ),
    (
        "{better: lower, margin: 0.1}",
        "{better: lower, margin: 0.1, from: {file: a.json}}",
        ("9: metrics.loss.from: `key` is missing here"),
    ),
    (
        "  code:",
        "  data: {text: /etc/x, y: {path: z, fingerprint: name}}\n  code:",
        ("5: task.data.y.fingerprint: Invalid enum value 'name'; valid are content, names"),
    ),
    (
        "  code:",
        "  outputs: [../out]\n  code:",
        ("5: task.outputs[0]: `../out` leads out of the checkout; name a path below the repository's root"),
    ),
    (
        "  code:",
        "  resume: {when: out/ckpt.pt, arguments: [--resume]}\n  code:",
        (
            "5: task.resume.arguments: nothing passes these arguments on; put `{resume}` into `task.com"
            "mand` where they belong"
        ),
    ),
    (
        "  code:",
        "  resume: {when: out/ckpt.pt, signal: SIGKILL}\n  code:",
        ("5: task.resume.signal: Invalid enum value 'SIGKILL'; valid are SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2"),
    ),
    (
        "  code:",
        "  style: argparser\n  code:",
        ("5: task.style: Invalid enum value 'argparser'; valid are argparse, literal, hydra, absl"),
    ),
    (
        "  code:",
        "  style: {templat: x}\n  code:",
        ("5: task.style.templat: there is no `templat` here; did you mean `template`?"),
    ),
    ("  code:", "  preload: torch\n  code:", ("5: task.preload: Expected `array`, got `str`, found `'torch'`")),
    (
        "  code:",
        "  files: {config.ini: merge}\n  code:",
        (
            "5: task.files.config.ini: `config.ini` has none of the suffixes .json, .yaml, .yml, .toml,"
            " so its format is unknown"
        ),
    ),
    (
        "  code:",
        "  env: {A: [1]}\n  code:",
        ("5: task.env.A: a variable is a text or a number, found a list; write the text in quotes"),
    ),
    ("  code:", "  devices: {gpu: 1}\n  code:", ("5: task.devices.gpu: there is no `gpu` here; did you mean `gpus`?")),
    ("  code:", "  items: {test: {file: a.csv}}\n  code:", ("5: task.items.test: `key` is missing here")),
    (
        "  high:",
        "  baseline:",
        (
            "12: experiments.baseline: `baseline` is the experiment with no change, which is written at"
            " the head of the file; choose another"
        ),
    ),
    (
        "experiments:",
        "guards: {rerun: always}\nexperiments:",
        ("11: guards.rerun: Invalid enum value 'always'; valid are resumed"),
    ),
    (
        "experiments:",
        "guards: {run_second: 3}\nexperiments:",
        ("11: guards.run_second: there is no `run_second` here; did you mean `run_seconds`?"),
    ),
    ("seeds: 2", "seeds: two", ("2: seeds: Expected `int | array`, got `str`, found `'two'`")),
    (
        "    change: {lr: 0.3}",
        "    chnage: {lr: 0.3}",
        ("13: experiments.high.chnage: there is no `chnage` here; did you mean `change`?"),
    ),
    (
        "    change: {lr: 0.3}",
        "    change: {lr: 0.1}",
        ("13: experiments.high.change.lr: `lr: 0.1` changes nothing: the stack it is put on has that value already"),
    ),
    (
        "    change: {lr: 0.3}",
        "    on: hihg\n    change: {lr: 0.3}",
        ("13: experiments.high.on: `high` stands on `hihg`, which is no experiment here; did you mean `high`?"),
    ),
    ("{amp: switch}", "{amp: swich}", ("6: task.forms.amp: there is no `swich` here; did you mean `switch`?")),
    ("{amp: switch}", "{ampp: switch}", ("6: task.forms.ampp: there is no parameter `ampp`; did you mean `amp`?")),
    (
        "  forms: {amp: switch}\n",
        "",
        (
            "9: baseline.amp: `amp` is true or false, and parsers differ in how they are told so: write"
            " `forms: {amp: switch}` (`--amp` or nothing), `pair` (or `--no-amp`), `type_bool` (or `--a"
            "mp=`) or `text` (or `--amp=False`)"
        ),
    ),
]
"""Text of the campaign, what a person writes instead, and what is said behind the name of the file."""


def test_the_campaign_itself_is_right(tmp_path: Path) -> None:
    file = tmp_path / "experiments.yaml"
    file.write_text(CAMPAIGN)
    assert "high" in open_campaign(Request(file=file)).arms


@pytest.mark.parametrize(("right", "wrong", "said"), WRONG)
def test_a_wrong_file_gets_its_line_and_a_sentence(right: str, wrong: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "experiments.yaml"
    assert CAMPAIGN.count(right) >= 1
    file.write_text(CAMPAIGN.replace(right, wrong, 1))
    with pytest.raises(SpecError) as refused:
        open_campaign(Request(file=file))
    assert str(refused.value) == f"{file}:{said}"
