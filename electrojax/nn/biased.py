"""Perceptrons with biases and layer norms, which do not map zero to zero."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.nn.linear import Linear, normalized_silu
from electrojax.typing import Array

_EPSILON = 1e-5
"""Added to a variance, Ba et al. 2016 (arXiv 1607.06450) eq. 4; the value that torch has."""


class BiasedLinear(nn.Module):
    """Mixes channels and adds a constant to each, [..., C] -> [..., channels]: of scalars only.

    Attributes:
        channels: number of outputs.
        scale: factor of the initial weights; the constants are zero at first.
    """

    channels: int
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mixed = Linear(self.channels, self.scale, name="linear")(x)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), x.dtype)
        return mixed + bias.astype(x.dtype)


class LayerNorm(nn.Module):
    """Returns g (x − mean)/√(variance + ε) + b over the channels (arXiv 1607.06450 eq. 4)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gain = self.param("gain", nn.initializers.ones, x.shape[-1:], x.dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], x.dtype)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred**2, axis=-1, keepdims=True)
        return gain.astype(x.dtype) * centred / jnp.sqrt(variance + _EPSILON) + bias.astype(x.dtype)


class BiasedPerceptron(nn.Module):
    """Layers of :class:`BiasedLinear` with SiLUs between them.

    Attributes:
        hidden: widths of the hidden layers.
        channels: number of outputs.
        layer_norm: normalise what a SiLU is applied to, over the channels; without it the SiLU
            itself has unit variance.
    """

    hidden: Sequence[int]
    channels: int
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i, width in enumerate(self.hidden):
            x = BiasedLinear(width, name=f"hidden_{i}")(x)
            if self.layer_norm:
                x = jax.nn.silu(LayerNorm(name=f"norm_{i}")(x))
            else:
                x = normalized_silu(x)
        return BiasedLinear(self.channels, name="output")(x)
