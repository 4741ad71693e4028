"""What is known of a configuration before any file is opened."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from model.config import job_from_builtins
from model.studies.radio import flags, params
from model.studies.radio.params import Answer, CampaignParams, Problem, answer, find_same_files, parse, plain_data
from tests.builders.jobs import capture
from tests.builders.jobs import params as written


def known(**changes: Any) -> Answer:
    found = parse(written(**changes))
    assert isinstance(found, CampaignParams)
    return answer(found, plain_data(found.data))


class TestSchema:
    def test_it_describes_what_a_campaign_may_write(self) -> None:
        validator = Draft202012Validator(params.schema())
        Draft202012Validator.check_schema(params.schema())
        assert validator.is_valid(written(data={"emulate": {"seed": 3}}, loss={"kind": "focal", "gamma": 3}))
        assert not validator.is_valid(written(model={"depth": 0}))
        assert not validator.is_valid(written(seed=1) | {"seed": 1})

    def test_it_names_no_run_and_has_the_defaults_of_whole_sections(self) -> None:
        schema = params.schema()
        assert list(schema["properties"]) == ["data", "model", "loss", "augment", "optim", "runtime", "test_time"]
        assert schema["properties"]["loss"]["default"] == {"kind": "cross_entropy", "label_smoothing": 0.0}
        assert schema["properties"]["optim"]["default"]["schedule"]["kind"] == "plateau"
        assert schema["$defs"]["FocalConfig"]["properties"]["gamma"]["default"] == 2.0
        assert "description" in schema["$defs"]["ModelConfig"]["properties"]["depth"]


class TestAnswer:
    def test_the_parameters_are_complete_and_are_a_job(self) -> None:
        complete = known(data={"emulate": {"packets": 3}}).params
        assert complete["model"]["depth"] == 4
        assert "emulate" not in complete["data"]
        assert job_from_builtins(complete | {"experiment": "E5", "profile": "quick", "seed": 0}).optim.epochs == 600

    def test_every_capture_is_read(self) -> None:
        reads = {read.at: read.path for read in known().reads}
        assert reads["data", "captures", "D", "path"] == "there.h5"
        assert len(reads) == 4

    def test_the_first_reported_capture_is_judged(self) -> None:
        captures = {name: capture(path=f"{name}.h5") for name in "AVCDE"}
        data = {"captures": captures, "choose": ["C"], "report": ["D", "E"]}
        assert known(data=data).splits == {"D": "judged", "E": "shown", "C": "choose", "V": "validate"}

    def test_sessions_by_ranges_label_scores_and_are_no_parameter_of_a_run(self) -> None:
        captures = {name: capture(path=f"{name}.h5") for name in "AVCD"}
        plain = known(data={"captures": captures})
        declared = captures | {"D": captures["D"] | {"sessions": [[0, 2], [2, 4]]}}
        found = known(data={"captures": declared})
        assert found.sessions == {"D": ((0, 2), (2, 4))}
        assert (found.params, plain.sessions) == (plain.params, {})

    def test_sessions_by_a_data_set_are_read_by_the_run_and_so_are_a_parameter_of_it(self) -> None:
        captures = {name: capture(path=f"{name}.h5") for name in "AVC"} | {"D": capture(path="D.h5", sessions="part")}
        found = known(data={"captures": captures})
        assert found.params["data"]["captures"]["D"]["sessions"] == "part"
        assert found.sessions == {}

    @pytest.mark.parametrize(
        ("runtime", "needs"),
        [
            ({}, ("gpu", "compiler")),
            ({"precision": "fp32", "compile": "reduce-overhead"}, ("compiler",)),
            ({"precision": "bf16", "compile": False}, ()),
        ],
    )
    def test_half_precision_needs_a_gpu_and_compiling_a_compiler(
        self, runtime: dict[str, object], needs: tuple[str, ...]
    ) -> None:
        assert known(runtime=runtime).needs == needs

    def test_guessing_is_right_once_for_each_transmitter(self) -> None:
        assert known().chance == 0.5
        assert not known().shuffled
        assert known(data={"shuffled_labels": True}).shuffled

    def test_the_report_is_told_when_a_run_was_scored_and_that_bursts_are_emulated(self) -> None:
        scored = "Each run was scored once, at the epoch of the lowest validation loss (on V)."
        assert known().notes == (scored,)
        assert known(data={"emulate": {}}).notes == (params.EMULATED, scored)

    @pytest.mark.parametrize(
        ("number", "sentence"),
        [
            (1, "Each run was scored once, after its last epoch."),
            (4, "Each run was scored once, with the mean of its weights after the last 4 epochs."),
        ],
    )
    def test_the_report_is_told_that_the_last_epochs_were_averaged(self, number: int, sentence: str) -> None:
        assert known(optim={"average_last": number}).notes == (sentence,)

    def test_more_averaged_epochs_than_trained_ones_are_refused_with_their_place(self) -> None:
        found = parse(written(optim={"epochs": 3, "average_last": 4}))
        assert isinstance(found, Problem)
        assert found.at == ("optim",)
        assert found.message.startswith("average_last 4 is more than the 3 epochs that are trained")

    def test_the_command_by_hand_trains_the_same_job(self) -> None:
        found = known(loss={"kind": "focal", "gamma": 3.0}, optim={"batch_size": 64})
        words = list(found.command or ())
        assert words[:5] == ["python", "-m", "model.studies.radio.by_hand", "--manifest", "shards/manifest.json"]
        words[words.index("{seed}")] = "7"
        assert words[words.index("--save_path") + 1] == "saved_models/{experiment}.pth"
        job = job_from_builtins(found.params | {"experiment": "{experiment}", "profile": flags.PROFILE, "seed": 7})
        assert flags.parse(words[3:]).job(job.data, "cuda") == job

    def test_the_command_says_where_its_data_differ_from_the_shards(self) -> None:
        baseline, shuffled = parse(written()), parse(written(data={"shuffled_labels": True}))
        assert isinstance(baseline, CampaignParams)
        assert isinstance(shuffled, CampaignParams)
        assert "data.shuffled_labels=true" in (answer(shuffled, plain_data(baseline.data)).command or ())


@pytest.mark.parametrize(
    ("data", "message", "at"),
    [
        ({"emulate": {"packet": 3}}, "there is no `packet` here; did you mean `packets`?", ("packet",)),
        ({"emulate": {"packets": 0}}, "Expected `int` >= 1", ("packets",)),
        ({"emulate": {"samples": 10}}, "Expected `int` >= 64", ("samples",)),
    ],
)
def test_a_wrong_emulation_is_refused_with_its_place(data: dict[str, Any], message: str, at: tuple[str, ...]) -> None:
    assert parse(written(data=data)) == Problem(message=message, at=("data", "emulate", *at))


def test_files_of_the_same_content_are_the_same_file() -> None:
    found = parse(written())
    assert isinstance(found, CampaignParams)
    assert find_same_files(found.data, {"here.h5": "0", "there.h5": "1"}) is None
    assert find_same_files(found.data, {}) is None
    assert find_same_files(found.data, {"here.h5": "0", "there.h5": "0"}) == (
        "`report: D` and `train: A` share bursts; what is used to report must be unseen; "
        "these files have the same content: here.h5, there.h5"
    )
