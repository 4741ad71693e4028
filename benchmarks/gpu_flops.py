"""Floating-point operations of a training step, counted from shapes.

Letters: B bursts, T tokens, H heads, K key width, V value width, C tokens of a chunk.
"""

from typing import NamedTuple

from model.config import ModelConfig

FLA_CHUNK = 64
"""Tokens of a chunk in fla's kernel."""


class ForwardFlops(NamedTuple):
    """Operations of a forward pass; a multiplication and an addition count as two."""

    patches: int
    """The product that makes tokens of bursts."""
    linear: int
    """The products with weights, in the blocks and the head."""
    rule: int
    """The products of the gated delta rule."""


def forward_flops(config: ModelConfig, batch: int, samples: int, classes: int, chunk: int = FLA_CHUNK) -> ForwardFlops:
    """Count a forward pass of the gated delta classifier with a causal convolution as patch embedding."""
    tokens = config.num_tokens(samples)
    return ForwardFlops(
        patches=2 * batch * tokens * 2 * config.patch_size * config.dim,
        linear=2 * batch * (tokens * config.depth * _block_weights(config) + config.dim * classes),
        rule=batch * tokens * config.depth * config.num_heads * _rule_flops(config, chunk),
    )


def step_flops(config: ModelConfig, batch: int, samples: int, classes: int) -> int:
    """Count forward and backward; nothing that is computed a second time counts."""
    forward = forward_flops(config, batch, samples, classes)
    # The backward of a product is two products. The bursts need no gradient, so the patches have only one.
    return 2 * forward.patches + 3 * (forward.linear + forward.rule)


def _block_weights(config: ModelConfig) -> int:
    keys, values = config.num_heads * config.head_dim, config.num_heads * config.head_v_dim
    projections = 2 * keys + 2 * values + 2 * config.num_heads  # q, k; v, gate; decay, beta
    return config.dim * (projections + values + 3 * config.mlp_width)


def _rule_flops(config: ModelConfig, chunk: int) -> int:
    """Count for one token of one head: pairs in its chunk, writes and outputs, and three products with a state."""
    k, v = config.head_dim, config.head_v_dim
    return 2 * (2 * chunk * k + 2 * chunk * v + 3 * k * v)
