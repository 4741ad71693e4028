"""Rows of the GPU's table, from given numbers."""

import pytest

from benchmarks.gpu_rows import (
    TIME_UP,
    EpochTimes,
    as_line,
    augment_row,
    checkpoint_row,
    datasheet_tflops,
    epoch_rows,
    failed_row,
    flops_rows,
    idle_row,
    kernels_row,
    memory_row,
    rule_row,
    share_rows,
    start_row,
    time_up_row,
)

TIMES = EpochTimes(
    first_step_seconds=31.5,
    warm_up_seconds=40.0,
    num_steps=12,
    num_trained=1536,
    train_seconds=0.6,
    num_validated=512,
    validate_seconds=0.1,
    num_skipped=0,
    peak_bytes=5 * 2**30,
)


def test_an_epoch_is_scaled_from_its_steps_and_its_validation() -> None:
    assert TIMES.step_seconds == pytest.approx(0.05)
    assert TIMES.epoch_seconds(7000, 1000) == pytest.approx(0.6 * 7000 / 1536 + 0.1 * 1000 / 512)
    epoch, first = epoch_rows("fp16, compiled", TIMES, 7000, 1000)
    assert epoch.what == "an epoch of the paper's baseline, fp16, compiled"
    assert epoch.against == "12 steps and 512 validated bursts, scaled to 7,000 and 1,000"
    assert epoch.figure == "2.93 s (step 50.0 ms, validation of the timed bursts 0.10 s)"
    assert epoch.wanted == "at most 10 s; the source took 5 to 6 s; aim 1.5 s"
    assert first.figure == "31.5 s (all before the timed steps 40.0 s)"


def test_skipped_steps_are_said() -> None:
    skipping = EpochTimes(**{**vars(TIMES), "num_skipped": 2})
    assert epoch_rows("fp16, compiled", skipping, 7000, 1000)[0].figure.endswith(", 2 steps skipped)")


def test_memory_stands_beside_the_cards() -> None:
    row = memory_row("bf16, compiled", 128, 3 * 2**29, 80 * 2**30)
    assert row.what == "peak memory of training and validation, bf16, compiled, batch 128"
    assert (row.against, row.figure) == ("the card's 80 GiB", "1.50 GiB")
    assert memory_row("fp32, not compiled", 8, 2**30, None).against == "the process"


def test_shares_are_of_the_kernels_and_sum_to_all() -> None:
    rows = share_rows("fp16, compiled", {"rest": 0.001, "data": 0.003}, {"rest": "`a` 100%"}, 0.008)
    assert [row.what for row in rows] == [
        f"share of a step's kernels, fp16, compiled: {name}" for name in ("rest", "data")
    ]
    assert [row.figure for row in rows] == ["25.0% (1.00 ms of 8.00)", "75.0% (3.00 ms of 8.00)"]
    assert [row.against for row in rows] == ["`a` 100%", "no kernel"]


@pytest.mark.parametrize(("busy", "share"), [(0.006, "25.0%"), (0.008, "0.0%"), (0.009, "0.0%")])
def test_idle_is_what_no_kernel_fills(busy: float, share: str) -> None:
    assert idle_row("fp16, compiled", busy, 0.008).figure == share


def test_a_rate_stands_beside_a_matrix_product_and_the_data_sheet() -> None:
    product, step = flops_rows("fp16, compiled", 4 * 10**12, 0.02, 500.0, "NVIDIA H100 80GB HBM3")
    assert (product.against, product.figure) == ("data sheet: 989", "500.0 TFLOP/s")
    assert (step.against, step.figure) == (
        "4.00 TFLOP counted from shapes, 20.0 ms",
        "200.0 TFLOP/s, 40.0% of the matrix product",
    )


@pytest.mark.parametrize(
    ("card", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_the_data_sheet_is_known_for_some_cards(card: str, tflops: float | None) -> None:
    assert datasheet_tflops(card) == tflops


def test_a_card_that_is_not_known_has_no_promise() -> None:
    assert flops_rows("fp16, compiled", 1, 1.0, 1.0, "another")[0].against == "data sheet: unknown"


def test_other_figures() -> None:
    assert augment_row("not compiled", 128, 0.001).figure == "128,000 bursts a second"
    assert rule_row("ours", "B 1", 0.004, 0.001).figure == "4.000 ms (4.00 times fla's)"
    assert rule_row("fla's", "B 1", 0.001, None).figure == "1.000 ms"
    assert start_row(6.0, 9.5, "fp16, not compiled")[1:3] == ("standby ready after 6.0 s", "9.5 s")
    assert checkpoint_row(0.5, 288_000_000).figure == "0.50 s, 288 MB"


def test_an_error_is_one_short_line_that_no_table_breaks_at() -> None:
    row = failed_row("a step", RuntimeError("CUDA error:\n  a | b" + 1000 * "x"))
    assert row.figure.startswith("failed: RuntimeError: CUDA error: a | bxxx")
    line = as_line(row)
    assert "\n" not in line
    assert line.replace("\\|", "").count("|") == 5
    assert "a \\| b" in line
    assert len(line) < 300


def test_what_had_no_time_says_so() -> None:
    assert as_line(time_up_row("a step")) == f"| a step |  | {TIME_UP} |  |"


def test_kernels_are_compiled_or_chosen_already() -> None:
    assert kernels_row("fp16", 16, 21.04)[:3] == ("compiling fla's kernels, fp16", "16 processes", "21.0 s")
    assert kernels_row("fp16", 0, None).figure == "nothing to do: they are chosen already"
