"""A small equivariant message-passing net that compiles quickly, for tests and cheap sweeps.

The scheme of PaiNN (Schütt et al. 2021, arXiv 2102.03150), with the vectors generalised to every
degree l <= l_max and polynomial (norm-free) invariants.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from electrojax.nn.embedding import StateEmbedding
from electrojax.nn.features import Features, from_components
from electrojax.nn.linear import Linear, normalized_silu
from electrojax.nn.options import option, runtime
from electrojax.nn.radial import bessel_basis, harmonics, lengths_and_directions, polynomial_cutoff
from electrojax.system.types import System
from electrojax.typing import Array


class Light(nn.Module):
    """A PaiNN-like backbone with scalars, vectors and, by choice, higher degrees."""

    num_species: int = runtime(1, "number of chemical elements")
    average_neighbors: float = runtime(1.0, "mean number of edges that end at an atom")
    cutoff: float = option(5.0, "radius of the atomic environment in Å", minimum=0.1, maximum=100)
    channels: int = option(32, "channels per degree l", positive=True, maximum=4096)
    l_max: int = option(1, "largest degree of the features", minimum=0, maximum=4)
    layers: int = option(2, "message-passing layers", positive=True, maximum=100)
    bessel: int = option(8, "number of radial Bessel functions", positive=True, maximum=1000)
    cutoff_power: int = option(5, "power p of the polynomial cutoff", minimum=3, maximum=100)
    states: tuple[str, ...] = option(
        (), "of the structure, embedded in every atom: total_charge, multiplicity"
    )

    @nn.compact
    def __call__(self, system: System, species: Array, vectors: Array) -> Features:
        """Returns the features of every layer.

        Args:
            system: a batch, of which the edges and what ``states`` names are read.
            species: [N] index of the element, −1 on padding.
            vectors: [E, 3] Å edge vectors in the order (y, z, x).
        """
        lengths, directions = lengths_and_directions(vectors)
        envelope = polynomial_cutoff(lengths, self.cutoff, self.cutoff_power)
        radial = bessel_basis(lengths, self.cutoff, self.bessel) * envelope[:, None]
        angular = harmonics(directions, self.l_max)
        one_hot = jax.nn.one_hot(species, self.num_species, dtype=vectors.dtype)
        atoms = Linear(self.channels, name="embedding")(one_hot)
        if self.states:
            embedding = StateEmbedding(self.states, self.channels, name="state")
            atoms = atoms + embedding(system, one_hot)
        atoms = atoms[:, None, :]
        x = jnp.pad(atoms, ((0, 0), (0, angular.shape[1] - 1), (0, 0)))
        outputs = []
        for index in range(self.layers):
            message = Message(self.average_neighbors, name=f"message_{index}")
            x = x + message(x, radial, angular, system.senders, system.receivers)
            x = x + Update(name=f"update_{index}")(x)
            outputs.append(from_components(split_degrees(x)))
        return Features(tuple(outputs))


class Message(nn.Module):
    """Sums over neighbours: harmonics and the neighbours' own tensors, gated by their scalars.

    arXiv 2102.03150 eqs. 7-8, divided by the root of the mean number of neighbours.

    Attributes:
        average_neighbors: mean number of neighbours.
    """

    average_neighbors: float

    @nn.compact
    def __call__(
        self, x: Array, radial: Array, angular: Array, senders: Array, receivers: Array
    ) -> Array:
        """Returns [N, (l_max + 1)², C].

        Args:
            x: [N, (l_max + 1)², C] features.
            radial: [E, B] radial basis, zero from the cutoff on.
            angular: [E, (l_max + 1)²] harmonics.
            senders, receivers: [E], receivers ascending.
        """
        nodes, size, channels = x.shape
        degrees = degree_of_component(size)
        gates = 2 * degrees[-1] + 1
        hidden = normalized_silu(Linear(channels, name="hidden")(x[:, 0]))
        filters = Linear(gates * channels, name="gates")(hidden)[senders]
        filters = filters * Linear(gates * channels, name="radial")(radial)
        filters = filters.reshape(-1, gates, channels)
        message = angular[:, :, None] * filters[:, degrees]
        if size > 1:
            carried = x[senders, 1:] * filters[:, degrees[-1] + degrees[1:]]
            message = jnp.concatenate([message[:, :1], message[:, 1:] + carried], axis=1)
        summed = jax.ops.segment_sum(message, receivers, nodes, indices_are_sorted=True)
        return summed / self.average_neighbors**0.5


class Update(nn.Module):
    """Mixes the features of one atom through the inner products of its tensors.

    arXiv 2102.03150 eq. 9-10; inner products stand in for the norm, whose derivative is singular.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns [N, (l_max + 1)², C] from features of the same shape."""
        channels = x.shape[-1]
        scalars, *tensors = split_degrees(x)
        mixed = [
            Linear(2 * channels, name=f"mix_{degree}")(t) for degree, t in enumerate(tensors, 1)
        ]
        left = [m[..., :channels] for m in mixed]
        inner = [jnp.mean(m[..., channels:] * u, axis=1) for m, u in zip(mixed, left)]
        state = jnp.concatenate([scalars[:, 0], *inner], axis=-1)
        hidden = normalized_silu(Linear(channels, name="hidden")(state))
        gates = Linear((2 * len(tensors) + 1) * channels, name="gates")(hidden)
        first, *rest = jnp.split(gates, 2 * len(tensors) + 1, axis=-1)
        scalar = first + sum(g * i for g, i in zip(rest, inner))
        tensor = [g[:, None] * u for g, u in zip(rest[len(inner) :], left)]
        return jnp.concatenate([scalar[:, None], *tensor], axis=1)


def degree_of_component(size: int) -> np.ndarray:
    """Returns the degree l of each of the (l_max + 1)² components."""
    return np.floor(np.sqrt(np.arange(size) + 0.5)).astype(np.int32)


def split_degrees(x: Array) -> tuple[Array, ...]:
    """Returns [N, (l_max + 1)², C] as one array [N, 2l + 1, C] per degree."""
    l_max = round(x.shape[1] ** 0.5) - 1
    return tuple(x[:, degree**2 : (degree + 1) ** 2] for degree in range(l_max + 1))
