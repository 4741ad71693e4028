"""Whether nothing but the declared change differs between an experiment's runs and those of its reference. Pure.

A verdict is about the declared change only if configuration, data, code, environment and device are otherwise the same.
Whatever else differs is a confound, said in a sentence that starts with its topic. What neither run recorded cannot be
compared and is none; what only one of them recorded may differ and is one.
"""

import re
from collections import Counter
from collections.abc import Mapping
from string import digits
from typing import Any

import msgspec

from model.config import COSMETIC, JobConfig
from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.runs.record import RunRecord
from orchestrator.task.knobs import leaves

Facts = dict[str, str | None]
"""What a run's numbers may depend on, its topic first -> what it was; None is something not installed."""

CODE = "code: model/"
NUM_HEX = 12
"""Of a hash, in a sentence."""
_PATH = re.compile(r"data\.captures\..*\.path")
_FREE = (*COSMETIC, "seed")
"""What may differ between an arm, which has the campaign's first seed, and its runs."""
_MACHINE = re.compile(r"x86_64|amd64|i[3-6]86|aarch64|arm64|armv\w+|ppc64le|s390x|riscv64", re.IGNORECASE)


def find_confounds(arm: Arm, reference: Arm, pairs: Mapping[int, tuple[RunRecord, RunRecord]]) -> tuple[str, ...]:
    """Say what differs between the runs of an experiment and of its reference beyond the declared change.

    Args:
        arm: the experiment; where it has a patch or a ref, its code may differ from its reference's.
        reference: the arm it is compared with.
        pairs: seed -> the experiment's run and the reference's.

    Returns:
        A sentence for each confound with the seeds it was found at, in the order of the seeds; empty is the proof.
    """
    seeds_of: dict[str, list[int]] = {}
    for seed in sorted(pairs):
        for sentence in _compare(arm, reference, *pairs[seed]):
            seeds_of.setdefault(sentence, []).append(seed)
    return tuple(f"{sentence} ({wording.seeds(seeds)})" for sentence, seeds in seeds_of.items())


def _compare(arm: Arm, reference: Arm, run: RunRecord, reference_run: RunRecord) -> list[str]:
    ours, theirs = _facts(run), _facts(reference_run)
    declared = _declared(arm, reference)
    names = [name for name in dict.fromkeys((*theirs, *ours)) if name not in declared]
    before, after = ({name: facts.get(name, wording.NOT_RECORDED) for name in names} for facts in (theirs, ours))
    return [
        *_off_plan(reference, reference_run),
        *_off_plan(arm, run),
        *(
            f"{name} {_show(name, before[name])} in {reference.id}, {_show(name, after[name])} in {arm.id}"
            for name in names
            if before[name] != after[name]
        ),
        *_beyond_own_code(arm, run, reference_run),
    ]


def _off_plan(arm: Arm, run: RunRecord) -> list[str]:
    """Say where a run was not trained as its arm is planned; arms that agree with their runs differ as declared."""
    planned, actual = _knobs(arm.config), _knobs(run.config)
    return [
        f"config: {knob} {_value(planned, knob)} in the plan of {arm.id}, {_value(actual, knob)} in its run"
        for knob in dict.fromkeys((*planned, *actual))
        if _value(planned, knob) != _value(actual, knob)
    ]


def _knobs(config: JobConfig) -> dict[str, Any]:
    values = leaves(msgspec.to_builtins(config))
    return {name: value for name, value in values if name not in _FREE and not _PATH.match(name)}


def _value(knobs: Mapping[str, Any], knob: str) -> str:
    return msgspec.json.encode(knobs[knob]).decode() if knob in knobs else "absent"


def _declared(arm: Arm, reference: Arm) -> set[str]:
    """Name the facts that the change itself is about: the code, and captures for which it names another file."""
    ours, theirs = (side.config.data.captures for side in (arm, reference))
    moved = {name for name in (*ours, *theirs) if _file(ours, name) != _file(theirs, name)}
    return {_capture(name) for name in moved} | ({CODE} if arm.code != reference.code else set())


def _file(captures: Mapping[str, Any], name: str) -> str | None:
    return captures[name].path if name in captures else None


def _capture(name: str) -> str:
    return f"data: capture {name}"


def _facts(run: RunRecord) -> Facts:
    origin = run.provenance
    hashes, accepted, versions = (origin.get(name) or {} for name in ("captures", "accepted", "environment"))
    captures = run.config.data.captures.items()
    facts: Facts = {_capture(name): hashes.get(file.path, wording.NOT_RECORDED) for name, file in captures}
    # Whoever vouched for a result of older code said that it counts as the plan's.
    facts[CODE] = accepted.get("code_tree") or origin.get("code_tree") or wording.NOT_RECORDED
    facts |= {f"environment: {name}": versions[name] for name in sorted(versions) if name not in ("platform", "gpu")}
    facts["environment: machine"] = _machine(versions.get("platform") or wording.NOT_RECORDED)
    facts["device:"] = _device(origin.get("device") or wording.NOT_RECORDED, versions.get("gpu"))
    return facts


def _machine(platform: str) -> str:
    """Keep the type of the machine: a kernel's update changes no number. It stands last, after the kernel's name."""
    found = _MACHINE.findall(platform)
    return found[-1].lower() if found else platform


def _device(slot: str, gpu: str | None) -> str:
    kind = slot.rstrip(digits)
    return f"gpu {gpu or '(name not recorded)'}" if kind == "gpu" else kind


def _show(name: str, value: str | None) -> str:
    if value is None:
        return "not installed"
    is_hash = name.startswith(("code:", "data:")) and value != wording.NOT_RECORDED
    return value[:NUM_HEX] if is_hash else value


def _beyond_own_code(arm: Arm, run: RunRecord, reference_run: RunRecord) -> list[str]:
    if not (arm.patch or arm.ref):
        return []
    # A run records it for its whole stack, so what the reference's stack has is in both.
    ours, theirs = (Counter(side.provenance.get("code_differs_beyond") or ()) for side in (run, reference_run))
    return [f"code: {file} differs in {arm.id} beyond its own change" for file in ours - theirs]
