"""Learned quadratic energies of an atom's own multipoles: positive by construction."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.nn.features import Features, component
from electrojax.nn.linear import Linear
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.readouts.elements import (
    DRIVE_PER_ELECTRONEGATIVITY,
    ElementTable,
    electropositivities,
)
from electrojax.solvers.readouts.irreps import irreps
from electrojax.system.types import System
from electrojax.typing import Array

INITIAL_HARDNESS = 8.0
"""eV/(e·Å^l)², before training: usual for charges in eV/e²; for dipoles it is 1.8 Å³."""


class Hardness(nn.Module):
    """Blocks H_i = diag(η_0, η_1, η_1, η_1, ...) + Σ_r v_r v_rᵀ over an atom's multipoles.

    Each η_l is a softplus and each v_r an equivariant multipole read from the features, so that H_i
    is positive definite and turns with the atom; the second term couples charge and dipole and
    makes polarisabilities anisotropic.

    Attributes:
        l_max: highest multipole order.
        environment: read η_l from the features too, not from the element alone.
        rank: the number of vectors v_r.
        scales: eV/(e·Å^l)², η_l before training, for each order in turn; what is learned is then
            relative to it, so that steps of one size soften hard atoms as fast as soft ones.
            Without them all orders start at INITIAL_HARDNESS and are learned in eV/(e·Å^l)².
        floor: eV/(e·Å^l)², added to every η_l: Gaussians of 1.5 Å keep charge from moving along a
            bond of 1 Å with 0.2 eV/e² only, and a softplus alone may come to nothing.
    """

    l_max: int
    environment: bool = True
    rank: int = 0
    scales: tuple[float, ...] = ()
    floor: float = 0.0

    @nn.compact
    def __call__(self, features: Features, system: System) -> Array:
        """Returns H [N, M, M] in eV/(e·Å^l)², the unit matrix on padding."""
        like = features.layers[0].array
        diagonal = [self._degree(l, features, system) for l in range(self.l_max + 1)]
        repeated = [d for l, d in enumerate(diagonal) for _ in range(2 * l + 1)]
        identity = jnp.eye(len(repeated), dtype=like.dtype)
        blocks = jnp.stack(repeated, axis=1)[:, :, None] * identity
        if self.rank:
            vectors = MultipoleChannels(self.l_max, self.rank, name="vectors")(features)
            blocks = blocks + jnp.einsum("nri,nrj->nij", vectors, vectors)
        return jnp.where(system.node_mask[:, None, None], blocks, identity)

    def _degree(self, l: int, features: Features, system: System) -> Array:
        start, unit, spread = INITIAL_HARDNESS, 1.0, 1.0
        if self.scales:
            start, unit, spread = 1.0, hardness_unit(self.scales[l]), 0.1
        raw = ElementTable(start, name=f"element_{l}")(system, features.layers[0].dtype)
        if self.environment:
            raw = raw + MultipoleReadout("1x0e", spread, name=f"features_{l}")(features)[:, 0]
        return unit * jax.nn.softplus(raw) + self.floor


def hardness_unit(start: float) -> float:
    """Returns the unit u of η = u softplus(x) for which x = 1 is the hardness at the start."""
    return start / math.log1p(math.e)


class MultipoleChannels(nn.Module):
    """Several multipoles per atom, linear in the features of every layer.

    Attributes:
        l_max: highest multipole order.
        channels: how many.
        initial_scale: typical size of the initial output for features of unit variance.
    """

    l_max: int
    channels: int
    initial_scale: float = 1.0

    @nn.compact
    def __call__(self, features: Features) -> Array:
        """Returns [N, channels, M] in the order [s, y, z, x, ...]."""
        degrees = [self._degree(l, features) for l in range(self.l_max + 1)]
        return jnp.swapaxes(jnp.concatenate(degrees, axis=1), 1, 2)

    def _degree(self, l: int, features: Features) -> Array:
        blocks = [component(layer, l) for layer in features.layers]
        used = [(index, x) for index, x in enumerate(blocks) if x.shape[-1]]
        outputs = [
            Linear(self.channels, self.initial_scale, name=f"layer_{i}_degree_{l}")(x)
            for i, x in used
        ]
        empty = jnp.zeros((blocks[0].shape[0], 2 * l + 1, self.channels), blocks[0].dtype)
        return sum(outputs, empty)


def learned_drive(features: Features, system: System, l_max: int) -> Array:
    """Returns the drive d [N, M] in eV/(e·Å^l): for charges, minus the electronegativity.

    Called inside a compact Flax method, whose parameters it adds.
    """
    drive = MultipoleReadout(irreps(l_max), 1.0, name="drive")(features)
    start = electropositivities(-DRIVE_PER_ELECTRONEGATIVITY)
    table = ElementTable(start, name="electronegativity")
    return drive.at[:, 0].add(-table(system, drive.dtype))
