"""The knobs of the network: patch embedding, blocks, pooling."""

import math
from typing import Annotated, Literal

from msgspec import Meta

from model.config.base import Config, require_finite


class AuxHeadConfig(Config, frozen=True, kw_only=True):
    """A second classification head half-way up, in training only."""

    after_block: Annotated[int, Meta(ge=1, description="reads the tokens that leave this block, counted from 1")] = 2
    weight: Annotated[float, Meta(gt=0, description="its loss times this is added")] = 0.3


class ModelConfig(Config, frozen=True, kw_only=True):
    """The GDN classifier of the source study, section 1.1."""

    dim: Annotated[int, Meta(ge=8, description="width of a token")] = 512
    depth: Annotated[int, Meta(ge=1, description="number of blocks")] = 4
    mixer: Annotated[
        Literal["gated_delta", "mamba2"], Meta(description="what mixes tokens in a block; Mamba-2 as fla lays it out")
    ] = "gated_delta"
    mode: Annotated[Literal["chunk", "fused_recurrent"], Meta(description="fla's kernel; only `chunk` can train")] = (
        "chunk"
    )
    softmax_every: Annotated[
        Annotated[int, Meta(ge=2)] | None,
        Meta(description="every so many blocks a causal softmax attention takes the mixer's place"),
    ] = None
    num_heads: Annotated[int, Meta(ge=1, description="heads of the gated delta net")] = 8
    head_dim: Annotated[int, Meta(ge=1, description="width of a head's query and key")] = 64
    expand_v: Annotated[float, Meta(gt=0, description="a head's value width over its key width")] = 2.0
    mlp_ratio: Annotated[float, Meta(gt=0, description="inner width of the gated MLP: 2/3 of this times dim")] = 4.0
    mlp_multiple: Annotated[
        int, Meta(ge=1, description="the inner width is rounded up to a multiple of this (256 in fla)")
    ] = 256
    conv_size: Annotated[int, Meta(ge=1, description="taps of the short convolutions on q, k, v")] = 4
    conv_bias: Annotated[bool, Meta(description="a learned bias in the short convolutions")] = False
    allow_neg_eigval: Annotated[bool, Meta(description="beta in (0, 2) instead of (0, 1)")] = False
    resid_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="dropout of what a layer adds to the residual stream")
    ] = 0.0
    stochastic_depth: Annotated[
        float,
        Meta(ge=0, lt=1, description="chance to skip the last block's layers; earlier ones in proportion"),
    ] = 0.0
    patch_embed: Annotated[
        Literal["causal_conv", "stft", "multi_scale"],
        Meta(description="samples to tokens: a convolution, a short-time Fourier transform, the mean of three widths"),
    ] = "causal_conv"
    patch_size: Annotated[int, Meta(ge=1, description="samples that a token is made of")] = 64
    patch_stride: Annotated[int, Meta(ge=1, description="samples from one token to the next")] = 32
    learned_positions: Annotated[bool, Meta(description="a learned vector for each position is added")] = False
    token_dropout: Annotated[float, Meta(ge=0, lt=1, description="share of patch tokens zeroed in training")] = 0.0
    pooling: Annotated[
        Literal["last", "mean", "attention", "cls_first"],
        Meta(description="tokens to one embedding; `cls_first` puts a learned token before all others and reads it"),
    ] = "last"
    aux_head: Annotated[AuxHeadConfig | None, Meta(description="a second head half-way up")] = None

    def __post_init__(self) -> None:
        require_finite(self)
        self._require_whole_widths()
        self._require_effect()

    def _require_whole_widths(self) -> None:
        value_width = self.head_dim * self.expand_v
        if not math.isclose(value_width, round(value_width), rel_tol=1e-9):
            raise ValueError(
                f"head_dim {self.head_dim} times expand_v {self.expand_v} is {value_width:g}, "
                "a head's value width must be a whole number"
            )
        if self.mlp_width == 0:
            raise ValueError(f"mlp_ratio {self.mlp_ratio:g} times dim {self.dim} leaves the gated MLP no width")
        if self.patch_embed != "causal_conv" and self.patch_size < 2:
            raise ValueError(f"patch_embed {self.patch_embed} needs a patch_size of 2 samples or more")

    def _require_effect(self) -> None:
        if self.softmax_every is not None and self.softmax_every > self.depth:
            raise ValueError(
                f"softmax_every {self.softmax_every} has no effect: there are {self.depth} blocks, "
                "so no block is the one it names"
            )
        if self.aux_head is not None and self.aux_head.after_block >= self.depth:
            raise ValueError(
                f"aux_head.after_block {self.aux_head.after_block} must be below depth {self.depth}: "
                "after the last block stands the head itself"
            )
        if self.mixer == "mamba2" and (self.allow_neg_eigval or self.mode != "chunk"):
            raise ValueError("allow_neg_eigval and mode have no effect with mixer mamba2; leave them out")

    @property
    def head_v_dim(self) -> int:
        """Width of a head's value."""
        return round(self.head_dim * self.expand_v)

    @property
    def mlp_width(self) -> int:
        """Inner width of the gated MLP, rounded up as fla's GatedMLP does."""
        width = int(self.dim * self.mlp_ratio * 2 / 3)
        return self.mlp_multiple * math.ceil(width / self.mlp_multiple)

    def num_tokens(self, samples: int) -> int:
        """Return the number of tokens that a patch embedding makes of a burst: 256 for 8,192 samples at stride 32."""
        return (samples - 1) // self.patch_stride + 1
