import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.patch_embed import CausalPatchEmbed


def build(patch_size: int, patch_stride: int) -> CausalPatchEmbed:
    torch.manual_seed(0)
    return CausalPatchEmbed(ModelConfig(dim=8, patch_size=patch_size, patch_stride=patch_stride)).double()


def test_8192_samples_make_256_tokens_at_stride_32() -> None:
    config = ModelConfig()
    with torch.device("meta"):
        tokens_BTD = CausalPatchEmbed(config)(torch.empty(1, 2, 8192))
    assert tokens_BTD.shape == (1, 256, 512)
    assert config.num_tokens(8192) == 256


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 70), st.integers(1, 12), st.integers(1, 12))
def test_a_configuration_knows_how_many_tokens_a_burst_makes(samples: int, patch_size: int, patch_stride: int) -> None:
    tokens_BTD = build(patch_size, patch_stride)(torch.zeros(1, 2, samples, dtype=torch.float64))
    config = ModelConfig(patch_size=patch_size, patch_stride=patch_stride)
    assert tokens_BTD.shape == (1, config.num_tokens(samples), 8)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 39), st.integers(1, 12), st.integers(1, 12))
def test_a_sample_reaches_only_the_tokens_that_end_at_or_after_it(changed: int, size: int, stride: int) -> None:
    embed = build(size, stride)
    x_B2L = torch.randn(1, 2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other_B2L = x_B2L.clone()
    other_B2L[:, :, changed] += 1.0
    differs_T = (embed(x_B2L) != embed(other_B2L)).any(-1)[0]
    ends_T = torch.arange(len(differs_T)) * stride
    assert torch.equal(differs_T, (ends_T >= changed) & (ends_T < changed + size))


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (5, 7), (1, 1)])
def test_a_token_is_the_weighted_patch_of_i_and_q_that_ends_at_its_sample(size: int, stride: int) -> None:
    embed = build(size, stride)
    x_B2L = torch.randn(3, 2, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    silent_B2L = F.pad(x_B2L, (size, 0))
    for t, token_BD in enumerate(embed(x_B2L).unbind(1)):
        end = size + t * stride
        patch_B2S = silent_B2L[:, :, end - size + 1 : end + 1]
        expected_BD = torch.einsum("bcs,dcs->bd", patch_B2S, embed.weight) + embed.bias
        torch.testing.assert_close(token_BD, expected_BD, rtol=1e-12, atol=1e-12)
