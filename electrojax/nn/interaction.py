"""One message-passing step of MACE: from node features to one-particle features."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import e3nn_jax as e3nn
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.nn.linear import Linear, PerceptronMatrices, hidden_layers
from electrojax.nn.rows import EdgeRows, in_chunks, rows_at_once, summed_products
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
        edge_channels: channels of what edges carry, per degree; empty for those of the features.
    """

    channels: int
    radial_hidden: tuple[int, ...]
    average_neighbors: float
    by_density: bool = False
    edge_channels: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self, h: tuple[Array, ...], edges: EdgeFeatures, one_hot: Array, initial: bool = False
    ) -> tuple[Array, ...]:
        """Returns per degree l up to that of the harmonics an array [N, 2l + 1, channels].

        Args:
            h: per degree l an array [N, 2l + 1, channels].
            edges: the batch's.
            one_hot: [N, S], zero rows on padding.
            initial: whether h is one array [S, 1, channels] that all atoms of a species share.
        """
        sent = sent_features(h, self.edge_channels)
        size = sum(sent[l1].shape[-1] for l1, _, _ in paths(len(sent) - 1, edges_l_max(edges)))
        network = PerceptronMatrices(self.radial_hidden, size, name="radial")
        matrices = network(edges.radial.shape[-1], edges.radial.dtype)

        def hidden(radial: Array, senders: Array, receivers: Array) -> Array:
            return hidden_layers(radial, matrices)

        sums = neighbor_sums(hidden, matrices[-1], sent, edges, one_hot, initial)
        neighbors: Array | float = self.average_neighbors
        if self.by_density:
            density = jnp.tanh(Linear(1, name="density")(edges.radial) ** 2)
            neighbors = 1.0 + density_of_atoms(density, edges, one_hot.shape[0])
        return tuple(
            Linear(self.channels, name=f"down_{degree}")(x) / neighbors
            for degree, x in enumerate(sums)
        )


def edges_l_max(edges: EdgeFeatures) -> int:
    """Returns the largest degree of the harmonics of edges."""
    return round(edges.angular.shape[-1] ** 0.5) - 1


def sent_features(h: Sequence[Array], edge_channels: Sequence[int]) -> list[Array]:
    """Returns what edges carry, in the compact method of a module: Linear(h), "up".

    Args:
        h: per degree an array [N, 2l + 1, C].
        edge_channels: per degree; empty for those of h. Degrees that h does not have are left out.
    """
    channels = edge_channels or tuple(x.shape[-1] for x in h)
    return [
        Linear(size, name=f"up_{degree}")(x) for degree, (x, size) in enumerate(zip(h, channels))
    ]


def density_of_atoms(values: Array, edges: EdgeFeatures, nodes: int) -> Array:
    """Returns what belongs to edges [R, B, 1], times the envelope, summed per atom: [N, 1, 1]."""
    values = _enveloped(values, edges.envelope)
    return edges.rows.sum(jnp.sum(values, axis=1), nodes)[:, :, None]


def neighbor_sums(
    hidden: Callable[[Array, Array, Array], Array],
    output: Array,
    sent: Sequence[Array],
    edges: EdgeFeatures,
    one_hot: Array,
    initial: bool,
) -> list[Array]:
    """Returns Σ_j R(ij) Y(r̂_ij) ⊗ h_j per degree l, [N, 2l + 1, paths to l · C].

    Args:
        hidden: of radial basis [R, B, n], senders [R, B] and receivers [R], the last hidden layer
            of the radial network [R, B, H].
        output: [H, paths · C] matrix of its last layer.
        sent: per degree l an array [N, 2l + 1, C], or one of [S, 1, C] that species share.
        edges: the batch's.
        one_hot: [N, S], zero rows on padding.
        initial: whether ``sent`` is that of species.
    """
    grouped = initial and one_hot.shape[1] * output.shape[0] <= output.shape[1]
    features = [jnp.tensordot(one_hot, sent[0], 1)] if initial and not grouped else list(sent)

    def summed(
        radial: Array, envelope: Array | None, angular: Array, senders: Array, receivers: Array
    ) -> list[Array]:
        layer = _enveloped(hidden(radial, senders, receivers), envelope)
        if grouped:
            return [sums_by_species(layer, angular, one_hot[senders])]
        return row_sums(layer @ output, angular, [x[senders] for x in features])

    of_edges: Any = (edges.radial, edges.envelope, edges.angular, edges.senders)
    sums = in_chunks(summed, rows_at_once(), *of_edges, edges.rows.receivers)
    sums = [edges.rows.sum(x, one_hot.shape[0]) for x in sums]
    return messages_of_species(sums[0], output, sent[0][:, 0]) if grouped else list(sums)


def _enveloped(values: Array, envelope: Array | None) -> Array:
    return values if envelope is None else values * envelope


def sums_by_species(hidden: Array, angular: Array, one_hot: Array) -> Array:
    """Returns hidden ⊗ harmonics of every row's edges, summed over senders of each species.

    Args:
        hidden: [R, B, H] last hidden layer of the radial network.
        angular: [R, B, (l_max + 1)²] harmonics.
        one_hot: [R, B, S] species of the senders.

    Returns:
        [R, (l_max + 1)², S · H].
    """
    by_species = (one_hot[..., None] * hidden[:, :, None]).reshape(*hidden.shape[:2], -1)
    return summed_products(angular, by_species)


def messages_of_species(sums: Array, output: Array, sent: Array) -> list[Array]:
    """Returns the messages of atoms whose features are those of their species, summed.

    The output layer of the radial network and the features of the senders are the same for all
    edges in one of these sums, so they come after it: once per atom, not per edge.

    Args:
        sums: [N, (l_max + 1)², S · H], see :func:`sums_by_species`.
        output: [H, (l_max + 1) · C] matrix of the output layer, a block per degree.
        sent: [S, C] features.

    Returns:
        per degree l [N, 2l + 1, C].
    """
    species, channels = sent.shape
    blocks = jnp.split(output, output.shape[1] // channels, axis=1)
    return [
        sums[:, l**2 : (l + 1) ** 2]
        @ (sent[:, None] * block[None]).reshape(species * len(block), channels)
        for l, block in enumerate(blocks)
    ]


def row_sums(weights: Array, angular: Array, sent: Sequence[Array]) -> list[Array]:
    """Returns the messages of every row's edges, summed over them.

    Args:
        weights: [R, B, paths · C] radial weights; C is that of each path's features.
        angular: [R, B, (l_max + 1)²] harmonics.
        sent: per degree l of the features [R, B, 2l + 1, C].

    Returns:
        per degree l up to that of the harmonics [R, 2l + 1, paths to l · C].
    """
    l_max = round(angular.shape[-1] ** 0.5) - 1
    all_paths = paths(len(sent) - 1, l_max)
    found: list[list[Array]] = [[] for _ in range(l_max + 1)]
    ends = np.cumsum([sent[l1].shape[-1] for l1, _, _ in all_paths])
    for path, weight in zip(all_paths, jnp.split(weights, ends[:-1], axis=-1)):
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
        return summed_products(y, features[:, :, 0])
    matrix = jnp.einsum("rbj,ijk->rbik", y, jnp.asarray(coupling(path), y.dtype))
    rows, _, _, size = matrix.shape
    features = features.reshape(rows, -1, features.shape[-1])
    return summed_products(matrix.reshape(rows, -1, size), features)


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
