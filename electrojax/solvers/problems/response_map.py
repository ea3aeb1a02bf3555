"""Learned responses of an atom's multipoles to the potentials that it receives.

v_i is what receivers at the atom average of the potential: [W, M] for W widths and every order,
in V/Å^l. With equivariant vectors a_r (inward) and b_r (outward) read from the features,

    affine:    Δ_i = S_i v_i + Σ_r b_r ⟨a_r, v_i⟩
    one_body:  Δ_i = S_i v_i + Σ_r b_r φ_r(⟨a_1, v_i⟩, ..., ⟨a_R, v_i⟩)
    many_body: φ_r also sees Σ_j f_r(r_ij) ⟨a_s, v_j⟩ / (1 + Σ_j u(r_ij)) of the neighbours j,

with S_i one slope per order and width. The slopes have either sign: nothing here is symmetric. u
is the cutoff's envelope: potentials of neighbours are alike, so that their sum would grow with the
coordination; divided by the atom's own one it is an average, in crowds too.
Source of the form: Baldwin et al., arXiv 2603.14700 (OneBodyVariableUpdate and ManyBodyUpdate).
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.nn.features import Features
from electrojax.nn.initial import normal
from electrojax.nn.linear import Linear
from electrojax.nn.radial import bessel_basis, lengths_and_directions, polynomial_cutoff
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.readouts.elements import ElementTable
from electrojax.solvers.readouts.hardness import MultipoleChannels
from electrojax.system.geometry import edge_vectors
from electrojax.system.types import System
from electrojax.typing import Array, struct

Update = Literal["affine", "one_body", "many_body"]

INITIAL_SLOPE = -0.05
"""e/V and Å³-like, of every order, for the first receiver: the others start at zero."""

_BESSEL = 8


@struct
class AffineResponse:
    """Δ_i = A_i v_i, assembled once per geometry.

    Attributes:
        matrix: [N, M, W·M], zero on padding.
    """

    matrix: Array

    @property
    def affine(self) -> bool:
        """Whether Δ is linear in what is received."""
        return True

    def __call__(self, received: Array) -> Array:
        """Returns Δ [N, M] of what the receivers see [N, W, M]."""
        flat = received.reshape(received.shape[0], -1)
        return jnp.einsum("nmv,nv->nm", self.matrix, flat)


@struct
class OneBodyResponse:
    """A bounded function of the received potentials on top of the affine response.

    Attributes:
        linear: the affine part.
        inward: [N, R, W·M].
        outward: [N, R, M], zero on padding.
        first: [R, H] weights.
        second: [H, R] weights.
    """

    linear: AffineResponse
    inward: Array
    outward: Array
    first: Array
    second: Array

    @property
    def affine(self) -> bool:
        """Whether Δ is linear in what is received."""
        return False

    def __call__(self, received: Array) -> Array:
        """Returns Δ [N, M] of what the receivers see [N, W, M]."""
        hidden = jnp.tanh(self.invariants(received) @ self.first)
        return self.spread(hidden @ self.second, received)

    def invariants(self, received: Array) -> Array:
        """Returns ⟨a_r, v_i⟩ [N, R]."""
        return jnp.einsum("nrv,nv->nr", self.inward, received.reshape(received.shape[0], -1))

    def spread(self, values: Array, received: Array) -> Array:
        """Returns S v + Σ_r b_r φ_r [N, M] of the values φ [N, R]."""
        return self.linear(received) + jnp.einsum("nr,nrm->nm", values, self.outward)


@struct
class ManyBodyResponse:
    """The same with one pass of messages: the function sees the neighbours' potentials too.

    Attributes:
        atoms: the response of single atoms, whose function has 2R inputs.
        filters: [E, R] of the distance, zero from the cutoff on, over the receiver's coordination.
        system: the batch, for its edges.
    """

    atoms: OneBodyResponse
    filters: Array
    system: System

    @property
    def affine(self) -> bool:
        """Whether Δ is linear in what is received."""
        return False

    def __call__(self, received: Array) -> Array:
        """Returns Δ [N, M] of what the receivers see [N, W, M]."""
        own = self.atoms.invariants(received)
        senders, receivers = self.system.senders, self.system.receivers
        messages = self.filters * own.at[senders].get(mode="fill", fill_value=0)
        seen = jax.ops.segment_sum(messages, receivers, own.shape[0], indices_are_sorted=True)
        inputs = jnp.concatenate([own, seen], axis=1)
        return self.atoms.spread(jnp.tanh(inputs @ self.atoms.first) @ self.atoms.second, received)


Response = AffineResponse | OneBodyResponse | ManyBodyResponse


class ResponseReadout(nn.Module):
    """Reads the response of every atom from the features.

    Attributes:
        l_max: highest order of the density and of the receivers.
        receivers: W, number of widths.
        rank: R, number of vector pairs.
        update: the form of the response.
        cutoff: Å, of the edges along which ``many_body`` passes messages.
        hidden: H, width of the function.
    """

    l_max: int
    receivers: int
    rank: int
    update: Update
    cutoff: float
    hidden: int = 16

    @nn.compact
    def __call__(self, features: Features, system: System) -> Response:
        """Returns the response."""
        slopes = self._slopes(features, system)
        inward = MultipoleChannels(self.l_max, self.rank * self.receivers, 0.3, name="inward")(
            features
        ).reshape(slopes.shape[0], self.rank, -1)
        outward = MultipoleChannels(self.l_max, self.rank, 0.3, name="outward")(features)
        mask = system.node_mask[:, None, None]
        outward = jnp.where(mask, outward, 0.0)
        if self.update == "affine":
            low_rank = jnp.einsum("nrm,nrv->nmv", outward, inward)
            return AffineResponse(jnp.where(mask, slopes + low_rank, 0.0))
        linear = AffineResponse(jnp.where(mask, slopes, 0.0))
        inputs = self.rank * (2 if self.update == "many_body" else 1)
        first, second = self._weights(inputs, slopes.dtype)
        atoms = OneBodyResponse(linear, inward, outward, first, second)
        if self.update == "one_body":
            return atoms
        return ManyBodyResponse(atoms, self._filters(system), system)

    def _slopes(self, features: Features, system: System) -> Array:
        """S [N, M, W·M]: for each receiver, one number per order on the diagonal."""
        dtype = features.layers[0].dtype
        blocks = []
        for index in range(self.receivers):
            start = INITIAL_SLOPE if index == 0 else 0.0
            orders = []
            for l in range(self.l_max + 1):
                name = f"slope_{index}_{l}"
                slope = ElementTable(start, name=f"{name}_element")(system, dtype)
                slope = slope + MultipoleReadout("1x0e", 0.03, name=name)(features)[:, 0]
                orders += [slope] * (2 * l + 1)
            diagonal = jnp.stack(orders, axis=1)
            blocks.append(diagonal[:, :, None] * jnp.eye(len(orders), dtype=dtype))
        return jnp.concatenate(blocks, axis=2)

    def _weights(self, inputs: int, dtype: jnp.dtype) -> tuple[Array, Array]:
        first = self.param("first", normal(1.0), (inputs, self.hidden), dtype)
        second = self.param("second", normal(1.0), (self.hidden, self.rank), dtype)
        return first / inputs**0.5, second / self.hidden**0.5

    def _filters(self, system: System) -> Array:
        lengths, _ = lengths_and_directions(edge_vectors(system))
        envelope = polynomial_cutoff(lengths, self.cutoff, 5)
        envelope = jnp.where(system.edge_mask, envelope, 0.0)
        radial = bessel_basis(lengths, self.cutoff, _BESSEL) * envelope[:, None]
        receivers = system.receivers
        neighbors = jax.ops.segment_sum(
            envelope, receivers, system.n_nodes, indices_are_sorted=True
        )
        coordination = 1.0 + neighbors.at[receivers].get(mode="fill", fill_value=0)
        return Linear(self.rank, name="filters")(radial) / coordination[:, None]
