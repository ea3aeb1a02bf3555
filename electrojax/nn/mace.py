"""MACE: higher-order equivariant message passing (Batatia et al. 2022, arXiv 2206.07697)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.errors import ConfigError
from electrojax.nn.contraction import SymmetricContraction
from electrojax.nn.cueq import require_cuequivariance
from electrojax.nn.distance import TRANSFORMS, transform_distance
from electrojax.nn.embedding import StateEmbedding, TabulatedState
from electrojax.nn.features import Features, from_components
from electrojax.nn.gated import GatedInteraction
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
INTERACTIONS = ("linear", "gated")


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
    edge_channels: tuple[int, ...] = option(
        (),
        "channels per degree of what neighbours send; empty: those of the features",
        positive=True,
        maximum=4096,
    )
    first_edge_channels: bool = option(False, "edge_channels hold in the first layer too")
    interaction: str = option(
        "linear",
        "how messages are made: gated as in MACE-OMOL-0, MACE-MH-1 and MACE-POLAR-1, where they "
        "end at the cutoff with a step unless cutoff_on is weights",
        choices=INTERACTIONS,
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
    state_classes: tuple[int, ...] = option(
        (),
        "for each of states, values in a table, 0 for a network; empty: mixed by element instead",
        minimum=0,
        maximum=100_000,
    )
    state_lowest: tuple[int, ...] = option((), "for each of states, the value of the first class")
    state_hidden: int = option(
        64, "hidden units of the networks of states", positive=True, maximum=16_384
    )
    embedding_energy: bool = option(False, "adds an energy that is linear in the embedding")
    species_products: bool = option(
        True, "the many-body weights are those of each element, not the same for all"
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
        h = self._embedding(system, one_hot)
        energies = [zbl_energies(lengths, system, self.cutoff_power)] if self.zbl else []
        if self.embedding_energy:
            atoms = h[0][:, 0] if self.states else one_hot @ h[0][:, 0]
            energies.append(Linear(1, name="embedding_energy")(atoms)[:, 0])
        outputs = []
        edges = self._rows(system, radial, envelope, angular)
        for index in range(self.layers):
            initial = index == 0 and not self.states
            h = self._layer(index)(h, one_hot, edges, initial)
            outputs.append(from_components(h))
        return Features(tuple(outputs), tuple(energies))

    def _embedding(self, system: System, one_hot: Array) -> Components:
        """The first features: [S, 1, channels] of the elements, or of atoms where there are states.

        Those of atoms are [N, 1, channels].
        """
        embedding = Linear(self.channels, name="embedding")
        if not self.states:
            return (embedding(jnp.eye(self.num_species, dtype=one_hot.dtype))[:, None],)
        state = self._state_embedding()
        return ((embedding(one_hot) + state(system, one_hot))[:, None],)

    def _state_embedding(self) -> StateEmbedding | TabulatedState:
        if not self.state_classes:
            return StateEmbedding(self.states, self.channels, name="state")
        tables = (self.state_classes, self.state_lowest, self.state_hidden)
        return TabulatedState(self.states, *tables, self.channels, name="state")

    def _check(self) -> None:
        allowed = {
            "residual": RESIDUALS,
            "cutoff_on": CUTOFF_PLACES,
            "normalization": NORMALIZATIONS,
            "kernels": KERNELS,
            "interaction": INTERACTIONS,
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise ConfigError(f'{name} "{value}" does not exist; choose from {choices}')
        if len(self.edge_channels) > self.hidden_l_max + 1:
            raise ConfigError(
                f"edge_channels {list(self.edge_channels)} has degrees that the features, with "
                f"hidden_l_max {self.hidden_l_max}, do not have; needed at most "
                f"{self.hidden_l_max + 1} entries"
            )
        if self.kernels == "cuequivariance":
            require_cuequivariance()

    def _radial(self, lengths: Array, system: System) -> tuple[Array, Array | None]:
        """The radial basis [E, B], and the envelope [E, 1] of the weights where it is not in it."""
        envelope = polynomial_cutoff(lengths, self.cutoff, self.cutoff_power)[:, None]
        seen = transform_distance(self.distance_transform, lengths, system)
        radial = radial_basis(self.radial_basis, seen, self.cutoff, self.bessel)
        if self.cutoff_on == "weights":
            return radial, envelope
        if self.interaction == "gated":  # weights do not vanish with the basis
            inside = (lengths < self.cutoff)[:, None]
            return radial * envelope, inside.astype(lengths.dtype)
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
            edge_channels=self._edge_channels(index),
            gated=self.interaction == "gated",
            by_species=self.species_products,
            name=f"layer_{index}",
        )

    def _edge_channels(self, index: int) -> tuple[int, ...]:
        if index:
            return self.edge_channels
        return self.edge_channels[:1] if self.first_edge_channels else ()


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
        edge_channels: channels of what neighbours send, per degree; empty for those of features.
        gated: whether the interaction is gated; then the old features are mixed alike for all
            species.
        by_species: whether the many-body weights are those of each species.
    """

    channels: int
    l_out: int
    correlation: int
    radial_hidden: tuple[int, ...]
    average_neighbors: float
    residual: bool
    by_density: bool = False
    kernels: str = "own"
    edge_channels: tuple[int, ...] = ()
    gated: bool = False
    by_species: bool = True

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
        particles = self._interaction()(h, edges, one_hot, initial)
        if initial:
            h = (jnp.tensordot(one_hot, h[0], 1),)
        if not self.residual:
            particles = self._by_species(particles, one_hot)
        stacked = jnp.moveaxis(jnp.concatenate(particles, axis=1), 1, 0)
        contraction = SymmetricContraction(
            len(particles) - 1, self.l_out, self.correlation, self.kernels, name="contraction"
        )
        weighted = one_hot if self.by_species else jnp.sum(one_hot, axis=1, keepdims=True)
        products = [jnp.moveaxis(x, 0, 1) for x in contraction(stacked, weighted)]
        update = [
            Linear(self.channels, name=f"product_{degree}")(x) for degree, x in enumerate(products)
        ]
        if self.residual:
            kept = self._kept(h[: self.l_out + 1], one_hot)
            update = [u + k for u, k in zip(update, kept)] + update[len(kept) :]
        return tuple(update)

    def _interaction(self) -> Interaction | GatedInteraction:
        same = (self.channels, self.radial_hidden, self.average_neighbors)
        if self.gated:
            return GatedInteraction(*same, self.edge_channels, name="interaction")
        return Interaction(*same, self.by_density, self.edge_channels, name="interaction")

    def _kept(self, x: Components, one_hot: Array) -> Components:
        """The old features, mixed."""
        if not self.gated:
            return self._by_species(x, one_hot)
        return tuple(
            Linear(self.channels, name=f"kept_{degree}")(part) for degree, part in enumerate(x)
        )

    def _by_species(self, x: Components, one_hot: Array) -> Components:
        return tuple(
            SpeciesLinear(self.channels, name=f"species_{degree}")(part, one_hot)
            for degree, part in enumerate(x)
        )
