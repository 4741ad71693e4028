"""Before anything starts: would what is queued be confounded with what is there?"""

import json
from typing import Any

from orchestrator.api.queue import warn_of_confounds
from orchestrator.campaign.selection import Request, make_plan, open_campaign
from orchestrator.code.sources import find_code
from orchestrator.launch.slots import Slot

CPU = Slot("cpu0", {})


def foresee(study: Any, *finished: str, slot: Slot = CPU) -> list[str]:
    opened = open_campaign(Request(file=study.file, profile="quick", seeds=(0,), experiments=("E5",)))
    return warn_of_confounds(study.paths, make_plan(opened, find_code(study.paths, snapshot=True)), finished, slot)


def test_what_was_trained_here_with_the_same_packages_is_no_confound(study: Any) -> None:
    baseline = study.end(study.start("baseline"))
    study.add("E5")
    assert foresee(study, baseline) == []


def test_a_reference_trained_with_another_torch_is_told_before_the_experiment_starts(study: Any) -> None:
    baseline = study.end(study.start("baseline"))
    path = study.paths.run(baseline).provenance
    origin = json.loads(path.read_bytes())
    origin["environment"]["torch"] = "1.0"
    path.write_text(json.dumps(origin))
    study.add("E5")
    (sentence,) = foresee(study, baseline)
    assert sentence.startswith("E5 would be confounded: environment: torch 1.0 in baseline, ")
    assert "(seed 0)" in sentence


def test_a_reference_trained_on_a_cpu_confounds_what_a_gpu_is_to_train(study: Any) -> None:
    baseline = study.end(study.start("baseline"))
    study.add("E5")
    (sentence,) = foresee(study, baseline, slot=Slot("gpu0", {"CUDA_VISIBLE_DEVICES": "0"}))
    assert "cpu in baseline, gpu" in sentence


def test_of_many_differences_the_first_is_said_and_the_others_are_counted(study: Any) -> None:
    baseline = study.end(study.start("baseline"))
    path = study.paths.run(baseline).provenance
    origin = json.loads(path.read_bytes())
    origin["environment"] |= {"torch": "1.0", "numpy": "1.0", "h5py": "1.0"}
    path.write_text(json.dumps(origin))
    study.add("E5")
    (sentence,) = foresee(study, baseline)
    assert sentence.startswith("E5 would be confounded: environment: h5py 1.0 in baseline, ")
    assert sentence.endswith(" (seed 0); and 2 more, which the report lists")


def test_an_experiment_that_was_refused_has_nothing_to_compare_and_is_counted(study: Any) -> None:
    study.edit("E5: {title: Focal,", "E5: {patch: no.diff, title: Focal,")
    study.commit()
    study.end(study.start("baseline"))
    baseline, refused = sorted(study.add("E5"), key=lambda run: run.startswith("E5"))
    assert foresee(study, baseline, refused) == []
    study.paths.run(baseline).result.unlink()
    (sentence,) = foresee(study, refused)
    assert sentence == "1 experiment has no two runs that were both started, so there is nothing to compare: E5"


def test_where_all_or_nothing_is_trained_there_is_nothing_to_foresee(study: Any) -> None:
    ids = study.add("E5")
    assert foresee(study) == []
    assert foresee(study, *ids) == []


def test_seeds_that_are_not_wanted_yet_are_left_out(study: Any) -> None:
    study.edit("seeds: 2\n", "seeds: 2\nstaging: {screen_seeds: 2, max_seeds: 3}\n")
    study.commit()
    baseline = study.end(study.start("baseline"))
    study.add("E5")
    opened = open_campaign(Request(file=study.file, profile="quick", seeds=(0,), experiments=("E5",)))
    whole = make_plan(opened, find_code(study.paths, snapshot=True))
    assert len(opened.keep_wanted(whole).runs) < len(whole.runs)
    assert warn_of_confounds(study.paths, opened.keep_wanted(whole), [baseline], CPU) == []
