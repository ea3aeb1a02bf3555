"""Perceptrons with biases and layer norms, which do not map zero to zero."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.nn.linear import Linear, Matrix, normalized_silu
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
        return layer_norm(x, gain.astype(x.dtype), bias.astype(x.dtype))


def layer_norm(x: Array, gain: Array, bias: Array) -> Array:
    """Returns :class:`LayerNorm` of x with its two parameters given."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return gain * centred / jnp.sqrt(variance + _EPSILON) + bias


class NormedLayers(nn.Module):
    """What follows the first linear map of a perceptron with layer norms, up to its last one.

    Attributes:
        hidden: widths of the hidden layers, at least one.
    """

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, dtype: Any) -> Callable[[Array], Array]:
        """Returns it as a function [..., hidden[0]] -> [..., hidden[-1]], for use anywhere."""
        norms, maps = [], []
        for i, width in enumerate(self.hidden):
            if i:
                matrix = Matrix(width, name=f"layer_{i}")(self.hidden[i - 1], dtype)
                maps.append((matrix, self._vector(f"bias_{i}", 0.0, width, dtype)))
            gain = self._vector(f"gain_{i}", 1.0, width, dtype)
            norms.append((gain, self._vector(f"shift_{i}", 0.0, width, dtype)))

        def evaluate(x: Array) -> Array:
            x = jax.nn.silu(layer_norm(x, *norms[0]))
            for (matrix, bias), norm in zip(maps, norms[1:]):
                x = jax.nn.silu(layer_norm(x @ matrix + bias, *norm))
            return x

        return evaluate

    def _vector(self, name: str, value: float, width: int, dtype: Any) -> Array:
        start = nn.initializers.constant(value)
        return jnp.asarray(self.param(name, start, (width,), dtype), dtype)


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
