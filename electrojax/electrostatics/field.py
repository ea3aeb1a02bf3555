"""Charge densities in a uniform external field."""

import jax.numpy as jnp

from electrojax.electrostatics.density import ChargeDensity, dipole
from electrojax.errors import ConfigError
from electrojax.system.types import System
from electrojax.typing import Array


def field_energy(density: ChargeDensity, system: System) -> Array:
    """Returns the energy of every structure in its external field, −E·D.

    D = Σ_i (q_i r_i + μ_i) and E is the physical field, so that a charge feels the force qE. The
    zero of the field's potential is at the origin.

    Args:
        density: the charges.
        system: a batch with open boundary; external_field [G, 3] V/Å.

    Returns:
        [G] eV.

    Raises:
        ConfigError: if the boundary is not open: the dipole of a periodic cell jumps when an atom
            is wrapped.
    """
    if system.boundary != "open":
        raise ConfigError(
            f"an external field with boundary {system.boundary!r}; needed boundary 'open'"
        )
    return -jnp.sum(jnp.asarray(system.external_field) * dipole(density, system), axis=-1)
