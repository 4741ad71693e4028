"""Lists what differs between an experiment's runs and its reference's beyond the declared change. Pure.

A verdict is about the declared change only if configuration, data, code, environment and device are otherwise the same.
Every other difference is a confound. It is one sentence that starts with its topic, such as "device: cpu in baseline,
gpu NVIDIA H100 in E5". A fact that neither run recorded is skipped. A fact that only one run recorded counts as a
difference.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from string import digits
from typing import Any

import msgspec

from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.configs import look_up
from orchestrator.runs.record import RunRecord
from orchestrator.task.knobs import differing, file_name, result_knobs

Facts = dict[str, str | None]
"""Fact that a run's numbers may depend on, its topic first -> its value; None for a package not installed."""

CODE = "code:"
NUM_HEX = 12
"""Number of digits of a hash in a sentence."""
_MACHINE = re.compile(r"x86_64|amd64|i[3-6]86|aarch64|arm64|armv\w+|ppc64le|s390x|riscv64", re.IGNORECASE)


def find_confounds(arm: Arm, reference: Arm, pairs: Mapping[int, tuple[RunRecord, RunRecord]]) -> tuple[str, ...]:
    """Return what differs between the runs of an experiment and of its reference beyond the declared change.

    Args:
        arm: the experiment. If it has a patch or a ref, its code may differ from its reference's.
        reference: the arm it is compared with.
        pairs: seed -> the experiment's run and the reference's.

    Returns:
        A sentence for each confound with its seeds, in the order of the seeds; empty if there is none.
    """
    # A confound mostly holds at all seeds, so each sentence is given once with its seeds.
    seeds_of: dict[str, list[int]] = {}
    for seed in sorted(pairs):
        for sentence in _compare(arm, reference, *pairs[seed]):
            seeds_of.setdefault(sentence, []).append(seed)
    return tuple(f"{sentence} ({wording.seeds(seeds)})" for sentence, seeds in seeds_of.items())


def _compare(arm: Arm, reference: Arm, run: RunRecord, reference_run: RunRecord) -> list[str]:
    ours, theirs = _recorded_facts(arm, run), _recorded_facts(reference, reference_run)
    # What the change itself changes is no confound.
    declared = _declared_facts(arm, reference)
    names = [name for name in dict.fromkeys((*theirs, *ours)) if name not in declared]
    before, after = ({name: facts.get(name, wording.NOT_RECORDED) for name in names} for facts in (theirs, ours))
    return [
        *_find_deviations(reference, reference_run),
        *_find_deviations(arm, run),
        *(
            f"{name} {_show_fact(name, before[name])} in {reference.id}, {_show_fact(name, after[name])} in {arm.id}"
            for name in names
            if before[name] != after[name]
        ),
        *_find_other_code(arm, run, reference_run),
    ]


def _find_deviations(arm: Arm, run: RunRecord) -> list[str]:
    """Return where a run was not trained as planned. If both runs follow their plans, they differ as declared."""
    files = {*(read.path for read in arm.reads), *_hashes(run)}
    planned, actual = (_knobs_as_json(params, arm.cosmetic, files) for params in (arm.params, run.params))
    return [
        f"config: {knob} {before} in the plan of {arm.id}, {after} in its run"
        for knob, (before, after) in differing(planned, actual, absent="absent").items()
    ]


def _knobs_as_json(params: Mapping[str, Any], cosmetic: Collection[str], files: Collection[str]) -> dict[str, str]:
    knobs = result_knobs(params, cosmetic, files)
    return {knob: msgspec.json.encode(value).decode() for knob, value in knobs.items()}


def _declared_facts(arm: Arm, reference: Arm) -> set[str]:
    """Return the facts that the change itself changes: the code, and data with another file."""
    ours, theirs = ({_data_fact(read.at): read.path for read in side.reads} for side in (arm, reference))
    moved = {fact for fact in (*ours, *theirs) if ours.get(fact) != theirs.get(fact)}
    return moved | ({CODE} if arm.code != reference.code else set())


def _data_fact(at: Sequence[str]) -> str:
    """Name the file that stands at a place of the parameters: `data: captures.LocA`."""
    return f"data: {file_name('.'.join(at))}"


def _hashes(run: RunRecord) -> dict[str, str]:
    """Return path of a file -> hash, as the run recorded it."""
    return run.provenance.get("files") or {}


def _recorded_facts(arm: Arm, run: RunRecord) -> Facts:
    origin, hashes = run.provenance, _hashes(run)
    accepted, versions = (origin.get(name) or {} for name in ("accepted", "environment"))
    # A file counts at the place where the run's own parameters name it.
    named = {_data_fact(read.at): look_up(run.params, ".".join(read.at)) for read in arm.reads}
    facts: Facts = {fact: hashes.get(str(path), wording.NOT_RECORDED) for fact, path in named.items()}
    facts |= {f"data: {name}": found for name, found in (origin.get("data") or {}).items()}
    # Somebody accepted this result of older code for the plan's code, so it counts as trained with that.
    facts[CODE] = accepted.get("code_tree") or origin.get("code_tree") or wording.NOT_RECORDED
    facts |= {f"environment: {name}": versions[name] for name in sorted(versions) if name not in ("platform", "gpu")}
    # The whole platform would name a kernel's update as a confound.
    facts["environment: machine"] = _machine_type(versions.get("platform") or wording.NOT_RECORDED)
    facts["resumed:"] = "yes" if run.is_resumed else "no"
    facts["device:"] = _device_kind(origin.get("device") or wording.NOT_RECORDED, versions.get("gpu"))
    return facts


def _machine_type(platform: str) -> str:
    """Return the type of the machine, which stands last. The kernel before it changes no number."""
    found = _MACHINE.findall(platform)
    return found[-1].lower() if found else platform


def _device_kind(slot: str, gpu: str | None) -> str:
    # Two GPUs of one kind give the same numbers, so the index of the slot is cut off.
    kind = slot.rstrip(digits)
    return f"gpu {gpu or '(name not recorded)'}" if kind == "gpu" else kind


def _show_fact(name: str, value: str | None) -> str:
    if value is None:
        return "not installed"
    is_hash = name.startswith(("code:", "data:")) and value != wording.NOT_RECORDED
    return value[:NUM_HEX] if is_hash else value


def _find_other_code(arm: Arm, run: RunRecord, reference_run: RunRecord) -> list[str]:
    if not (arm.patch or arm.ref):
        return []
    # A run records the files of its whole stack, so those of the reference's stack are in both lists.
    ours, theirs = (Counter(side.provenance.get("code_differs_beyond") or ()) for side in (run, reference_run))
    return [f"code: {file} differs in {arm.id} beyond its own change" for file in ours - theirs]
