"""One message-passing step of MACE: from node features to one-particle features."""

import functools

import e3nn_jax as e3nn
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from electrojax.nn.linear import Linear, Perceptron
from electrojax.typing import Array

Path = tuple[int, int, int]


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
    def __call__(
        self,
        h: tuple[Array, ...],
        radial: Array,
        envelope: Array,
        angular: Array,
        senders: Array,
        receivers: Array,
    ) -> tuple[Array, ...]:
        """Returns per degree l up to that of the harmonics an array [N, 2l + 1, channels].

        Args:
            h: per degree l an array [N, 2l + 1, channels].
            radial: [E, B] radial basis.
            envelope: [E, 1] factor of the radial weights, or [1, 1] where the basis has it.
            angular: [E, (l_max + 1)²] harmonics.
            senders, receivers: [E], receivers ascending.
        """
        l_max = round(angular.shape[1] ** 0.5) - 1
        all_paths = paths(len(h) - 1, l_max)
        size = len(all_paths) * self.channels
        weights = Perceptron(self.radial_hidden, size, name="radial")(radial) * envelope
        weights = weights.reshape(-1, len(all_paths), self.channels)
        sent = [
            Linear(self.channels, name=f"up_{degree}")(x)[senders] for degree, x in enumerate(h)
        ]
        messages: list[list[Array]] = [[] for _ in range(l_max + 1)]
        for index, path in enumerate(all_paths):
            product = tensor_product(sent[path[0]], angular, path)
            messages[path[2]].append(product * weights[:, index, None, :])
        summed = [self._sum(parts, receivers, h[0].shape[0]) for parts in messages]
        neighbors: Array | float = self.average_neighbors
        if self.by_density:
            edges = jnp.tanh(Linear(1, name="density")(radial) ** 2) * envelope
            neighbors = 1.0 + self._sum([edges], receivers, h[0].shape[0])[:, :, None]
        return tuple(
            Linear(self.channels, name=f"down_{degree}")(x) / neighbors
            for degree, x in enumerate(summed)
        )

    def _sum(self, parts: list[Array], receivers: Array, nodes: int) -> Array:
        sums = [
            jax.ops.segment_sum(part, receivers, nodes, indices_are_sorted=True) for part in parts
        ]
        return jnp.concatenate(sums, axis=-1)


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


def tensor_product(features: Array, angular: Array, path: Path) -> Array:
    """Returns features ⊗ harmonics projected on degree l3.

    Args:
        features: [E, 2l1 + 1, C].
        angular: [E, (l_max + 1)²].
        path: (l1, l2, l3).

    Returns:
        [E, 2l3 + 1, C].
    """
    l1, l2, _ = path
    y = angular[:, l2**2 : (l2 + 1) ** 2]
    if l1 == 0:
        return features * y[:, :, None]
    if l2 == 0:
        return features
    matrix = jnp.einsum("ej,ijk->eik", y, jnp.asarray(coupling(path), y.dtype))
    terms = [features[:, i, None, :] * matrix[:, i, :, None] for i in range(2 * l1 + 1)]
    return functools.reduce(jnp.add, terms)
