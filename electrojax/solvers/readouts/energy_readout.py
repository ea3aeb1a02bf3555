"""Energies of a self-consistent density, for maps that no energy stands behind.

With δp = p − p_loc and v the potential that acts on the atom's own Gaussians, external field and
level included, the work of polarising a linear atom is ½⟨δp, H δp⟩ = −½⟨δp, v⟩. With it and
nothing else the energy of a symmetric response is the one that its density minimises, up to a
constant of the geometry. Learned terms ⟨a_k, δp⟩⟨b_k, v⟩, and a perceptron of those invariants and
the features, go beyond. Source of the forms: Baldwin et al., arXiv 2603.14700
(StrictQuadraticFieldEnergyReadout and OneBodyMLPFieldReadout).
"""

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.density import degrees
from electrojax.nn.features import Features, component
from electrojax.nn.linear import Linear, Perceptron
from electrojax.solvers.readouts.hardness import MultipoleChannels
from electrojax.typing import Array


class PolarisationEnergy(nn.Module):
    """Per-atom energies of the density's change and the potential that made it.

    Attributes:
        l_max: highest multipole order.
        width: Å, of the density.
        terms: K, the number of invariants.
        hidden: widths of the perceptron; none for the quadratic form alone.
    """

    l_max: int
    width: float
    terms: int
    hidden: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, features: Features, change: Array, potential: Array) -> Array:
        """Returns [N] eV, zero on padding.

        Args:
            features: of every layer.
            change: δp [N, M] e·Å^l.
            potential: v [N, M] V/Å^l.
        """
        scale = self.width ** degrees(change)
        charges = MultipoleChannels(self.l_max, self.terms, name="charges")(features)
        potentials = MultipoleChannels(self.l_max, self.terms, name="potentials")(features)
        moved = jnp.einsum("nkm,nm->nk", charges, change / scale)
        felt = jnp.einsum("nkm,nm->nk", potentials, potential * scale)
        energy = -0.5 * jnp.sum(change * potential, axis=1)
        energy = energy + Linear(1, 0.03, name="products")(moved * felt)[:, 0]
        if not self.hidden:
            return energy
        scalars = component(features.layers[-1], 0)[:, 0]
        inputs = jnp.concatenate([moved, felt, scalars], axis=1)
        mask = jnp.any(features.layers[-1].array != 0, axis=1) | jnp.any(change != 0, axis=1)
        learned = Perceptron(self.hidden, 1, name="perceptron")(inputs)[:, 0]
        return energy + jnp.where(mask, learned, 0.0)
