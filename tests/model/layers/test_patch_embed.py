import cmath
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.config import ModelConfig
from model.layers.patch_embed import CausalPatchEmbed, MultiScalePatchEmbed, StftPatchEmbed, build_patch_embed
from model.studies.radio.network import initialize

KINDS = ("causal_conv", "stft", "multi_scale")


def build(patch_size: int, patch_stride: int, kind: str = "causal_conv") -> nn.Module:
    config = ModelConfig(dim=8, patch_size=patch_size, patch_stride=patch_stride, patch_embed=kind)
    embed = build_patch_embed(config)
    initialize(embed, 0)
    return embed.double()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_8192_samples_make_256_tokens_at_stride_32(kind: str) -> None:
    config = ModelConfig(patch_embed=kind)
    with torch.device("meta"):
        tokens_BTD = build_patch_embed(config)(torch.empty(1, 2, 8192))
    assert tokens_BTD.shape == (1, 256, 512)
    assert config.num_tokens(8192) == 256


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(2, 12), st.integers(1, 12))
def test_a_configuration_knows_how_many_tokens_a_burst_makes(
    kind: str, samples: int, patch_size: int, patch_stride: int
) -> None:
    tokens_BTD = build(patch_size, patch_stride, kind)(torch.zeros(1, 2, samples, dtype=torch.float64))
    config = ModelConfig(patch_size=patch_size, patch_stride=patch_stride)
    assert tokens_BTD.shape == (1, config.num_tokens(samples), 8)


@pytest.mark.parametrize(
    ("kind", "longest_memory"),
    [
        ("causal_conv", lambda size: size),
        # The periodic Hann window is zero at the oldest sample of a patch.
        ("stft", lambda size: size - 1),
        ("multi_scale", lambda size: 2 * size),
    ],
    ids=KINDS,
)
@settings(deadline=None, max_examples=40)
@given(changed=st.integers(0, 39), size=st.integers(2, 12), stride=st.integers(1, 12))
def test_a_sample_reaches_only_the_tokens_that_end_at_or_after_it(
    kind: str, longest_memory: object, changed: int, size: int, stride: int
) -> None:
    embed, x_B2L = build(size, stride, kind), normal(1, 2, 40)
    other_B2L = x_B2L.clone()
    other_B2L[:, :, changed] += 1.0
    differs_T = (embed(x_B2L) != embed(other_B2L)).any(-1)[0]
    ends_T = torch.arange(len(differs_T)) * stride
    assert torch.equal(differs_T, (ends_T >= changed) & (ends_T < changed + longest_memory(size)))


def patches(x_B2L: Tensor, size: int, stride: int) -> list[Tensor]:
    """List the patches [B, 2, size], each of which ends at a token's sample."""
    silent_B2L = F.pad(x_B2L, (size, 0))
    ends = range(size, silent_B2L.shape[2], stride)
    return [silent_B2L[:, :, end - size + 1 : end + 1] for end in ends]


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (5, 7), (1, 1)])
def test_a_token_is_the_weighted_patch_of_i_and_q_that_ends_at_its_sample(size: int, stride: int) -> None:
    embed, x_B2L = build(size, stride), normal(3, 2, 33)
    assert isinstance(embed, CausalPatchEmbed)
    for token_BD, patch_B2S in zip(embed(x_B2L).unbind(1), patches(x_B2L, size, stride), strict=True):
        expected_BD = torch.einsum("bcs,dcs->bd", patch_B2S, embed.weight) + embed.bias
        torch.testing.assert_close(token_BD, expected_BD, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (5, 3)])
def test_the_spectrum_is_the_fourier_transform_of_the_windowed_patch(size: int, stride: int) -> None:
    embed, x_B2L = build(size, stride, "stft"), normal(2, 2, 21)
    assert isinstance(embed, StftPatchEmbed)
    spectrum_BTF = embed.spectrum(x_B2L)
    for t, patch_B2S in enumerate(patches(x_B2L, size, stride)):
        for burst, (i_S, q_S) in enumerate(patch_B2S.tolist()):
            windowed = [math.sin(math.pi * s / size) ** 2 * complex(i_S[s], q_S[s]) for s in range(size)]
            for f in range(size):
                turn = -2j * math.pi * f / size
                bin_f = sum(sample * cmath.exp(turn * s) for s, sample in enumerate(windowed)) / math.sqrt(size)
                assert spectrum_BTF[burst, t, f].item() == pytest.approx(bin_f.real, abs=1e-6)
                assert spectrum_BTF[burst, t, size + f].item() == pytest.approx(bin_f.imag, abs=1e-6)


def test_a_tone_and_its_mirror_image_fall_into_different_frequencies() -> None:
    embed = build(8, 8, "stft")
    assert isinstance(embed, StftPatchEmbed)
    angle_L = 2 * math.pi * 2 / 8 * torch.arange(17, dtype=torch.float64)
    for sign, loudest in ((1, 2), (-1, 6)):
        real_F, imaginary_F = embed.spectrum(torch.stack([angle_L.cos(), sign * angle_L.sin()])[None])[0, -1].split(8)
        assert torch.hypot(real_F, imaginary_F).argmax() == loudest


def test_tokens_of_the_fourier_transform_are_a_linear_map_of_its_parts() -> None:
    embed, x_B2L = build(8, 4, "stft"), normal(2, 2, 21)
    assert isinstance(embed, StftPatchEmbed)
    expected_BTD = embed.spectrum(x_B2L) @ embed.projection.weight.T + embed.projection.bias
    torch.testing.assert_close(embed(x_B2L), expected_BTD, rtol=1e-12, atol=1e-12)
    assert embed.state_dict().keys() == {"projection.weight", "projection.bias"}


def test_half_precision_bursts_are_transformed_in_single() -> None:
    embed = build_patch_embed(ModelConfig(dim=8, patch_size=6, patch_stride=3, patch_embed="stft"))
    assert isinstance(embed, StftPatchEmbed)
    assert embed.spectrum(normal(1, 2, 9).half()).dtype == torch.float32


@pytest.mark.parametrize("size", [2, 5, 8])
def test_tokens_of_many_scales_are_the_mean_over_half_whole_and_double_patches(size: int) -> None:
    embed, x_B2L = build(size, 3, "multi_scale"), normal(2, 2, 21)
    assert isinstance(embed, MultiScalePatchEmbed)
    assert [scale.kernel_size for scale in embed.scales] == [(size // 2,), (size,), (2 * size,)]
    expected_BTD = sum(scale(x_B2L) for scale in embed.scales) / 3
    torch.testing.assert_close(embed(x_B2L), expected_BTD, rtol=1e-12, atol=1e-12)
