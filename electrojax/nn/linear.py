"""Linear maps between channels and a small perceptron, with unit-variance weights.

Weights are drawn from N(0, 1) and divided by √(fan in) when they are applied, as e3nn does
(Geiger and Smidt 2022, arXiv 2207.09453, sec. 3), so that one learning rate suits every layer.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from electrojax.nn.initial import normal
from electrojax.typing import Array


class Linear(nn.Module):
    """Mixes channels, [..., C] -> [..., channels]: equivariant where C is a multiplicity.

    Attributes:
        channels: number of outputs.
        scale: factor of the initial weights.
    """

    channels: int
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return x @ _scaled_weights(self, x.shape[-1], self.channels, self.scale, x.dtype)


class SpeciesLinear(nn.Module):
    """Mixes channels with weights of the atom's own species, [N, M, C] -> [N, M, channels].

    Attributes:
        channels: number of outputs.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Array, one_hot: Array) -> Array:
        """Returns [N, M, channels].

        Args:
            x: [N, M, C].
            one_hot: [N, S], zero rows on padding.
        """
        shape = (one_hot.shape[-1], x.shape[-1], self.channels)
        weights = self.param("weights", normal(1.0), shape, x.dtype)
        weights = weights.astype(x.dtype) / x.shape[-1] ** 0.5
        mixed = jnp.einsum("nmu,suv->nmsv", x, weights)
        return jnp.einsum("nmsv,ns->nmv", mixed, one_hot)


class Matrix(nn.Module):
    """The matrix of a :class:`Linear` of the same name, for use outside of modules.

    Attributes:
        channels: number of outputs.
    """

    channels: int

    @nn.compact
    def __call__(self, size: int, dtype: Any) -> Array:
        """Returns [size, channels], so that Linear(x) = x @ matrix."""
        return _scaled_weights(self, size, self.channels, 1.0, dtype)


def _scaled_weights(
    module: nn.Module, inputs: int, outputs: int, scale: float, dtype: Any
) -> Array:
    """The parameter ``weights`` [inputs, outputs] of a module, divided by √inputs."""
    weights = module.param("weights", normal(scale), (inputs, outputs), dtype)
    return weights.astype(dtype) / max(inputs, 1) ** 0.5


class PerceptronMatrices(nn.Module):
    """The matrices of a :class:`Perceptron` of the same name, for :func:`perceptron`.

    Attributes:
        hidden: widths of the hidden layers.
        channels: number of outputs.
    """

    hidden: Sequence[int]
    channels: int

    @nn.compact
    def __call__(self, size: int, dtype: Any) -> tuple[Array, ...]:
        """Returns one matrix [inputs, outputs] per layer, the first with ``size`` inputs."""
        return _matrices((size, *self.hidden, self.channels), dtype)


def _matrices(widths: Sequence[int], dtype: Any) -> tuple[Array, ...]:
    """The matrices of the module in whose compact method this is called."""
    names = [*(f"hidden_{i}" for i in range(len(widths) - 2)), "output"]
    return tuple(
        Matrix(after, name=name)(before, dtype)
        for name, before, after in zip(names, widths[:-1], widths[1:])
    )


def perceptron(x: Array, matrices: Sequence[Array]) -> Array:
    """Returns a multilayer perceptron without bias, [..., inputs] -> [..., outputs]."""
    return hidden_layers(x, matrices) @ matrices[-1]


def hidden_layers(x: Array, matrices: Sequence[Array]) -> Array:
    """Returns what the last matrix of a :func:`perceptron` is applied to, [..., width]."""
    for matrix in matrices[:-1]:
        x = normalized_silu(x @ matrix)
    return x


class Perceptron(nn.Module):
    """A multilayer perceptron without bias, so that it maps zero to zero.

    Attributes:
        hidden: widths of the hidden layers.
        channels: number of outputs.
    """

    hidden: Sequence[int]
    channels: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        widths = (x.shape[-1], *self.hidden, self.channels)
        return perceptron(x, _matrices(widths, x.dtype))


def normalized_silu(x: Array) -> Array:
    """Returns c · x · sigmoid(x) with c such that E[f(z)²] = 1 for z ~ N(0, 1), as e3nn does."""
    return x * jax.nn.sigmoid(x) * normalized_silu_scale()


@functools.cache
def normalized_silu_scale() -> float:
    """Returns the factor c of :func:`normalized_silu`."""
    return unit_variance_scale(lambda z: z / (1.0 + np.exp(-z)))


def normalized_sigmoid(x: Array) -> Array:
    """Returns c · sigmoid(x) with c such that E[f(z)²] = 1 for z ~ N(0, 1), as e3nn does."""
    return jax.nn.sigmoid(x) * normalized_sigmoid_scale()


@functools.cache
def normalized_sigmoid_scale() -> float:
    """Returns the factor c of :func:`normalized_sigmoid`."""
    return unit_variance_scale(lambda z: 1.0 / (1.0 + np.exp(-z)))


def unit_variance_scale(function: Callable[[np.ndarray], np.ndarray]) -> float:
    """Returns c such that E[(c f(z))²] = 1 for z ~ N(0, 1), by Gauss–Hermite quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    return float((np.sum(weight * function(z) ** 2) / np.sum(weight)) ** -0.5)
