"""A draft as the text of a campaign file, with each line explained and each guess marked. Pure."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from orchestrator.scripts.draft import FILL_IN, Draft, LeftOut
from orchestrator.scripts.options import Option
from orchestrator.task.spelling import StyleName
from orchestrator.wording import listed, one_line

WIDTH = 120
"""Most characters of a line; a comment that does not fit stands above."""
MAX_HELP = 70
MAX_COMMENT = 100
GUESS = "guess: "
_PLAIN = re.compile(r"\.{0,2}[A-Za-z_/][\w./-]*", re.ASCII)
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan")
_FIRST = re.compile(r"(.*[._-])?(lr|learning[_-]rate|dropout|weight[_-]decay|momentum)")
"""Parameters that an example experiment changes first."""


def render(draft: Draft) -> str:
    """Return the text of the campaign file; the same draft gives the same text."""
    lines = [
        *_head(draft),
        "",
        *_task(draft),
        "",
        *_metrics(draft),
        "",
        *_baseline(draft),
        "",
        *_experiments(draft),
    ]
    return "\n".join(lines) + "\n"


def _head(draft: Draft) -> list[str]:
    return [
        f"# Written by `knockout init {one_line(draft.script)}`. Trim it: take out what you never change.",
        "# A comment that begins with `guess` marks what the script does not say.",
        *_line(f"campaign: {scalar(draft.campaign)}", "the name of this study; from its folder"),
        *_line('question: ""', "what it is to find out, in a sentence for the report"),
        *_line("seeds: 5", "runs of each experiment; a verdict is measured against the noise between seeds"),
    ]


def _line(text: str, comment: str, indent: str = "") -> list[str]:
    """Return a line with its comment behind it, or above it where both do not fit."""
    whole = f"{indent}{text}  # {comment}"
    return [whole] if len(whole) <= WIDTH else [f"{indent}# {comment}", f"{indent}{text}"]


def _task(draft: Draft) -> list[str]:
    style = "" if draft.style is None else draft.style
    return [
        *_line("task:", "how one training is started, what it reads and what it writes"),
        *_line(f"command: {_flow(draft.command)}", _command_comment(draft), "  "),
        *(
            []
            if draft.style or draft.files
            else ["  # Nothing passes parameters on. Add the words that tell them, such as --lr={params.lr}."]
        ),
        *(_line(f"style: {style}", _STYLE_COMMENTS[style], "  ") if style and not draft.files else []),
        *_forms(draft),
        *_reads(draft),
        *_code(draft),
        *(
            _line(f"files: {{{', '.join(f'{_key(one)}: merge' for one in draft.files)}}}", _FILES_COMMENT, "  ")
            if draft.files
            else []
        ),
        *_examples(draft),
        *_progress(draft),
    ]


def _command_comment(draft: Draft) -> str:
    parts = ["an argument list, never a shell"]
    if draft.style and not draft.files:
        parts.append("{params} spells the parameters of `baseline`")
    if any(FILL_IN in word for word in draft.command):
        parts.append(f"put your value in the place of {FILL_IN}")
    return "; ".join(parts)


_FILES_COMMENT = "gets the parameters of `baseline` in each run's checkout; its other keys stay"
_STYLE_COMMENTS = {
    "argparse": "how {params} spells them: --name=value",
    "literal": "how {params} spells them: --name=value, with values as Python writes them",
    "hydra": "how {params} spells them: name=value",
    "absl": "how {params} spells them: --name=value, and --name or --noname",
}


def _forms(draft: Draft) -> list[str]:
    if not draft.forms:
        return []
    guessed = {option.name for option in draft.kept if option.is_guess}
    return [
        *_line("forms:", "how the script takes booleans and lists, where parsers differ", "  "),
        *(
            line
            for name, form in draft.forms.items()
            for line in _line(
                f"{_key(name)}: {_flow_value(msgspec.to_builtins(form))}",
                (GUESS if name in guessed else "") + _form_comment(name, form),
                "    ",
            )
        ),
    ]


def _form_comment(name: str, form: Any) -> str:
    if not isinstance(form, str):
        return "the options that say true and false"
    return one_line(_FORM_COMMENTS[form].format(name=name))


_FORM_COMMENTS = {
    "switch": "--{name} or nothing",
    "pair": "--{name} or --no-{name}",
    "type_bool": "--{name}=True or --{name}=, since every other text counts as true",
    "text": "--{name}=True or --{name}=False",
    "nargs": "--{name} 1 2",
    "append": "--{name}=1 --{name}=2",
    "comma": "--{name}=1,2",
    "json": "--{name}=[1, 2]",
}


def _reads(draft: Draft) -> list[str]:
    if draft.reads_seed:
        return _line("reads: [seed]", "the script takes the seed from $KNOCKOUT_SEED by itself", "  ")
    if draft.seed:
        return []
    return [
        "  # The script has no option for the seed. Let it read $KNOCKOUT_SEED and write `reads: [seed]`, or give it",
        '  # an option and put "--seed={seed}" into the command.',
    ]


def _code(draft: Draft) -> list[str]:
    return _line(f"code: {_flow(draft.code)}", "the files that a run executes; a change of them makes new runs", "  ")


def _examples(draft: Draft) -> list[str]:
    name, data = _path_of(draft, _DATA) or ("train", "data/train")
    _, output = _path_of(draft, _OUTPUTS) or ("", "out")
    how = next((_resume_word(one.option.name) for one in draft.left if _RESUMES.fullmatch(one.option.name)), "--resume")
    return [
        f"  # data: {{{name}: {data}}}  # {EXAMPLES['data']}",
        f"  # outputs: [{output}]  # {EXAMPLES['outputs']}",
        f"  # resume: {{when: {output}/ckpt.pt, arguments: [{_text(how)}]}}  # {EXAMPLES['resume']}",
    ]


def _resume_word(name: str) -> str:
    # nanoGPT's `init_from` says how, and the others say from what.
    return f"--{name}=resume" if name == "init_from" else f"--{name}={{checkpoint}}"


_RESUMES = re.compile(r"resume(_from_checkpoint|_from|_path)?|init_from|(ckpt|checkpoint)(_path)?")
EXAMPLES = {
    "data": "what git ignores and a run reads: linked into its checkout",
    "outputs": "what it writes beside its code: kept in the run folder",
    "resume": 'how a stopped run goes on; with it, "{resume}" stands in the command',
    "progress": "lines of the output, with named numbers",
    "metrics": "the numbers that verdicts are about; the first is judged",
}
"""Key -> the end of the comment in which a draft shows how the key is written; `check` puts the key in its place."""


_DATA = re.compile(r"data|(.*_)?(data|dataset)_?(dir|path|root|folder|file)|(train|val|test)_(file|path|dir)")
_OUTPUTS = re.compile(
    r"out|output|outdir|(.*_)?(out|output|save|result|results|checkpoint|ckpt|log)_?(dir|path|folder)"
)


def _path_of(draft: Draft, expression: re.Pattern[str]) -> tuple[str, str] | None:
    """Return the name and the default of the first option that names such a place inside the checkout."""
    for one in draft.left:
        name, path = one.option.name, one.option.default
        plain = name.rpartition(".")[2].replace("-", "_").lower()
        if expression.fullmatch(plain) and isinstance(path, str) and _PLAIN.fullmatch(path) and path[0] != "/":
            cleaned = path.removeprefix("./").rstrip("/")
            if cleaned and ".." not in path:
                return re.sub(r"\W", "_", plain), cleaned
    return None


def _progress(draft: Draft) -> list[str]:
    if not draft.patterns:
        return [f'  # progress: {{stdout: "step {{step}}: val loss {{val_loss}}"}}  # {EXAMPLES["progress"]}']
    comment = f"{GUESS}lines of the output, as the script prints them: literal text with named numbers"
    if len(draft.patterns) == 1:
        return [*_line("progress:", comment, "  "), f"    stdout: {_text(draft.patterns[0].text)}"]
    return [
        *_line("progress:", comment, "  "),
        "    stdout:",
        *(f"      - {_text(pattern.text)}" for pattern in draft.patterns),
    ]


def _metrics(draft: Draft) -> list[str]:
    if not draft.metrics:
        return [
            f"# metrics:  # {EXAMPLES['metrics']}",
            "#   val_loss: {better: lower, margin: 0.02}  # margin: the smallest difference that matters",
        ]
    first = draft.metrics[0].name
    # A margin is needed where a metric is judged, and nobody but the person knows it.
    lines = _line("metrics:", "the numbers that verdicts are about; the first is judged, the others are shown")
    for metric in draft.metrics:
        source = "" if metric.progress == metric.name else f", from: {{progress: {scalar(metric.progress)}}}"
        margin = ", margin: 1%" if metric.name == first else ", role: shown"
        comment = f"{GUESS}{metric.better} is better by its name"
        comment += "; margin is the smallest difference that matters" if metric.name == first else ""
        lines += _line(f"{_key(metric.name)}: {{better: {metric.better}{margin}{source}}}", comment, "  ")
    return lines


def _baseline(draft: Draft) -> list[str]:
    comment = "the parameters of every run; only these can be changed by an experiment"
    head = _line("baseline:" if draft.kept else "baseline: {}", comment)
    lines = [line for option in draft.kept for line in _line(*_parameter(option), "  ")]
    note = ["  # The script keeps its own values for these. Take `#` away from one that an experiment is to change."]
    return [*head, *lines, *(note if draft.left else []), *(_left_line(one, draft.style) for one in draft.left)]


def _left_line(left: LeftOut, style: StyleName | None) -> str:
    option = left.option
    value = "" if option.expression else f" {scalar(option.default)}"
    parts = [left.reason, option.help, _form_hint(option) if style in ("argparse", "absl") else ""]
    return f"  # {_key(option.name)}:{value}  # {one_line('; '.join(part for part in parts if part), MAX_COMMENT)}"


def _form_hint(option: Option) -> str:
    form = option.form
    return f"its form is `{form}`" if isinstance(form, str) and not option.problem else ""


def _parameter(option: Option) -> tuple[str, str]:
    """Return the line of a parameter and its comment."""
    if option.default == FILL_IN:
        comment = "the script needs it: put your value here"
    else:
        comment = option.help or _kind_words(option)
    if option.choices:
        comment += f"; one of {listed(map(str, option.choices))}"
    if option.is_guess:
        comment = GUESS + comment
    # A script's help may hold anything, also a line's end.
    return f"{_key(option.name)}: {scalar(option.default)}", one_line(comment, MAX_HELP)


def _kind_words(option: Option) -> str:
    words = {"integer": "a whole number", "number": "a number", "text": "a text", "list": "a list"}
    named = words.get(option.kind, option.kind)
    return f"{named}; null leaves it to the script" if option.default is None else named


def _experiments(draft: Draft) -> list[str]:
    changes = list(_changes(draft.kept))[:2] or [("lr", 0.01), ("depth", 4)]
    hypotheses = ("It trains faster.", "It generalises better.")
    return [
        "# experiments:  # what is compared with the baseline; take `# ` away from these lines and write your own",
        *(
            f"#   {_experiment_name(name)}: {{change: {{{_key(name)}: {scalar(value)}}}, hypothesis: {hypothesis}}}"
            for (name, value), hypothesis in zip(changes, hypotheses, strict=False)
        ),
    ]


def _experiment_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", f"other-{name}").strip("-")


def _changes(options: Sequence[Option]) -> Iterable[tuple[str, Any]]:
    """Yield a changed value for parameters where a sensible one is known; rates come first."""
    for option in sorted(options, key=lambda one: not _FIRST.fullmatch(one.name.lower())):
        value = option.default
        others = [one for one in option.choices if one != value]
        if isinstance(value, bool):
            yield option.name, not value
        elif others:
            yield option.name, others[0]
        elif isinstance(value, int | float) and value:
            yield option.name, value * 2 if isinstance(value, int) else float(f"{value * 3:.6g}")


def scalar(value: Any) -> str:
    """Write a plain value in YAML's flow style, so that it reads back as the same value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return _quoted(str(value))
    return (
        _flow_value(value)
        if isinstance(value, list | tuple | dict)
        else _text(value)
        if isinstance(value, str)
        else repr(value)
    )


def _text(text: str) -> str:
    is_word = bool(_PLAIN.fullmatch(text)) and text.lower() not in _WORDS
    return text if is_word else _quoted(text)


def _quoted(text: str) -> str:
    # YAML's double quotes are JSON's, but it knows no pairs of surrogates, and no control character as it stands.
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in shown)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII) and name.lower() not in _WORDS else _quoted(name)


def _flow(items: Iterable[Any]) -> str:
    return f"[{', '.join(scalar(item) for item in items)}]"


def _flow_value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(str(key))}: {scalar(one)}' for key, one in value.items())}}}"
    return _flow(value) if isinstance(value, list | tuple) else scalar(value)
