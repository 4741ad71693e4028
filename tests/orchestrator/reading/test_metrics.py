"""The numbers of a finished run are read from its files; a wrong source is told so that it can be mended."""

import contextlib
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.reading import metrics as reading
from orchestrator.reading.metrics import find_file, read_metric, read_reported, read_rows, read_scalars
from orchestrator.reading.progress import Row, encode_row
from orchestrator.reading.sources import (
    Best,
    CsvSource,
    FileSource,
    JsonLinesSource,
    LogSource,
    Pick,
    ProgressSource,
    Reading,
    ReadingError,
    ReportedSource,
    Source,
    TensorBoardSource,
    TrainerStateSource,
)

MEND = "mend `metrics.m.from`, then `knockout report`: nothing is trained again"
LOG = """
step 0: train loss 4.2, val loss 4.3
\x1b[1mstep 50\x1b[0m: train loss 3.0, val loss 3.5
Accuracy: 519/597 (87%)
step 100: train loss 2.0, val loss 3.75
Accuracy: 530/597 (89%)
"""
CSV = "epoch,step,train_loss,val_loss\n0,9,1.5,\n0,0,,0.9\n1,19,0.5,\n1,0,,0.70\n2,29,0.25,\n2,0,,0.8\n"
STATE = {
    "best_metric": 0.5,
    "log_history": [
        {"epoch": 1.0, "step": 10, "loss": 0.9},
        {"epoch": 1.0, "step": 10, "eval_loss": 0.5, "eval_acc": 0.7},
        {"epoch": 2.0, "step": 20, "loss": 0.4},
        {"epoch": 2.0, "step": 20, "eval_loss": 0.6, "eval_acc": 0.8},
    ],
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(source: Source, pick: Pick = "last") -> Reading:
    return read_metric("m", source, pick)


def refused(source: Source, pick: Pick = "last") -> str:
    with pytest.raises(ReadingError) as caught:
        read(source, pick)
    told = str(caught.value)
    assert told.startswith("`m`: ")
    assert told.endswith(MEND)
    assert str(source.path) in told
    return told


class TestLogs:
    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        return write(tmp_path / "train.log", LOG)

    @pytest.mark.parametrize(
        ("pick", "value", "step"), [("last", 3.75, 100), ("first", 4.3, 0), (Best("val", "lower"), 3.5, 50)]
    )
    def test_a_row_is_picked(self, log: Path, pick: Pick, value: float, step: float) -> None:
        source = LogSource(path=log, pattern="step {step}: train loss {train}, val loss {val}", name="val")
        found = read(source, pick)
        assert (found.value, found.step) == (value, step)

    def test_a_ratio_is_kept(self, log: Path) -> None:
        found = read(LogSource(path=log, pattern="Accuracy: {correct}/{total}"))
        assert found == Reading(value=530 / 597, step=2, resolution=pytest.approx(1 / 597), ratio=(530, 597))

    def test_a_preset_is_asked_by_name(self, log: Path) -> None:
        assert read(LogSource(path=log, pattern="preset:nanogpt", name="val_loss")).value == 3.75

    def test_what_no_line_matches_is_told_with_the_last_lines(self, log: Path) -> None:
        told = refused(LogSource(path=log, pattern="validation loss {v}"))
        assert f'no line of {log} matches "validation loss {{v}}"; the last 5 are:\n  step 0' in told

    def test_two_numbers_behind_a_name_ask_for_a_pattern(self, log: Path) -> None:
        told = refused(LogSource(path=log, pattern="preset:key_value", name="Accuracy"))
        assert '"Accuracy" matches 3 numbers in the last line' in told
        assert "`Accuracy: {correct}/{total}`" in told

    def test_a_name_that_the_lines_do_not_tell_is_told_with_the_nearest(self, log: Path) -> None:
        told = refused(LogSource(path=log, pattern="preset:nanogpt", name="val_los"))
        assert "no row tells `val_los`; did you mean `val_loss`?" in told

    def test_several_quantities_ask_for_a_name(self, log: Path) -> None:
        told = refused(LogSource(path=log, pattern="train loss {a}, val loss {b}"))
        assert '"train loss {a}, val loss {b}" has `a` and `b`; say which number is meant with `name:`' in told
        assert "takes the names from the lines" in refused(LogSource(path=log, pattern="preset:keras"))

    def test_a_wrong_pattern_is_told(self, log: Path) -> None:
        assert "names no number" in refused(LogSource(path=log, pattern="loss"))

    def test_a_number_that_is_not_finite_is_told(self, tmp_path: Path) -> None:
        log = write(tmp_path / "train.log", "step 3 loss nan")
        told = refused(LogSource(path=log, pattern="step {step} loss {loss}"))
        assert "the number at step 3 is not finite; the training diverged, or another row is wanted" in told

    def test_attempts_that_follow_each_other_in_one_log_are_told_apart(self, tmp_path: Path) -> None:
        first, second = "step 1 loss 5\nstep 2 loss 1\nst", "step 2 loss 3\n"
        log = write(tmp_path / "train.log", first + second)
        source = LogSource(path=log, pattern="step {step} loss {loss}", attempt_bytes=(len(first),))
        assert read(source, Best("loss", "lower")).value == 3
        assert read(source, "first").value == 5
        assert read_metric("m", source, "first", starts_over=True).value == 3

    def test_a_step_that_begins_anew_each_epoch_is_no_attempt(self, tmp_path: Path) -> None:
        log = write(tmp_path / "train.log", "step 1 loss 5\nstep 2 loss 1\nstep 1 loss 4\n")
        assert read(LogSource(path=log, pattern="step {step} loss {loss}"), Best("loss", "lower")).value == 1

    def test_pieces_and_letters_that_are_none_change_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = write(tmp_path / "train.log", b"\xff\xfe\n" + "ä loss 12.5\n".encode() * 9)
        monkeypatch.setattr(reading, "PIECE_BYTES", 7)
        assert read(LogSource(path=log, pattern="loss {loss}")).step == 9

    def test_a_missing_log_is_told(self, tmp_path: Path) -> None:
        assert "there is no such file" in refused(LogSource(path=tmp_path / "train.log", pattern="loss {v}"))


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("b.json", '{"p95_ms": 3.5, "results": [{"acc": "0.90"}], "ok": true, "bad": NaN}'),
            ("b.yaml", "p95_ms: 3.5\nresults: [{acc: '0.90'}]\nok: true\nbad: .nan\n"),
            ("b.yml", "p95_ms: 3.5\nresults: [{acc: '0.90'}]\nok: true\nbad: .nan\n"),
            ("b.toml", 'p95_ms = 3.5\nok = true\nbad = nan\n[[results]]\nacc = "0.90"\n'),
        ],
    )
    def test_dotted_keys_are_read(self, tmp_path: Path, name: str, content: str) -> None:
        path = write(tmp_path / name, content)
        assert read(FileSource(path=path, key="p95_ms")) == Reading(value=3.5)
        assert read(FileSource(path=path, key="results.0.acc")) == Reading(value=0.9, resolution=0.01)
        assert read(FileSource(path=path, key="ok")).value == 1.0
        assert "the number is not finite" in refused(FileSource(path=path, key="bad"))
        assert "`p95`: there is no `p95`; did you mean `p95_ms`?" in refused(FileSource(path=path, key="p95"))
        assert "`results` holds `[{'acc': '0.90'}]`, a number is wanted" in refused(
            FileSource(path=path, key="results")
        )

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("b.json", "{", "b.json:1: this is no JSON"),
            ("b.yaml", "a: [", "b.yaml: this is no plain YAML"),
            ("b.yaml", "a: !!python/object:os.system {}", "b.yaml: this is no plain YAML"),
            ("b.yaml", "[" * 600, "b.yaml: this is no plain YAML"),
            ("b.toml", "a = ", "b.toml: this is no TOML"),
            ("b.toml", "a = " + "[" * 5000, "b.toml: this is no TOML"),
            (
                "b.txt",
                "1",
                "a file that ends in .json, .yaml, .yml or .toml is wanted; for a table say",
            ),
        ],
    )
    def test_what_cannot_be_read_is_told(self, tmp_path: Path, name: str, content: str, message: str) -> None:
        assert message in refused(FileSource(path=write(tmp_path / name, content), key="a"))

    def test_aliases_do_not_grow(self, tmp_path: Path) -> None:
        lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))]
        path = write(tmp_path / "b.yaml", "\n".join(lines))
        assert read(FileSource(path=path, key="a3.1.2.3.0")).value == 1.0

    def test_a_large_yaml_file_is_not_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "b.yaml", "a: 1\n" + "#" * reading.MAX_YAML_BYTES)
        assert "at most 1,048,576 are read" in refused(FileSource(path=path, key="a"))


class TestCsv:
    def test_rows_count_only_where_the_column_is_filled(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", CSV)
        assert read(CsvSource(path=path, column="val_loss")) == Reading(value=0.8, resolution=pytest.approx(0.1))
        assert read(CsvSource(path=path, column="val_loss"), "first").value == 0.9
        assert read(CsvSource(path=path, column="val_loss"), Best("val_loss", "lower")).value == 0.7

    def test_a_trusted_step_joins_the_rows_of_one_step(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", CSV)
        source = CsvSource(path=path, column="train_loss", step="epoch")
        assert read(source, Best("val_loss", "lower")) == Reading(value=0.5, step=1, resolution=0.1)

    def test_without_it_there_is_no_best_of_other_rows(self, tmp_path: Path) -> None:
        source = CsvSource(path=write(tmp_path / "m.csv", CSV), column="train_loss")
        assert "no row tells a finite `val_loss` beside `train_loss`" in refused(source, Best("val_loss", "lower"))

    def test_a_step_that_falls_means_that_the_training_went_back(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", "epoch,loss\n1,5\n2,1\n3,2\n2,4\n3,3\n")
        assert read(CsvSource(path=path, column="loss", step="epoch"), Best("loss", "lower")).value == 3
        assert read(CsvSource(path=path, column="loss"), Best("loss", "lower")).value == 1

    def test_while_it_is_written_its_last_line_is_left_out(self, tmp_path: Path) -> None:
        source = CsvSource(path=write(tmp_path / "m.csv", "loss\n0.5\n0.2"), column="loss")
        assert [row.values["loss"] for row in read_rows(source)[1]] == [0.5, 0.2]
        assert [row.values["loss"] for row in read_rows(source, is_finished=False)[1]] == [0.5]

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            ("val", "there is no column `val`; there are val_loss, name, empty"),
            ("name", "m.csv:2: `name` holds `x`, a number is wanted"),
            ("empty", "no row tells `empty`: there are no rows"),
        ],
    )
    def test_what_is_no_number_is_told(self, tmp_path: Path, column: str, message: str) -> None:
        path = write(tmp_path / "m.csv", "val_loss,name,empty\n1,x,\n")
        assert message in refused(CsvSource(path=path, column=column))


class TestJsonLines:
    def test_dotted_keys_are_read_from_the_lines_that_have_them(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.jsonl", '{"s": 1, "eval": {"acc": 0.5}}\n{"s": 2}\n{"s": 3, "eval.acc": 0.75}\n{"s"')
        assert read(JsonLinesSource(path=path, key="eval.acc")) == Reading(value=0.75)
        assert read(JsonLinesSource(path=path, key="eval.acc", step="s")).step == 3

    def test_a_spoilt_line_is_told(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.jsonl", "loss 1\n{}\n")
        assert f"{path}:1: this is no JSON" in refused(JsonLinesSource(path=path, key="loss"))


class TestTrainerState:
    def test_the_history_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "trainer_state.json", json.dumps(STATE))
        assert read(TrainerStateSource(path=path, key="eval_acc")) == Reading(value=0.8, step=20)
        assert read(TrainerStateSource(path=path, key="eval_acc"), Best("eval_loss", "lower")).value == 0.7
        assert read(TrainerStateSource(path=path, key="loss"), Best("eval_loss", "lower")).value == 0.9
        assert "no row tells `eval_accuracy`" in refused(TrainerStateSource(path=path, key="eval_accuracy"))

    def test_another_file_is_told(self, tmp_path: Path) -> None:
        path = write(tmp_path / "trainer_state.json", "[]")
        assert "has no list `log_history`, so it is no state of a Trainer" in refused(
            TrainerStateSource(path=path, key="loss")
        )


class TestReported:
    def test_lines_with_a_step_are_progress_and_others_are_of_the_whole(self, tmp_path: Path) -> None:
        text = '{"step": 1, "loss": 3}\n{"step": 2, "lo\n{"step": null, "loss": 2}\n{"acc": 0.5}\n{"acc": 0.75}\n'
        path = write(tmp_path / "reported.jsonl", text)
        assert [(row.step, row.values) for row in read_reported(path)] == [
            (1, {"loss": 3}),
            (None, {"loss": 2}),
            (None, {"acc": 0.5}),
            (None, {"acc": 0.75}),
        ]
        assert read(ReportedSource(path=path, name="acc")).value == 0.75

    def test_a_resumed_run_supersedes_its_steps(self, tmp_path: Path) -> None:
        lines = [f'{{"step": {step}, "loss": {loss}}}' for step, loss in ((1, 5), (2, 1), (3, 1), (2, 4), (3, 3))]
        path = write(tmp_path / "reported.jsonl", "\n".join(lines))
        assert read(ReportedSource(path=path, name="loss"), Best("loss", "lower")).value == 3

    def test_a_shell_script_may_report(self, tmp_path: Path) -> None:
        path = write(tmp_path / "reported.jsonl", '{"val_loss": 1.2}\n')
        assert read(ReportedSource(path=path, name="val_loss")) == Reading(value=1.2)

    def test_a_number_that_is_not_finite_is_null(self, tmp_path: Path) -> None:
        path = write(tmp_path / "reported.jsonl", '{"step": 2, "loss": null, "acc": NaN}\n')
        assert read_reported(path)[0].values == {"loss": None, "acc": None}
        assert "the number at step 2 is not finite" in refused(ReportedSource(path=path, name="loss"))

    def test_other_values_that_are_no_numbers_are_left_out(self, tmp_path: Path) -> None:
        path = write(tmp_path / "reported.jsonl", '{"val_loss": 1, "note": "x", "parts": [1]}\n')
        assert read_reported(path)[0].values == {"val_loss": 1}

    def test_a_wanted_value_that_is_no_number_is_told(self, tmp_path: Path) -> None:
        path = write(tmp_path / "reported.jsonl", '{"val_loss": "low"}\n')
        assert f"{path}:1: `val_loss` holds `low`, a number is wanted" in refused(
            ReportedSource(path=path, name="val_loss")
        )


def test_progress_is_read_as_the_attempts_hold(tmp_path: Path) -> None:
    rows = [Row(step=step, values={"loss": loss}, attempt=a) for step, loss, a in ((1, 3, 0), (2, 1, 0), (2, 2, 1))]
    path = write(tmp_path / "progress.jsonl", b"".join(map(encode_row, rows)))
    assert read_metric("m", ProgressSource(path=path, name="loss"), Best("loss", "lower")).value == 2
    assert read_metric("m", ProgressSource(path=path, name="loss"), "first", starts_over=True).value == 2
    assert read_rows(ProgressSource(path=path, name="loss")) == ("loss", rows)
    assert "no row tells `acc`; there are loss" in refused(ProgressSource(path=path, name="acc"))


class TestTensorBoard:
    def test_a_missing_package_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        told = refused(TensorBoardSource(path=tmp_path, tag="loss"))
        assert "to read events of TensorBoard, tensorboard is needed; `pip install 'knockout[tensorboard]'`" in told

    def test_a_missing_folder_is_told(self, tmp_path: Path) -> None:
        assert "there is no such folder" in refused(TensorBoardSource(path=tmp_path / "tb", tag="loss"))

    def test_scalars_are_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_fake(monkeypatch, {"loss": [(1, 3.0), (2, 1.0), (2, 2.0)], "acc": [(2, 0.5), (4, 0.75)]})
        source = TensorBoardSource(path=tmp_path, tag="acc")
        assert read(source) == Reading(value=0.75, step=4)
        assert read(source, Best("loss", "lower")).value == 0.5
        assert "its events have no scalar `lost`; did you mean `loss`?" in refused(
            TensorBoardSource(path=tmp_path, tag="lost")
        )

    def test_spoilt_events_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_fake(monkeypatch, None)
        assert "its events cannot be read: they are cut" in refused(TensorBoardSource(path=tmp_path, tag="acc"))

    def test_real_events_are_read(self, tmp_path: Path) -> None:
        reason = "only users of TensorBoard have it"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("tensorboard", reason=reason)
            writing = pytest.importorskip("torch.utils.tensorboard", reason=reason)
            with writing.SummaryWriter(str(tmp_path)) as writer:
                for step in range(3):
                    writer.add_scalar("loss/val", 1.0 / (step + 1), step)
            rows = read_scalars(tmp_path, ("loss/val",))
        assert [row.step for row in rows] == [0, 1, 2]
        assert [row.values["loss/val"] for row in rows] == pytest.approx([1, 1 / 2, 1 / 3])


def put_fake(monkeypatch: pytest.MonkeyPatch, scalars: dict[str, list[tuple[int, float]]] | None) -> None:
    """Stand in for TensorBoard's reader, as far as it is used; None stands for events that are cut."""

    def build(path: str, size_guidance: dict[str, int]) -> Any:
        assert size_guidance == {"scalars": 0}
        return types.SimpleNamespace(Reload=reload, Tags=lambda: {"scalars": list(scalars or {})}, Scalars=list_scalars)

    def reload() -> None:
        if scalars is None:
            raise ValueError("they are cut")

    def list_scalars(tag: str) -> list[Any]:
        return [types.SimpleNamespace(step=step, value=value) for step, value in (scalars or {})[tag]]

    package = "tensorboard.backend.event_processing.event_accumulator"
    module = types.ModuleType(package)
    module.__dict__.update(EventAccumulator=build, SCALARS="scalars")
    parts = package.split(".")
    for end in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[end - 1]))
    monkeypatch.setitem(sys.modules, package, module)


@pytest.mark.parametrize("name", ["b.json", "b.yaml", "b.toml", "m.csv", "m.jsonl", "trainer_state.json", "train.log"])
@given(content=st.binary(max_size=60) | st.text('{}[]",:\n0a-', max_size=30).map(str.encode))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_the_answer_is_a_number_or_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    sources: dict[str, Source] = {
        "m.csv": CsvSource(path=path, column="a"),
        "m.jsonl": JsonLinesSource(path=path, key="a"),
        "trainer_state.json": TrainerStateSource(path=path, key="a"),
        "train.log": LogSource(path=path, pattern="a {a}"),
    }
    with contextlib.suppress(ReadingError):
        assert isinstance(read(sources.get(name, FileSource(path=path, key="a"))), Reading)


class TestFinding:
    def test_a_plain_path_is_taken_as_it_is(self, tmp_path: Path) -> None:
        assert find_file(tmp_path, "a/b.csv") == tmp_path / "a/b.csv"
        assert find_file(tmp_path, "/b.csv") == Path("/b.csv")

    def test_of_names_that_differ_in_numbers_the_largest_is_meant(self, tmp_path: Path) -> None:
        for step in (500, 1000, 90):
            (tmp_path / f"out/checkpoint-{step}").mkdir(parents=True)
            write(tmp_path / f"out/checkpoint-{step}/trainer_state.json", "{}")
        found = tmp_path / "out/checkpoint-1000/trainer_state.json"
        assert find_file(tmp_path, "out/checkpoint-*/trainer_state.json") == found
        assert find_file(Path("/"), f"{tmp_path}/out/*/trainer_state.json") == found

    def test_other_names_are_told(self, tmp_path: Path) -> None:
        write(tmp_path / "a.csv", "")
        write(tmp_path / "b.csv", "")
        with pytest.raises(ReadingError, match=r"2 files have such a name, such as a.csv and b.csv; name one of them"):
            find_file(tmp_path, "*.csv")
        with pytest.raises(ReadingError, match="no file has such a name; the run did not write it"):
            find_file(tmp_path, "*.json")
