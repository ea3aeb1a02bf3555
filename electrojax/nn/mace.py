"""MACE: higher-order equivariant message passing (Batatia et al. 2022, arXiv 2206.07697)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.nn.contraction import SymmetricContraction
from electrojax.nn.cueq import require_cuequivariance
from electrojax.nn.distance import TRANSFORMS, transform_distance
from electrojax.nn.embedding import StateEmbedding
from electrojax.nn.features import Features, from_components
from electrojax.nn.interaction import EdgeFeatures, Interaction
from electrojax.nn.linear import Linear, SpeciesLinear
from electrojax.nn.options import option, runtime
from electrojax.nn.radial import (
    BASES,
    harmonics,
    lengths_and_directions,
    polynomial_cutoff,
    radial_basis,
)
from electrojax.nn.repulsion import zbl_energies
from electrojax.nn.rows import edge_rows
from electrojax.system.types import System
from electrojax.typing import Array

Components = tuple[Array, ...]

RESIDUALS = ("later", "all", "none")
CUTOFF_PLACES = ("basis", "weights")
NORMALIZATIONS = ("average", "density")
KERNELS = ("own", "cuequivariance")


class Mace(nn.Module):
    """The MACE backbone.

    With ``last_scalars`` off, every layer keeps its features with l > 0, the last one too. The
    other choices of architecture are those of published MACE models.
    """

    num_species: int = runtime(1, "number of chemical elements")
    average_neighbors: float = runtime(1.0, "mean number of edges that end at an atom")
    cutoff: float = option(5.0, "radius of the atomic environment in Å", minimum=0.1, maximum=100)
    channels: int = option(64, "channels per degree l", positive=True, maximum=4096)
    l_max: int = option(2, "largest degree of the edge harmonics", minimum=0, maximum=4)
    hidden_l_max: int = option(1, "largest degree of the node features", minimum=0, maximum=4)
    layers: int = option(2, "message-passing layers", positive=True, maximum=100)
    correlation: int = option(
        3, "polynomial degree of a layer's many-body features", minimum=1, maximum=8
    )
    bessel: int = option(8, "number of radial functions", positive=True, maximum=1000)
    radial_basis: str = option("bessel", "kind of the radial functions", choices=BASES)
    distance_transform: str = option(
        "none", "applied to lengths before the radial functions", choices=TRANSFORMS
    )
    cutoff_power: int = option(5, "power p of the polynomial cutoff", minimum=3, maximum=100)
    cutoff_on: str = option(
        "basis", "what the cutoff multiplies: radial basis or weights", choices=CUTOFF_PLACES
    )
    radial_hidden: tuple[int, ...] = option(
        (64, 64, 64), "hidden widths of the radial network", positive=True, maximum=16_384
    )
    residual: str = option("later", "layers with a residual connection", choices=RESIDUALS)
    normalization: str = option(
        "average", "messages are divided by: mean neighbours or own density", choices=NORMALIZATIONS
    )
    last_scalars: bool = option(False, "the last layer keeps only l = 0, enough for an energy")
    zbl: bool = option(False, "adds the ZBL repulsion of nuclei, times the scale of the energy")
    states: tuple[str, ...] = option(
        (), "of the structure, embedded in every atom: total_charge, multiplicity"
    )
    kernels: str = option(
        "own", "what evaluates the many-body features, with the same result", choices=KERNELS
    )

    @nn.compact
    def __call__(self, system: System, species: Array, vectors: Array) -> Features:
        """Returns the features of every layer.

        Args:
            system: a batch, of which the edges and what ``states`` names are read.
            species: [N] index of the element, −1 on padding.
            vectors: [E, 3] Å edge vectors in the order (y, z, x).
        """
        self._check()
        lengths, directions = lengths_and_directions(vectors)
        radial, envelope = self._radial(lengths, system)
        angular = harmonics(directions, self.l_max)
        one_hot = jax.nn.one_hot(species, self.num_species, dtype=vectors.dtype)
        embedding = Linear(self.channels, name="embedding")
        if self.states:
            state = StateEmbedding(self.states, self.channels, name="state")
            h: Components = ((embedding(one_hot) + state(system, one_hot))[:, None],)
        else:
            h = (embedding(jnp.eye(self.num_species, dtype=vectors.dtype))[:, None],)
        outputs = []
        edges = self._rows(system, radial, envelope, angular)
        for index in range(self.layers):
            initial = index == 0 and not self.states
            h = self._layer(index)(h, one_hot, edges, initial)
            outputs.append(from_components(h))
        pairs = (zbl_energies(lengths, system, self.cutoff_power),) if self.zbl else ()
        return Features(tuple(outputs), pairs)

    def _check(self) -> None:
        allowed = {
            "residual": RESIDUALS,
            "cutoff_on": CUTOFF_PLACES,
            "normalization": NORMALIZATIONS,
            "kernels": KERNELS,
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise ConfigError(f'{name} "{value}" does not exist; choose from {choices}')
        if self.kernels == "cuequivariance":
            require_cuequivariance()

    def _radial(self, lengths: Array, system: System) -> tuple[Array, Array | None]:
        """The radial basis [E, B], and the envelope [E, 1] of the weights where it is not in it."""
        envelope = polynomial_cutoff(lengths, self.cutoff, self.cutoff_power)[:, None]
        seen = transform_distance(self.distance_transform, lengths, system)
        radial = radial_basis(self.radial_basis, seen, self.cutoff, self.bessel)
        if self.cutoff_on == "weights":
            return radial, envelope
        return radial * envelope, None

    def _rows(
        self, system: System, radial: Array, envelope: Array | None, angular: Array
    ) -> EdgeFeatures:
        """What belongs to edges [E, ...] in rows of one receiving atom each."""
        rows = edge_rows(system.receivers, system.n_nodes)
        factor = None if envelope is None else rows.take(envelope)
        senders = rows.take(system.senders)
        return EdgeFeatures(rows.take(radial), factor, rows.take(angular), senders, rows)

    def _layer(self, index: int) -> "MaceLayer":
        scalars = self.last_scalars and index == self.layers - 1
        return MaceLayer(
            self.channels,
            0 if scalars else self.hidden_l_max,
            self.correlation,
            self.radial_hidden,
            self.average_neighbors,
            residual=self.residual == "all" or (self.residual == "later" and index > 0),
            by_density=self.normalization == "density",
            kernels=self.kernels,
            name=f"layer_{index}",
        )


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
        by_density: whether messages are divided by the atom's own density of neighbours.
        kernels: what evaluates the symmetric contraction.
    """

    channels: int
    l_out: int
    correlation: int
    radial_hidden: tuple[int, ...]
    average_neighbors: float
    residual: bool
    by_density: bool = False
    kernels: str = "own"

    @nn.compact
    def __call__(
        self,
        h: Components,
        one_hot: Array,
        edges: EdgeFeatures,
        initial: bool = False,
    ) -> Components:
        """Returns per degree l = 0 ... l_out an array [N, 2l + 1, channels].

        Args:
            h: per degree an array [N, 2l + 1, channels].
            one_hot: [N, S], zero rows on padding.
            edges: the batch's.
            initial: whether h is one array [S, 1, channels] that all atoms of a species share.
        """
        interaction = Interaction(
            self.channels,
            self.radial_hidden,
            self.average_neighbors,
            self.by_density,
            name="interaction",
        )
        particles = interaction(h, edges, one_hot, initial)
        if initial:
            h = (jnp.tensordot(one_hot, h[0], 1),)
        if not self.residual:
            particles = self._by_species(particles, one_hot)
        stacked = jnp.moveaxis(jnp.concatenate(particles, axis=1), 1, 0)
        contraction = SymmetricContraction(
            len(particles) - 1, self.l_out, self.correlation, self.kernels, name="contraction"
        )
        products = [jnp.moveaxis(x, 0, 1) for x in contraction(stacked, one_hot)]
        update = [
            Linear(self.channels, name=f"product_{degree}")(x) for degree, x in enumerate(products)
        ]
        if self.residual:
            kept = self._by_species(h[: self.l_out + 1], one_hot)
            update = [u + k for u, k in zip(update, kept)] + update[len(kept) :]
        return tuple(update)

    def _by_species(self, x: Components, one_hot: Array) -> Components:
        return tuple(
            SpeciesLinear(self.channels, name=f"species_{degree}")(part, one_hot)
            for degree, part in enumerate(x)
        )
