"""The gated interaction of MACE-OMOL-0, MACE-MH-1 and MACE-POLAR-1."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from electrojax.nn.biased import NormedLayers
from electrojax.nn.interaction import (
    EdgeFeatures,
    density_of_atoms,
    edges_l_max,
    neighbor_sums,
    paths,
    sent_features,
)
from electrojax.nn.linear import Linear, Matrix, normalized_sigmoid, normalized_silu
from electrojax.typing import Array

DENSITY_WIDTH = 64
"""Hidden units of the density of neighbours, those of MACE."""


class GatedInteraction(nn.Module):
    """An interaction whose radial network sees the elements and whose sum passes a gate.

    The residual non-linear block of MACE-OMOL-0, MACE-MH-1 and MACE-POLAR-1 (mace-torch 0.3.16):
    A = Linear(gate(Linear(Σ_j R(r_ij, z_i, z_j) Y(r̂_ij) ⊗ h'_j)/(α + β ρ_i) + Linear(h'_i))) with
    h' = Linear(h), ρ_i = Σ_j tanh(g(r_ij, z_i, z_j)²); R and g are perceptrons with layer norms.
    The gate applies SiLU to scalars and multiplies each tensor by a sigmoid of a scalar (Weiler
    et al., arXiv 1807.02547, sec. 4.3). α starts as a number of neighbours, β as zero.

    Attributes:
        channels: number of channels.
        radial_hidden: widths of the hidden layers of the radial network.
        average_neighbors: α of a fresh model.
        edge_channels: channels of what edges carry, per degree; empty for those of the features.
    """

    channels: int
    radial_hidden: tuple[int, ...]
    average_neighbors: float
    edge_channels: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self, h: tuple[Array, ...], edges: EdgeFeatures, one_hot: Array, initial: bool = False
    ) -> tuple[Array, ...]:
        """Returns per degree l up to that of the harmonics an array [N, 2l + 1, channels].

        Args:
            h, edges, one_hot, initial: as of :class:`Interaction`.
        """
        l_max = edges_l_max(edges)
        sent = sent_features(h, self.edge_channels)
        size = sum(sent[l1].shape[-1] for l1, _, _ in paths(len(sent) - 1, l_max))
        network = PairPerceptron(self.radial_hidden, size, name="radial")
        hidden, output = network(edges.radial.shape[-1], one_hot)
        sums = neighbor_sums(hidden, output, sent, edges, one_hot, initial)
        neighbors = self._neighbors(edges, one_hot)
        own = [jnp.tensordot(one_hot, sent[0], 1)] if initial else sent
        mixed = []
        for degree, x in enumerate(sums):
            width = self.channels * (1 if degree else l_max + 1)
            message = Linear(width, name=f"down_{degree}")(x) / neighbors
            if degree < len(own):
                message = message + Linear(width, name=f"own_{degree}")(own[degree])
            mixed.append(message)
        return tuple(
            Linear(self.channels, name=f"out_{degree}")(x) for degree, x in enumerate(gated(mixed))
        )

    def _neighbors(self, edges: EdgeFeatures, one_hot: Array) -> Array:
        """α + β ρ [N, 1, 1]."""
        dtype = edges.radial.dtype
        network = PairPerceptron((DENSITY_WIDTH,), 1, name="density")
        hidden, output = network(edges.radial.shape[-1], one_hot)
        values = hidden(edges.radial, edges.senders, edges.rows.receivers) @ output
        density = density_of_atoms(jnp.tanh(values**2), edges, one_hot.shape[0])
        start = nn.initializers.constant(self.average_neighbors)
        alpha = self.param("alpha", start, (), dtype)
        beta = self.param("beta", nn.initializers.zeros, (), dtype)
        return alpha.astype(dtype) + beta.astype(dtype) * density


class PairPerceptron(nn.Module):
    """A perceptron of edges that sees the radial basis and the elements of both atoms.

    Its first layer is linear in the radial basis, plus a row of a table for each of the two
    elements: an embedding of elements and the layer behind it in one.

    Attributes:
        hidden: widths of the hidden layers, at least one.
        channels: number of outputs.
    """

    hidden: tuple[int, ...]
    channels: int

    @nn.compact
    def __call__(self, size: int, one_hot: Array) -> tuple[Callable[..., Array], Array]:
        """Returns the last hidden layer of edges as a function, and the matrix that follows it.

        The function takes the radial basis [R, B, size], the senders [R, B] and the receivers [R]
        and returns [R, B, H + 1], the last of them 1, whose row of the matrix is the bias.

        Args:
            size: number of radial functions.
            one_hot: [N, S], zero rows on padding.
        """
        dtype, width = one_hot.dtype, self.hidden[0]
        first = Matrix(width, name="radial")(size, dtype)
        sending = Linear(width, 0.1, name="sender")(one_hot)
        receiving = Linear(width, 0.1, name="receiver")(one_hot)
        layers = NormedLayers(self.hidden, name="hidden")(dtype)
        matrix = Matrix(self.channels, name="output")(self.hidden[-1], dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), dtype).astype(dtype)

        def hidden(radial: Array, senders: Array, receivers: Array) -> Array:
            there = jnp.minimum(receivers, one_hot.shape[0] - 1)
            x = radial @ first + sending[senders] + receiving[there][:, None]
            x = layers(x)
            return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)

        return hidden, jnp.concatenate([matrix, bias[None]])


def gated(mixed: Sequence[Array]) -> list[Array]:
    """Returns SiLU of the first scalars and tensors times sigmoids of the further ones.

    Both functions have unit variance for normal arguments.

    Args:
        mixed: per degree l [N, 2l + 1, C], but [N, 1, C (l_max + 1)] for l = 0.
    """
    scalars, *gates = jnp.split(mixed[0], len(mixed), axis=-1)
    tensors = [x * normalized_sigmoid(gate) for x, gate in zip(mixed[1:], gates)]
    return [normalized_silu(scalars), *tensors]
