"""`knockout init` and `knockout check`: a script of one's own gets a campaign file, and the file is proved."""

import argparse
import shlex
import sys

from orchestrator.api import check as api_check
from orchestrator.api import init as api_init
from orchestrator.api.check import Checked, CheckOptions, Finding
from orchestrator.api.init import InitOptions
from orchestrator.cli.output import print_json, say
from orchestrator.wording import counted, visible

USUAL_FILE = "experiments.yaml"
WIDTH = 8
"""Letters of the column with the labels."""
MARKS = {"ok": " ", "note": "-", "problem": "!"}
"""Kind of a finding -> the sign before it."""


def init(options: argparse.Namespace) -> int:
    """Write the file, and say what a person must know and do next."""
    asked = InitOptions(start=tuple(options.start), arguments=tuple(options.arguments), is_static=options.static)
    written = api_init.init(options.script, options.file, asked)
    left_out = f", {written.num_left_out} more as comments" if written.num_left_out else ""
    # The next command must find the same file.
    which = "" if str(options.file) == USUAL_FILE else f" -f {shlex.quote(str(options.file))}"
    return say(
        (
            f"wrote {written.file}: {counted(written.num_parameters, 'parameter')}{left_out}",
            *written.notes,
            f"next: read it, take out what you never change, then `knockout check{which}`",
        )
    )


def check(options: argparse.Namespace) -> int:
    """Run the baseline, say what was found, and return 1 if something does not hold, 2 if it did not run."""
    asked = CheckOptions(
        profile=options.profile,
        sets=tuple(options.sets),
        with_resume=options.resume,
        is_writing=options.write,
        limit_seconds=options.limit,
    )
    checked = api_check.check(options.file, asked, _tell)
    if options.json:
        print_json(checked)
    else:
        say(line for finding in checked.findings for line in _lines(finding))
        _say_difference(checked)
    return checked.status


def _tell(sentence: str) -> None:
    # Not among the findings, which a program may read.
    print(visible(sentence), file=sys.stderr, flush=True)


def _lines(finding: Finding) -> list[str]:
    first, *others = finding.text.split("\n")
    indent = " " * (WIDTH + 2)
    arrows = [f"{indent}-> {offer.line}" for offer in finding.offers]
    return [f"{MARKS[finding.kind]} {finding.label:<{WIDTH}}{first}", *(indent + line for line in others), *arrows]


def _say_difference(checked: Checked) -> None:
    if checked.difference:
        say(
            ["", "added:" if checked.is_written else "`knockout check --write` would add:", checked.difference.rstrip()]
        )
