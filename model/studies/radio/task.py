"""The questions that the orchestrator asks of this study: `python -m model.studies.radio.task schema|check|prepare`.

`schema` prints the JSON Schema of the parameters. `check` reads a `Check` as JSON from its standard input and prints a
JSON list with an `Answer` for each configuration. `prepare` reads a `Prepare`, and prints a line for each capture that
it makes. After a user's mistake the exit status is 2, and the last line of stderr is a sentence.

A check that is not deep loads no torch and opens no file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from model.config import DataConfig
from model.studies.radio.params import (
    Answer,
    CampaignParams,
    Problem,
    answer,
    find_same_files,
    parse,
    plain_data,
    schema,
)

NAME = "model.studies.radio.task"
REFUSED = 2


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The question `check`.

    The first configuration is the campaign's baseline: commands by hand train on shards of its data. `hashes` maps
    paths of captures to the hashes of their files. The folder `remembered` keeps what was read of captures.
    """

    root: str
    deep: bool = False
    configs: list[dict[str, Any]]
    hashes: dict[str, str] | None = None
    remembered: str | None = None


class Prepare(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The question `prepare`."""

    root: str
    configs: list[dict[str, Any]]


class RefusedError(Exception):
    """A question that has no answer; the text is a sentence for the user."""


def check(question: Check) -> list[Answer]:
    """Answer for each configuration, in their order."""
    # A configuration that is refused leaves the others their answers.
    parsed = [parse(values) for values in question.configs]
    manifest = next((plain_data(one.data) for one in parsed if not isinstance(one, Problem)), None)
    answers = [_answer(one, manifest, question.hashes) for one in parsed]
    if not question.deep:
        return answers
    # The packages behind it take seconds to import, and most checks are not deep.
    from model.studies.radio.deep import SharedBursts, look_deeper

    root = Path(question.root)
    shared = None
    if question.hashes is not None and question.remembered is not None:
        shared = SharedBursts(root, question.hashes, Path(question.remembered))
    sound = [
        one if isinstance(one, CampaignParams) and known.problem is None else None
        for one, known in zip(parsed, answers, strict=True)
    ]
    return look_deeper(answers, sound, root, shared)


def _answer(one: CampaignParams | Problem, manifest: DataConfig | None, hashes: dict[str, str] | None) -> Answer:
    if isinstance(one, Problem) or manifest is None:
        return Answer(problem=one if isinstance(one, Problem) else None)
    known = answer(one, manifest)
    sentence = find_same_files(one.data, hashes) if hashes is not None else None
    if sentence is None:
        return known
    return msgspec.structs.replace(known, problem=Problem(message=sentence, at=("data",)))


def prepare(question: Prepare) -> None:
    """Make missing captures.

    Raises:
        RefusedError: a configuration is refused, or captures are missing and cannot be made.
    """
    # It imports h5py, which the other questions can do without.
    from model.studies.radio.prepare import NotPreparedError
    from model.studies.radio.prepare import prepare as make_missing

    parsed = [parse(values) for values in question.configs]
    for one in parsed:
        if isinstance(one, Problem):
            raise RefusedError(f"{'.'.join(one.at)}: {one.message}" if one.at else one.message)
    data = [one.data for one in parsed if isinstance(one, CampaignParams)]
    try:
        make_missing(data, Path(question.root), print)
    except NotPreparedError as error:
        raise RefusedError(str(error)) from None


def explain_missing_module(error: ModuleNotFoundError) -> str:
    """Return a sentence on a package that only training needs, and what to do.

    Raises:
        ModuleNotFoundError: the module is one of ours, so its absence is no user's mistake.
    """
    if (error.name or "model").partition(".")[0] == "model":
        raise error
    return (
        f"the module `{error.name}` is not installed for {sys.executable}; `pip install 'knockout[studies]'` brings it"
    )


def _read() -> Any:
    """Read a question. A path that is no UTF-8 stands there as lone surrogates, which msgspec refuses."""
    return json.loads(sys.stdin.buffer.read())


def main(arguments: list[str] | None = None) -> int:
    """Answer one question; return 2 after a sentence if it has no answer, else 0."""
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description="Answer a question about the radio study.")
    parser.add_argument("question", choices=("schema", "check", "prepare"))
    asked = parser.parse_args(arguments).question
    try:
        if asked == "schema":
            print(msgspec.json.encode(schema()).decode())
        elif asked == "check":
            question = msgspec.convert(_read(), Check)
            print(msgspec.json.encode(check(question)).decode())
        else:
            prepare(msgspec.convert(_read(), Prepare))
    except ModuleNotFoundError as error:
        print(f"{NAME}: {explain_missing_module(error)}", file=sys.stderr)
        return REFUSED
    except (RefusedError, msgspec.ValidationError, ValueError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
