"""`knockout`: arguments -> one call of a module of `orchestrator.cli`.

That module is imported only when its command is called. So `knockout --help` loads neither pandas nor SQLAlchemy.
"""

import argparse
import importlib
import sys
from pathlib import Path

from orchestrator import __version__
from orchestrator.cli.first_steps import add_first_steps, read_words
from orchestrator.cli.options import (
    PROMOTE,
    SEARCH,
    Verbs,
    add_campaign,
    add_file,
    add_json,
    add_plan,
    add_search_options,
    add_slots,
    add_snapshot,
    add_verb,
    parse_budget,
    parse_natural,
    parse_positive,
    parse_seeds,
)
from orchestrator.cli.streams import Streams
from orchestrator.errors import INTERRUPTED, KnockoutError, explain_missing_module, explain_os_error
from orchestrator.wording import visible

EPILOG = """\
exit status: 0 success; 1 a run failed; 2 an error in the command, the campaign file or the data; 130 interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status. An error of the user or the machine is printed as one sentence."""
    with Streams() as streams:
        return streams.status(_run(read_words(build_parser(), arguments)))


def _run(options: argparse.Namespace) -> int:
    try:
        if options.call is None:
            return _explain_usage(options)
        # Imported by name, so that `--help` does not load what a campaign needs, and `status` does not load pandas.
        module, _, function = options.call.partition(".")
        status: int = getattr(importlib.import_module(f"orchestrator.cli.{module}"), function)(options)
    except KnockoutError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(explain_os_error(error))
    except ModuleNotFoundError as error:
        # From a source tree, packages may be missing. A missing module of ours is our fault and keeps its traceback.
        if (error.name or "").partition(".")[0] in ("", "orchestrator", "model"):
            raise
        return _refuse(explain_missing_module(error.name or ""))
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
        description="Runs ablation studies: reads experiments.yaml, trains, judges, and writes a report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(call=None)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_first_steps(verbs)
    _add_run(verbs)
    add_plan(verbs)
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


def _add_run(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "run",
        "run.run",
        "train the missing runs, judge, and write the report",
        "A run that has a result is never trained again. After one Ctrl-C every training is asked to save and end;\n"
        "the same command goes on from its checkpoint. A second Ctrl-C stops at once.",
    )
    add_campaign(verb)
    add_slots(verb)
    verb.add_argument("--retry", action="store_true", help="train failed runs again")
    verb.add_argument(
        "--until-decided",
        action="store_true",
        help="give more seeds to undecided experiments, as `staging` in the file says, until all are decided",
    )
    verb.add_argument(
        "--budget",
        type=parse_budget,
        metavar="TIME",
        help="with --until-decided: time limit, e.g. 90s, 30m, 2h; runs under way save and end",
    )
    add_snapshot(verb)


def _add_next(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "next",
        "run.next_run",
        "name the run that would help most, and why; starts nothing",
        "That is the run that brings the experiments waiting for it closest to a decision, per second of training.",
    )
    add_campaign(verb)
    add_json(verb)


def _add_status(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "status",
        "control.status",
        "show the state of every run",
        "All experiments, profiles and seeds are listed, unless you name some. The exit status is 0 in any state.",
    )
    add_file(verb)
    verb.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="only these")
    verb.add_argument("--profile", metavar="NAME", help="only this profile")
    verb.add_argument("--seeds", type=parse_seeds, metavar="N|A-B", help="only these seeds")
    verb.add_argument("--watch", action="store_true", help="repeat until no run waits or is under way")
    add_json(verb)


def _add_show(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "show",
        "plan.show",
        "show an experiment: its full configuration, how it differs from its reference, its size",
    )
    verb.add_argument("experiment", metavar="EXPERIMENT", help="its name in the campaign file")
    add_campaign(verb, with_experiments=False)
    add_json(verb)


def _add_why(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "why",
        "why.why",
        "explain a verdict step by step, or compare a run with what would be trained now",
        "For an experiment: works its verdict out from the raw counts, one line for each number.\n"
        "For a run: compares its folder with the plan's run of the same experiment, seed and profile: configuration,\n"
        "code, data and format. If they are the same, `knockout run` takes its result.",
    )
    verb.add_argument(
        "run", metavar="EXPERIMENT|RUN", help="the id of an experiment or of a run, or the beginning of a run's id"
    )
    verb.add_argument(
        "--accept",
        action="store_true",
        help="accept the result of this run although the code has changed since; the report names you",
    )
    add_campaign(verb, with_experiments=False)
    add_json(verb)


def _add_queue(verbs: Verbs) -> None:
    queue = verbs.add_parser(
        "queue", help="put runs into the queue, or list it", description="Put runs into the queue, or list it."
    )
    queue.set_defaults(call=None, group=queue)
    kinds = queue.add_subparsers(title="commands", metavar="COMMAND")
    verb = add_verb(
        kinds,
        "list",
        "control.queue_list",
        "list the runs that wait or are under way, of all profiles, in the order of the queue",
    )
    add_file(verb)
    add_json(verb)
    verb = add_verb(
        kinds,
        "add",
        "queue.queue_add",
        "queue the runs that have no result yet, for `knockout work`",
        "Each run is trained with the code, the configuration and the guards that it is queued with. Later changes\n"
        "of the campaign file or the checkout do not affect it.",
    )
    add_campaign(verb)
    add_snapshot(verb)


def _add_work(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "work",
        "queue.work",
        "train the runs that wait in the queue, until none waits",
        "Several workers may run at once, also on several machines: these share the folder and, by KNOCKOUT_DATABASE,\n"
        "the queue. Ctrl-C does the same as in `run`. `knockout report` judges the runs that have ended.",
    )
    add_file(verb)
    add_slots(verb)
    verb.add_argument("--stay", action="store_true", help="wait for runs that are queued later")


def _add_searches(verbs: Verbs) -> None:
    search = add_verb(verbs, "search", *SEARCH)
    promote = add_verb(verbs, "promote", *PROMOTE)
    add_search_options(search, promote)
    for verb in (search, promote):
        add_campaign(verb, with_experiments=False)
        add_snapshot(verb)
    add_slots(search, "--workers")


def _add_stop(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "stop",
        "control.stop",
        "ask every `run` and `work` to let its trainings save and end, and to end too",
    )
    add_file(verb)


def _add_retry(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "retry",
        "control.retry",
        "queue failed runs again, with the code that they were queued with",
        "They go on from their last checkpoint, if they have one.",
    )
    verb.add_argument("runs", nargs="*", metavar="RUN", help="a run's id, or the beginning of it")
    verb.add_argument("--failed", action="store_true", help="all failed runs")
    verb.add_argument(
        "--class",
        dest="failure",
        metavar="CLASS",
        help="with --failed: only this class of failures, e.g. out_of_memory",
    )
    add_file(verb)


def _add_cancel(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "cancel",
        "control.cancel",
        "take waiting runs out of the queue",
        "If you name several runs, all are cancelled or none. The next `knockout run` that plans a cancelled run\n"
        "queues it again.",
    )
    verb.add_argument("runs", nargs="+", metavar="RUN", help="a run's id, or the beginning of it")
    add_file(verb)


def _add_rebuild(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "rebuild",
        "control.rebuild",
        "make results/knockout.db again from the run folders",
        "The new database replaces the old one once it is complete. It does not know how often runs were tried, nor\n"
        "which runs were cancelled: those wait again.",
    )
    add_file(verb)


def _add_gc(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "gc",
        "maintenance.gc",
        "remove worktrees of dead processes, and branches of experiments that are judged",
        "The commit of a removed branch stays under refs/knockout/. Branches of keepers and of experiments with open\n"
        "runs stay, and so does the branch that is checked out.",
    )
    verb.add_argument("--dry-run", action="store_true", help="list what would be removed, and remove nothing")
    add_file(verb)


def _add_checkout(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "checkout",
        "maintenance.checkout",
        "put an experiment's newest commit into a new folder",
    )
    verb.add_argument("experiment", metavar="EXPERIMENT", help="its name in the campaign file")
    verb.add_argument("--path", type=Path, metavar="DIR", help="the new folder (one in Knockout's cache)")
    add_file(verb)


def _add_report(verbs: Verbs) -> None:
    verb = add_verb(verbs, "report", "run.report", "judge the runs that have ended and write the report")
    add_campaign(verb)


def _add_data(verbs: Verbs) -> None:
    data = verbs.add_parser("data", help="make captures and shards", description="Make captures and shards.")
    data.set_defaults(call=None, group=data)
    kinds = data.add_subparsers(title="commands", metavar="COMMAND")
    verb = add_verb(
        kinds,
        "emulate",
        "maintenance.data_emulate",
        "make emulated captures LocA.h5 to LocD.h5",
        "LoRa preamble bursts of ten emulated transmitters; the same seed gives the same bytes. They let you try\n"
        "Knockout without a radio. Findings on them need not hold for real radios.",
    )
    verb.add_argument("--folder", type=Path, default=Path("data/emulated"), help="where to put them (%(default)s)")
    verb.add_argument("--seed", type=parse_natural, default=1, help="seed of the emulation (%(default)s)")
    verb.add_argument(
        "--packets", type=parse_positive, default=100, help="bursts per transmitter and location (%(default)s)"
    )
    verb.add_argument("--samples", type=parse_positive, default=8192, help="samples per burst (%(default)s)")
    verb = add_verb(
        kinds,
        "shard",
        "maintenance.data_shard",
        "cut the bursts that a profile uses out of its captures, for `python -m model.studies.radio.by_hand`",
        "Writes one file per capture, float32 and uncompressed, and manifest.json, which describes them. Shards that\n"
        "exist already stay as they are. A folder that holds other files is refused.",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to put them")
    add_campaign(verb, with_experiments=False)


def _add_doctor(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "doctor",
        "maintenance.doctor",
        "check this machine: Python, packages, GPU, git, disk",
        "With --gpu it checks what only a GPU can show: it runs the tests marked `cuda`. Then it trains ten epochs of\n"
        "the baseline at profile paper on noise, and compares their seconds with the source's. It takes some minutes.",
    )
    verb.add_argument("--gpu", action="store_true", help="check the CUDA path itself")
    add_file(verb)
    verb.add_argument(
        "--profile",
        default="paper",
        metavar="NAME",
        help="with --gpu: profile of the baseline that is timed (%(default)s)",
    )


def _add_schema(verbs: Verbs) -> None:
    schema = add_verb(
        verbs,
        "schema",
        "plan.schema",
        "print the JSON Schema of experiments.yaml, for editors",
        "Save it beside the campaign file and begin that file with\n"
        "  # yaml-language-server: $schema=experiments.schema.json",
    )
    add_file(schema)
