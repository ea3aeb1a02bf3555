"""Potentials relative to the neighbourhood: what learned parts may read of a potential.

With edge weights w that fade to zero at the cutoff (:func:`electrojax.electrostatics.flow.
edge_weights`), the potential of an atom is counted from the mean over itself and its neighbours,

    v̂_i = v_i − (v_i + Σ_j w_ij v_j) / (1 + Σ_j w_ij),  for l = 0;  v̂_i = v_i beyond,

a linear map v̂ = G v. A constant shift φ of the potential leaves v̂ as it is, so that the energy of a
model that reads v̂ alone changes by φQ exactly; and a charge q at the distance R, which shifts v by
k q/R, changes v̂ by O(R⁻²): the force between far charged parts goes over into Coulomb's. Atoms
without neighbours have v̂ = 0 at l = 0. Also Σ_i (Gᵀ u)_i = 0 at l = 0, for each connected part.
"""

import jax.numpy as jnp

from electrojax.electrostatics.flow import at_receivers, edge_weights
from electrojax.system.geometry import edge_vectors
from electrojax.system.types import System
from electrojax.typing import Array, struct


@struct
class Neighborhoods:
    """The map G of a geometry.

    Attributes:
        system: the batch.
        weights: [E] w, zero on padding.
        total: [N] 1 + Σ w.
    """

    system: System
    weights: Array
    total: Array

    def differences(self, potentials: Array) -> Array:
        """Returns v̂ = G v.

        Args:
            potentials: v [N, ..., M] V/Å^l, the components of every order last.

        Returns:
            The same shape.
        """
        scalars = potentials[..., 0]
        sent = scalars.at[self.system.senders].get(mode="fill", fill_value=0)
        spread = (-1, *[1] * (scalars.ndim - 1))
        around = at_receivers(self.weights.reshape(spread) * sent, self.system)
        mean = (scalars + around) / self.total.reshape(spread)
        return potentials.at[..., 0].add(-mean)


def neighborhoods(system: System, cutoff: float) -> Neighborhoods:
    """Returns the map from potentials to potential differences in this geometry.

    Args:
        system: a batch, with every edge in both directions.
        cutoff: Å, at which the weights of edges have faded.
    """
    weights = edge_weights(edge_vectors(system), cutoff)
    weights = jnp.where(system.edge_mask, weights, 0.0)
    return Neighborhoods(system, weights, 1.0 + at_receivers(weights, system))
