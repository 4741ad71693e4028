"""Kernels of a recording, by name and by what launched them."""

from typing import Any

import pytest

from benchmarks.gpu_trace import (
    AUGMENT_RANGE,
    AUGMENTATION,
    DATA,
    DATA_RANGE,
    GROUPS,
    OPTIMIZER,
    PRODUCTS,
    REST,
    RULE,
    Kernel,
    busy_microseconds,
    find_kernels,
    group_of_name,
    read_usage,
)

NAMES = {
    RULE: [
        "chunk_fwd_kernel_o",
        "chunk_bwd_kernel_dqkwg",
        "chunk_bwd_kernel_dv_local",
        "chunk_gated_delta_rule_fwd_kernel_h_blockdim64",
        "chunk_gated_delta_rule_bwd_kernel_dhu_blockdim64",
        "chunk_gated_delta_rule_fwd_kkt_solve_kernel",
        "chunk_scaled_dot_kkt_fwd_kernel",
        "chunk_local_cumsum_scalar_kernel",
        "recompute_w_u_fwd_kernel",
        "prepare_wy_repr_bwd_kernel",
        "merge_16x16_to_64x64_inverse_kernel",
        "solve_tril_16x16_kernel",
        "fused_recurrent_gated_delta_rule_fwd_kernel",
        "causal_conv1d_fwd_kernel",
        "causal_conv1d_bwd_kernel",
        "gdn_gate_chunk_cumsum_scalar_kernel",
        "l2norm_fwd_kernel",
        "fused_beta_sigmoid_bwd_kernel",
        "layer_norm_gated_bwd_kernel",
    ],
    PRODUCTS: [
        "ampere_fp16_s16816gemm_fp16_128x128_ldg8_f2f_stages_32x5_tn",
        "sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel",
        "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT",
        "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_nn_align8>(...)",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float>(...)",
        "sm80_xmma_wgrad_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16",
        "void cudnn::ops::nchwToNhwcKernel<__half, float>(...)",
        "void implicit_convolve_sgemm<float, float>(...)",
        "triton_tem_fused_mm_0",
    ],
    OPTIMIZER: [
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::FusedMetadata>",
        "void at::native::multi_tensor_apply_kernel<TensorListMetadata<1>, LpNormFunctor<float>>",
    ],
    DATA: ["Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pinned -> Device)"],
    REST: [
        "triton_poi_fused_convolution_add_0",
        "triton_red_fused__fused_rms_norm_l2norm_1",
        "_rms_norm_forward_kernel",
        "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
        "Memcpy DtoH (Device -> Pageable)",
        "Memset (Device)",
    ],
}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, names in NAMES.items() for name in names])
def test_a_kernels_name_tells_its_group(group: str, name: str) -> None:
    assert group_of_name(name) == group


def kernel(name: str, start: float, duration: float, correlation: int, category: str = "kernel") -> dict[str, Any]:
    return {"cat": category, "name": name, "ts": start, "dur": duration, "args": {"correlation": correlation}}


def launch(moment: float, correlation: int, thread: int = 1, category: str = "cuda_runtime") -> dict[str, Any]:
    return {
        "cat": category,
        "name": "launch",
        "ts": moment,
        "dur": 1,
        "tid": thread,
        "args": {"correlation": correlation},
    }


def named(name: str, start: float, end: float, thread: int = 1) -> dict[str, Any]:
    return {"cat": "user_annotation", "name": name, "ts": start, "dur": end - start, "tid": thread}


EVENTS = [
    {"ph": "M", "name": "process_name"},
    named("a whole step", 0, 1000),
    named(DATA_RANGE, 5, 20),
    named(AUGMENT_RANGE, 30, 60),
    named("Optimizer.step#AdamW.step", 70, 90),
    launch(10, 1),
    launch(35, 2),
    launch(40, 3, thread=2),
    launch(75, 4, category="cuda_driver"),
    launch(95, 5),
    kernel("index_kernel", 100, 10, 1),
    kernel("elementwise_kernel", 110, 20, 2),
    kernel("elementwise_kernel", 120, 20, 3),
    kernel("elementwise_kernel", 200, 30, 4),
    kernel("nvjet_hsh", 300, 40, 5),
    kernel("Memcpy HtoD (Pinned -> Device)", 400, 1, 6, "gpu_memcpy"),
    {"cat": "gpu_user_annotation", "name": AUGMENT_RANGE, "ts": 100, "dur": 400, "tid": 7},
]


def test_the_range_around_a_launch_comes_before_the_name() -> None:
    assert [found.group for found in find_kernels(EVENTS)] == [DATA, AUGMENTATION, REST, OPTIMIZER, PRODUCTS, DATA]


def test_seconds_are_summed_by_group_and_busy_time_counts_once() -> None:
    usage = read_usage(EVENTS)
    assert list(usage.seconds_by_group) == list(GROUPS)
    assert usage.seconds_by_group[AUGMENTATION] == pytest.approx(20e-6)
    assert usage.seconds_by_group[DATA] == pytest.approx(11e-6)
    # 100 to 140 without a gap, then three more.
    assert usage.busy_seconds == pytest.approx((40 + 30 + 40 + 1) * 1e-6)
    assert usage.largest[DATA] == "`index_kernel` 91%, `Memcpy HtoD ` 9%"
    assert usage.largest[RULE] == ""


def test_long_names_of_templates_are_cut() -> None:
    name = "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::Metadata>(int)"
    usage = read_usage([kernel(name, 0, 1, 1)])
    assert usage.largest[OPTIMIZER] == "`at::native::multi_tensor_apply_kernel` 100%"


def test_kernels_that_overlap_or_contain_each_other_are_busy_once() -> None:
    spans = [(0.0, 10.0), (2.0, 4.0), (9.0, 12.0), (20.0, 21.0)]
    assert busy_microseconds([Kernel("k", REST, start, end) for start, end in spans]) == 13.0


def test_a_recording_without_a_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="the profiler saw no kernel of a GPU; it needs a CUDA GPU, and the right"):
        read_usage([named(AUGMENT_RANGE, 0, 1)])
