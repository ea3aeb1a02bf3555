"""MACE: higher-order equivariant message passing (Batatia et al. 2022, arXiv 2206.07697)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.nn.contraction import SymmetricContraction
from electrojax.nn.embedding import StateEmbedding
from electrojax.nn.features import Features, from_components
from electrojax.nn.interaction import Interaction
from electrojax.nn.linear import Linear, SpeciesLinear
from electrojax.nn.options import option, runtime
from electrojax.nn.radial import bessel_basis, harmonics, lengths_and_directions, polynomial_cutoff
from electrojax.system.types import System
from electrojax.typing import Array

Components = tuple[Array, ...]


class Mace(nn.Module):
    """The MACE backbone; every layer, the last one too, keeps its features with l > 0."""

    num_species: int = runtime(1, "number of chemical elements")
    average_neighbors: float = runtime(1.0, "mean number of edges that end at an atom")
    cutoff: float = option(5.0, "radius of the atomic environment in Å", positive=True)
    channels: int = option(64, "channels per degree l", positive=True)
    l_max: int = option(2, "largest degree of the edge harmonics", minimum=0, maximum=4)
    hidden_l_max: int = option(1, "largest degree of the node features", minimum=0, maximum=4)
    layers: int = option(2, "message-passing layers", positive=True)
    correlation: int = option(3, "polynomial degree of a layer's many-body features", minimum=1)
    bessel: int = option(8, "number of radial Bessel functions", positive=True)
    cutoff_power: int = option(5, "power p of the polynomial cutoff", minimum=3)
    radial_hidden: tuple[int, ...] = option((64, 64, 64), "hidden widths of the radial network")
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
        h: Components = (atoms[:, None, :],)
        outputs = []
        for index in range(self.layers):
            layer = MaceLayer(
                self.channels,
                self.hidden_l_max,
                self.correlation,
                self.radial_hidden,
                self.average_neighbors,
                residual=index > 0,
                name=f"layer_{index}",
            )
            h = layer(h, one_hot, radial, angular, system.senders, system.receivers)
            outputs.append(from_components(h))
        return Features(tuple(outputs))


class MaceLayer(nn.Module):
    """Interaction, symmetric contraction and update of the node features.

    Attributes:
        channels: channels per degree.
        l_out: largest degree of the node features.
        correlation: polynomial degree.
        radial_hidden: hidden widths of the radial network.
        average_neighbors: mean number of neighbours.
        residual: whether the old features, mixed by species, are added (arXiv 2206.07697 eq. 12);
            otherwise the one-particle features are mixed by the species of the receiving atom.
    """

    channels: int
    l_out: int
    correlation: int
    radial_hidden: tuple[int, ...]
    average_neighbors: float
    residual: bool

    @nn.compact
    def __call__(
        self,
        h: Components,
        one_hot: Array,
        radial: Array,
        angular: Array,
        senders: Array,
        receivers: Array,
    ) -> Components:
        """Returns per degree l = 0 ... l_out an array [N, 2l + 1, channels]."""
        interaction = Interaction(
            self.channels, self.radial_hidden, self.average_neighbors, name="interaction"
        )
        particles = interaction(h, radial, angular, senders, receivers)
        if not self.residual:
            particles = self._by_species(particles, one_hot)
        stacked = jnp.moveaxis(jnp.concatenate(particles, axis=1), 1, 0)
        contraction = SymmetricContraction(
            len(particles) - 1, self.l_out, self.correlation, name="contraction"
        )
        products = [jnp.moveaxis(x, 0, 1) for x in contraction(stacked, one_hot)]
        update = [
            Linear(self.channels, name=f"product_{degree}")(x) for degree, x in enumerate(products)
        ]
        if self.residual:
            kept = self._by_species(h, one_hot)
            update = [u + k for u, k in zip(update, kept)] + update[len(kept) :]
        return tuple(update)

    def _by_species(self, x: Components, one_hot: Array) -> Components:
        return tuple(
            SpeciesLinear(self.channels, name=f"species_{degree}")(part, one_hot)
            for degree, part in enumerate(x)
        )
