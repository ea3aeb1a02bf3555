"""One message-passing step of MACE: from node features to one-particle features."""

import functools
from collections.abc import Sequence

import e3nn_jax as e3nn
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.nn.linear import Linear, PerceptronMatrices, perceptron
from electrojax.nn.rows import EdgeRows, in_chunks, rows_at_once
from electrojax.typing import Array, struct

Path = tuple[int, int, int]


@struct
class EdgeFeatures:
    """What an interaction is told of the edges, in rows of B edges that end at one atom.

    Attributes:
        radial: [R, B, n] radial basis, zero in empty places.
        envelope: [R, B, 1] factor of the radial weights, None where the basis has it already.
        angular: [R, B, (l_max + 1)²] harmonics.
        senders: [R, B] atoms at which the edges start.
        rows: which edge stands where, and where the rows end.
    """

    radial: Array
    envelope: Array | None
    angular: Array
    senders: Array
    rows: EdgeRows


class Interaction(nn.Module):
    """Sums over neighbours the products of their features with edge harmonics.

    Batatia et al. 2022 (arXiv 2206.07697) eqs. 8-9: A = Linear(Σ_j R(r_ij) Y(r̂_ij) ⊗ h_j)/n̄, or
    with 1 + Σ_j tanh(g(r_ij)²), g linear in the radial basis, in place of n̄ (MACE-MP-0b, MPA-0).

    Attributes:
        channels: number of channels.
        radial_hidden: widths of the hidden layers of the radial network.
        average_neighbors: n̄.
        by_density: whether the atom's own learned density of neighbours divides, not n̄.
    """

    channels: int
    radial_hidden: tuple[int, ...]
    average_neighbors: float
    by_density: bool = False

    @nn.compact
    def __call__(self, h: tuple[Array, ...], edges: EdgeFeatures) -> tuple[Array, ...]:
        """Returns per degree l up to that of the harmonics an array [N, 2l + 1, channels].

        Args:
            h: per degree l an array [N, 2l + 1, channels].
            edges: the batch's.
        """
        l_max = round(edges.angular.shape[-1] ** 0.5) - 1
        size = len(paths(len(h) - 1, l_max)) * self.channels
        radial, nodes = edges.radial, h[0].shape[0]
        network = PerceptronMatrices(self.radial_hidden, size, name="radial")
        matrices = network(radial.shape[-1], radial.dtype)
        up = [Linear(self.channels, name=f"up_{degree}")(x) for degree, x in enumerate(h)]

        def summed(
            radial: Array, envelope: Array | None, angular: Array, senders: Array
        ) -> list[Array]:
            weights = _enveloped(perceptron(radial, matrices), envelope)
            return row_sums(weights, angular, [x[senders] for x in up])

        sums = in_chunks(
            summed, rows_at_once(), radial, edges.envelope, edges.angular, edges.senders
        )
        neighbors: Array | float = self.average_neighbors
        if self.by_density:
            density = jnp.tanh(Linear(1, name="density")(radial) ** 2)
            density = _enveloped(density, edges.envelope)
            neighbors = 1.0 + edges.rows.sum(jnp.sum(density, axis=1), nodes)[:, :, None]
        return tuple(
            Linear(self.channels, name=f"down_{degree}")(edges.rows.sum(x, nodes)) / neighbors
            for degree, x in enumerate(sums)
        )


def _enveloped(values: Array, envelope: Array | None) -> Array:
    return values if envelope is None else values * envelope


def row_sums(weights: Array, angular: Array, sent: Sequence[Array]) -> list[Array]:
    """Returns the messages of every row's edges, summed over them.

    Args:
        weights: [R, B, paths · C] radial weights.
        angular: [R, B, (l_max + 1)²] harmonics.
        sent: per degree l of the features [R, B, 2l + 1, C].

    Returns:
        per degree l up to that of the harmonics [R, 2l + 1, paths to l · C].
    """
    l_max = round(angular.shape[-1] ** 0.5) - 1
    all_paths = paths(len(sent) - 1, l_max)
    found: list[list[Array]] = [[] for _ in range(l_max + 1)]
    for path, weight in zip(all_paths, jnp.split(weights, len(all_paths), axis=-1)):
        product = row_product(sent[path[0]] * weight[:, :, None], angular, path)
        found[path[2]].append(product)
    return [jnp.concatenate(parts, axis=-1) for parts in found]


def row_product(features: Array, angular: Array, path: Path) -> Array:
    """Returns features ⊗ harmonics projected on degree l3, summed over each row's edges.

    Args:
        features: [R, B, 2l1 + 1, C].
        angular: [R, B, (l_max + 1)²].
        path: (l1, l2, l3).

    Returns:
        [R, 2l3 + 1, C].
    """
    l1, l2, _ = path
    if l2 == 0:
        return jnp.sum(features, axis=1)
    y = angular[:, :, l2**2 : (l2 + 1) ** 2]
    if l1 == 0:
        return jnp.einsum("rbk,rbc->rkc", y, features[:, :, 0])
    matrix = jnp.einsum("rbj,ijk->rbik", y, jnp.asarray(coupling(path), y.dtype))
    return jnp.einsum("rbik,rbic->rkc", matrix, features)


def paths(l_in: int, l_max: int) -> list[Path]:
    """Returns the couplings (l1, l2, l3) of features and harmonics with natural parity.

    Args:
        l_in: largest degree of the features (l1).
        l_max: largest degree of the harmonics (l2) and of the products (l3).
    """
    return [
        (l1, l2, l3)
        for l3 in range(l_max + 1)
        for l1 in range(l_in + 1)
        for l2 in range(l_max + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    ]


@functools.cache
def coupling(path: Path) -> np.ndarray:
    """Returns √(2l3 + 1) times the Clebsch-Gordan coefficients, [2l1 + 1, 2l2 + 1, 2l3 + 1].

    e3nn's coefficients have Σ c² = 1 over all indices; with the factor, the product of two
    component-normalised features is component-normalised.
    """
    return np.asarray(e3nn.clebsch_gordan(*path), dtype=np.float64) * (2 * path[2] + 1) ** 0.5
