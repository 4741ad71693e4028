"""`knockout`: arguments -> one call of `orchestrator.cli`, which is imported only when there is something to do.

So `knockout --help` loads neither pandas nor SQLAlchemy, and never torch.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import TypeAlias

from orchestrator import __version__
from orchestrator.cli.options import (
    PROMOTE,
    SEARCH,
    add_campaign,
    add_file,
    add_json,
    add_search_options,
    add_slots,
    add_snapshot,
    parse_budget,
    parse_natural,
    parse_positive,
    parse_seeds,
)
from orchestrator.cli.streams import Streams
from orchestrator.errors import INTERRUPTED, KnockoutError, explain_os_error
from orchestrator.wording import visible

EPILOG = """\
exit status: 0 all well; 1 a run failed; 2 a mistake in the command, the campaign file or the data; 130 interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a mistake of the user's, or a fault of the machine, is one sentence without a traceback."""
    with Streams() as streams:
        return streams.status(_run(build_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    try:
        if options.call is None:
            return _explain_usage(options)
        # By name, so that a call for help does not pay for what a campaign needs, nor a look at the queue for pandas.
        module, _, function = options.call.partition(".")
        status: int = getattr(importlib.import_module(f"orchestrator.cli.{module}"), function)(options)
    except KnockoutError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(explain_os_error(error))
    except KeyboardInterrupt:
        print("knockout: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _explain_usage(options: argparse.Namespace) -> int:
    """Print the version, or say which commands there are."""
    if "group" in options:
        options.group.print_help(sys.stderr)
        return 2
    print(f"knockout {__version__}" if options.version else "knockout: name a command; `knockout --help` lists them")
    return 0 if options.version else 2


def _refuse(sentence: str) -> int:
    print(f"knockout: {visible(sentence)}", file=sys.stderr)
    return 2


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        prog="knockout",
        description="Ablation studies whose verdicts can be trusted: experiments.yaml in, a report out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(call=None)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_run(verbs)
    _add_plan(verbs)
    _add_next(verbs)
    _add_status(verbs)
    _add_show(verbs)
    _add_why(verbs)
    _add_report(verbs)
    _add_queue(verbs)
    _add_work(verbs)
    _add_searches(verbs)
    _add_stop(verbs)
    _add_retry(verbs)
    _add_cancel(verbs)
    _add_rebuild(verbs)
    _add_gc(verbs)
    _add_checkout(verbs)
    _add_data(verbs)
    _add_doctor(verbs)
    _add_schema(verbs)
    return parser


Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_verb(verbs: Verbs, name: str, call: str, summary: str, details: str = "") -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(call=call)
    return verb


def _add_run(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "run",
        "run.run",
        "train what is missing, judge, and write the report",
        "What has a result is never trained again. Ctrl-C once lets every training finish its epoch and\n"
        "keeps its checkpoint; run again to go on. Ctrl-C twice stops at once.",
    )
    add_campaign(verb)
    add_slots(verb)
    verb.add_argument("--retry", action="store_true", help="train failed runs again")
    verb.add_argument(
        "--until-decided",
        action="store_true",
        help="give more seeds to what is undecided, as the file's `staging` says, until nothing is",
    )
    verb.add_argument(
        "--budget", type=parse_budget, metavar="TIME", help="with --until-decided: 90s, 30m, 2h; then finish the epochs"
    )
    add_snapshot(verb)


def _add_next(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "next",
        "run.next_run",
        "name the run that would help most, and why; starts nothing",
        "By how soon the experiments that wait for it would be decided, for each second that it takes.",
    )
    add_campaign(verb)
    add_json(verb)


def _add_plan(verbs: Verbs) -> None:
    verb = _add_verb(verbs, "plan", "plan.plan", "show what would run and what it would cost; starts nothing")
    add_campaign(verb)
    add_json(verb)


def _add_status(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "status",
        "control.status",
        "show where every run stands",
        "Of all experiments, profiles and seeds, unless some are named. Exit status 0, whatever state they are in.",
    )
    add_file(verb)
    verb.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="only these")
    verb.add_argument("--profile", metavar="NAME", help="only this profile")
    verb.add_argument("--seeds", type=parse_seeds, metavar="N|A-B", help="only these seeds")
    verb.add_argument("--watch", action="store_true", help="again and again, until nothing waits or runs")
    add_json(verb)


def _add_show(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "show",
        "plan.show",
        "show an experiment worked out: its configuration, its difference to the reference, its size",
    )
    verb.add_argument("experiment", metavar="EXPERIMENT", help="e.g. H2")
    add_campaign(verb, with_experiments=False)
    add_json(verb)


def _add_why(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "why",
        "why.why",
        "work out an experiment's verdict, or say why a run is, or is not, what would be trained now",
        "Of an experiment: its verdict from the raw counts, a line a number. Of a run: compares its folder with\n"
        "the plan's run of the same experiment, seed and profile: configuration, code, captures and format.\n"
        "Where they are the same, `knockout run` takes the result.",
    )
    verb.add_argument("run", metavar="EXPERIMENT|RUN", help="an experiment's id, or a run's or the beginning of it")
    verb.add_argument(
        "--accept",
        action="store_true",
        help="take its result although the code has changed since: you vouch for it, and the report says so",
    )
    add_campaign(verb, with_experiments=False)
    add_json(verb)


def _add_queue(verbs: Verbs) -> None:
    queue = verbs.add_parser(
        "queue", help="put runs into the queue, or list it", description="Put runs into the queue, or list it."
    )
    queue.set_defaults(call=None, group=queue)
    kinds = queue.add_subparsers(title="commands", metavar="COMMAND")
    verb = _add_verb(kinds, "list", "control.queue_list", "list the runs that wait or run, in order, of all profiles")
    add_file(verb)
    add_json(verb)
    verb = _add_verb(
        kinds,
        "add",
        "queue.queue_add",
        "queue what has no result yet, for `knockout work`",
        "Each run keeps the code, the configuration and the guards that it is queued with, whatever becomes of\n"
        "the file and the checkout before it is trained.",
    )
    add_campaign(verb)
    add_snapshot(verb)


def _add_work(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "work",
        "queue.work",
        "train what waits in the queue, until nothing does",
        "Several may be at work at once, also on several machines that share the folder and, by KNOCKOUT_DATABASE,\n"
        "the queue. Ctrl-C as for `run`; `knockout report` judges what is there.",
    )
    add_file(verb)
    add_slots(verb)
    verb.add_argument("--stay", action="store_true", help="wait for runs that are queued later")


def _add_searches(verbs: Verbs) -> None:
    search = _add_verb(verbs, "search", *SEARCH)
    promote = _add_verb(verbs, "promote", *PROMOTE)
    add_search_options(search, promote)
    for verb in (search, promote):
        add_campaign(verb, with_experiments=False)
        add_snapshot(verb)
    add_slots(search, "--workers")


def _add_stop(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "stop",
        "control.stop",
        "ask every `run` and `work` to finish its epochs, keep the checkpoints, and end",
    )
    add_file(verb)


def _add_retry(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "retry",
        "control.retry",
        "let failed runs wait again, with the code that they were queued with",
        "They go on from their last checkpoint, if they have one.",
    )
    verb.add_argument("runs", nargs="*", metavar="RUN", help="a run's id, or the beginning of it")
    verb.add_argument("--failed", action="store_true", help="all failed runs")
    verb.add_argument("--class", dest="failure", metavar="CLASS", help="of those, one class: out_of_memory, ...")
    add_file(verb)


def _add_cancel(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "cancel",
        "control.cancel",
        "take waiting runs out of the queue",
        "Of several runs, either all are cancelled or none. The next `knockout run` that plans a cancelled run\n"
        "queues it again.",
    )
    verb.add_argument("runs", nargs="+", metavar="RUN", help="a run's id, or the beginning of it")
    add_file(verb)


def _add_rebuild(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "rebuild",
        "control.rebuild",
        "make results/knockout.db again from the run folders",
        "The old database is replaced once the new one is complete. What is lost is how often runs were tried, and\n"
        "which were cancelled: those wait again.",
    )
    add_file(verb)


def _add_gc(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "gc",
        "maintenance.gc",
        "remove worktrees of dead processes and branches of settled experiments",
        "A branch's commit stays under refs/knockout/. Keepers, experiments with runs that wait or run, and the\n"
        "branch that is checked out stay as they are.",
    )
    verb.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    add_file(verb)


def _add_checkout(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "checkout",
        "maintenance.checkout",
        "put an experiment's newest commit into a new folder",
    )
    verb.add_argument("experiment", metavar="EXPERIMENT", help="e.g. H2")
    verb.add_argument("--path", type=Path, metavar="DIR", help="the new folder (one in Knockout's cache)")
    add_file(verb)


def _add_report(verbs: Verbs) -> None:
    verb = _add_verb(verbs, "report", "run.report", "judge what is there and write the report")
    add_campaign(verb)


def _add_data(verbs: Verbs) -> None:
    data = verbs.add_parser("data", help="make captures and shards", description="Make captures and shards.")
    data.set_defaults(call=None, group=data)
    kinds = data.add_subparsers(title="commands", metavar="COMMAND")
    verb = _add_verb(
        kinds,
        "emulate",
        "maintenance.data_emulate",
        "make emulated captures LocA.h5 to LocD.h5",
        "LoRa preamble bursts of ten emulated transmitters, the same bytes for the same seed. They exist to\n"
        "try Knockout without a radio; what holds for them need not hold for any real one.",
    )
    verb.add_argument("--folder", type=Path, default=Path("data/emulated"), help="where to put them (%(default)s)")
    verb.add_argument("--seed", type=parse_natural, default=1, help="(%(default)s)")
    verb.add_argument(
        "--packets", type=parse_positive, default=100, help="bursts a transmitter and location (%(default)s)"
    )
    verb.add_argument("--samples", type=parse_positive, default=8192, help="samples a burst (%(default)s)")
    verb = _add_verb(
        kinds,
        "shard",
        "maintenance.data_shard",
        "cut the bursts that a profile uses out of its captures, for `python -m model.studies.radio.by_hand`",
        "One file a capture, float32 and uncompressed, and manifest.json, which says what they are. Shards that are\n"
        "there already are left as they are; a folder that holds anything else is refused.",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to put them")
    add_campaign(verb, with_experiments=False)


def _add_doctor(verbs: Verbs) -> None:
    verb = _add_verb(
        verbs,
        "doctor",
        "maintenance.doctor",
        "check this machine: Python, packages, GPU, git, disk",
        "With --gpu: what only a GPU can show. Runs the tests marked `cuda`, then ten epochs of the baseline\n"
        "at profile paper on noise, and compares their seconds with the source's. Some minutes.",
    )
    verb.add_argument("--gpu", action="store_true", help="check the CUDA path itself")
    add_file(verb)
    verb.add_argument("--profile", default="paper", metavar="NAME", help="whose baseline is timed (%(default)s)")


def _add_schema(verbs: Verbs) -> None:
    _add_verb(
        verbs,
        "schema",
        "plan.schema",
        "print the JSON Schema of experiments.yaml, for editors",
        "Save it beside the campaign file and begin that file with\n"
        "  # yaml-language-server: $schema=experiments.schema.json",
    )
