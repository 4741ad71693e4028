"""`python -m benchmarks.gpu`: what it prints, when it stops, and what it returns."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import (
    BEGIN,
    END,
    NO_TRAINING,
    PAGE,
    Bench,
    Measure,
    Run,
    choose,
    epoch_measure,
    find_version,
    lines,
    list_measures,
    main,
    writable_page,
)
from benchmarks.gpu_clock import Deadline
from benchmarks.gpu_rows import HEAD
from benchmarks.gpu_training import Variant
from benchmarks.timing import Row
from model.config import JobConfig
from model.kernels import mark_of

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
FP32 = Variant("fp32", compile=False)


def test_without_a_gpu_it_says_so_at_once() -> None:
    program = (
        "import sys; from benchmarks.gpu import main; status = main([]);"
        "assert not {'fla', 'transformers'} & set(sys.modules), sorted(sys.modules); sys.exit(status)"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr == gpu.NO_GPU.format(torch=torch.__version__) + "\n"


def test_the_sentence_without_a_gpu_names_torch_and_what_to_do() -> None:
    text = gpu.NO_GPU.format(torch="2.13.0+cpu")
    assert "torch 2.13.0+cpu sees no CUDA GPU here, so nothing was measured" in text
    assert "run it on a machine with an NVIDIA GPU and a torch that is built for CUDA, as docs/gpu.md says" in text


@pytest.fixture
def run(tiny_config: JobConfig) -> Run:
    return Run(Bench(tiny_config, CPU), Deadline(120))


def test_every_figure_but_those_of_kernels_is_measured_on_a_cpu_too(run: Run) -> None:
    wanted = ("TFLOP/s", "augmentation alone", "a checkpoint", "the rule beside")
    measures = [epoch_measure(FP32), *(measure for measure in list_measures() if measure.title.startswith(wanted))]
    assert len(measures) == 5
    rows = list(run.rows(measures))
    assert run.failed == []
    assert [row.what for row in rows] == [
        "an epoch of the paper's baseline, fp32, not compiled",
        "its first step, fp32, not compiled",
        "peak memory of training and validation, fp32, not compiled, batch 8",
        "bf16 product of two large square matrices",
        "a training step, fp32, not compiled",
        "augmentation alone, not compiled",
        "augmentation alone, as the training has it, fp32, not compiled",
        "a checkpoint: network, optimiser and best network",
        "forward and backward, torch's fused softmax attention",
        "forward and backward, our chunked rule in fp32",
    ]
    assert all(row.figure for row in rows)


def test_a_recording_without_kernels_is_a_failure_that_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (shares,) = (measure for measure in list_measures() if measure.title.startswith("share"))
    rows = list(run.rows([epoch_measure(FP32), shares]))
    assert rows[-1].figure.startswith("failed: ValueError: the profiler saw no kernel of a GPU")
    assert run.failed == [shares.title]


def test_kernels_that_are_chosen_are_not_compiled_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernels,) = choose(list_measures(), "kernels, bf16")
    monkeypatch.setattr(gpu, "cache_folder", lambda: tmp_path)
    config = Variant("bf16", compile=False).apply(run.bench.config)
    mark_of(tmp_path, config, platform.machine()).touch()
    (row,) = run.rows([kernels])
    assert row.figure == "nothing to do: they are chosen already"


def test_kernels_that_are_not_chosen_are_compiled_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    (kernels,) = choose(list_measures(), "kernels, fp16")
    monkeypatch.setattr(gpu, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(gpu, "compile_kernels", lambda config, count: asked.append((config.runtime.precision, count)))
    row, again = (row for _ in range(2) for row in run.rows([kernels]))
    assert asked == [("fp16", int(row.against.split()[0]))]
    assert again.figure == "nothing to do: they are chosen already"


def some(*rows: Row) -> Measure:
    return Measure("some", lambda bench: iter(rows))


def test_a_failure_is_a_row_and_the_next_measurement_goes_on(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(bench: Bench) -> Iterator[Row]:
        yield Row("first", "", "1")
        raise AssertionError("no kernel\nfor this")

    found = list(run.rows([Measure("both", fail), some(Row("next", "", "2"))]))
    assert found == [
        Row("first", "", "1"),
        Row("both", "", "failed: AssertionError: no kernel for this"),
        Row("next", "", "2"),
    ]
    assert run.failed == ["both"]
    assert "Traceback" in capsys.readouterr().err, "the log of a lent machine needs the place"


def test_the_end_of_the_time_ends_a_measurement_and_all_after_it(tiny_config: JobConfig) -> None:
    def last(bench: Bench) -> Iterator[Row]:
        yield Row("first", "", "1")
        time.sleep(60)

    run = Run(Bench(tiny_config, CPU), Deadline(0.3))
    rows = list(run.rows([Measure("long", last), some(Row("next", "", "2"))]))
    late = "not measured: the time was up"
    assert rows == [Row("first", "", "1"), Row("long", "", late), Row("some", "", late)]
    assert run.failed == []


def test_figures_of_a_training_need_one(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint,) = (measure for measure in list_measures() if measure.title == "a checkpoint")
    (row,) = run.rows([checkpoint])
    assert row.figure == f"failed: RuntimeError: {NO_TRAINING}"


def test_the_baseline_comes_first_uncompiled_and_then_compiled() -> None:
    titles = [measure.title for measure in list_measures()]
    assert titles[0] == "compiling fla's kernels, fp16"
    assert titles[1:3] == [f"an epoch of the paper's baseline, fp16, {how}" for how in ("not compiled", "compiled")]
    assert {f"an epoch of the paper's baseline, bf16, {how}" for how in ("not compiled", "compiled")} < set(titles)
    assert len(set(titles)) == len(titles)


def test_measurements_are_chosen_by_words_of_their_titles() -> None:
    measures = list_measures()
    assert choose(measures, None) == measures
    assert [measure.title for measure in choose(measures, "checkpoint")] == ["a checkpoint"]
    with pytest.raises(ValueError, match="no measurement has `chekpoint` in its title; the titles are: compiling fla"):
        choose(measures, "chekpoint")


def test_words_in_no_title_are_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--only", "chekpoint"])
    assert refused.value.code == 2
    assert "no measurement has `chekpoint` in its title" in capsys.readouterr().err


def with_a_gpu(monkeypatch: pytest.MonkeyPatch, measures: list[Measure]) -> None:
    """Let `main` believe in a GPU, and measure something else."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "find_versions", lambda device: ["- card: none"])
    monkeypatch.setattr(gpu, "list_measures", lambda: measures)
    monkeypatch.setattr(gpu, "seconds_since_start", lambda: 0.0)


def test_the_table_is_printed_and_put_between_the_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_a_gpu(monkeypatch, [some(Row("a", "b", "c"))])
    page = tmp_path / "gpu.md"
    page.write_text(f"before\n{BEGIN}\nyesterday\n{END}\nafter\n")
    assert main(["--write", str(page)]) == 0
    table = "\n".join(["- card: none", "", *HEAD, "| a | b | c |  |", ""])
    assert capsys.readouterr().out == table
    assert page.read_text() == f"before\n{BEGIN}\n{table}{END}\nafter\n"


def test_the_table_is_printed_alone_on_request_and_where_the_page_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_gpu(monkeypatch, [some(Row("a", "b", "c"))])
    before = PAGE.read_text()
    assert main(["--no-write"]) == 0
    assert PAGE.read_text() == before
    assert writable_page() == PAGE
    monkeypatch.setattr(gpu, "PAGE", tmp_path / "none.md")
    assert writable_page() is None
    assert main([]) == 0


def test_a_failure_sets_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(bench: Bench) -> Iterator[Row]:
        raise RuntimeError("CUDA error")
        yield

    with_a_gpu(monkeypatch, [Measure("broken", fail)])
    assert main(["--no-write"]) == 1
    assert "| broken |  | failed: RuntimeError: CUDA error |  |" in capsys.readouterr().out


def test_lines_come_as_soon_as_they_are_measured(run: Run) -> None:
    def rows(bench: Bench) -> Iterator[Row]:
        yield Row("first", "", "1")
        pytest.fail("the first line waits for the second")

    coming = lines(run, [Measure("two", rows)], [])
    assert [next(coming) for _ in range(4)][-1] == "| first |  | 1 |  |"


def test_packages_have_versions_or_are_said_to_be_missing() -> None:
    assert find_version("msgspec")[0].isdigit()
    assert find_version("no-such-package") == "not installed"
