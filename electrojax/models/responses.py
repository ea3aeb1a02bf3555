"""What is predicted when asked for: Born charges and polarisability, potential at the nuclei.

They are derivatives of the polarisation at fixed external field, the density relaxed where the
solver relaxes it: Z*_{i,ab} = ∂P_a/∂r_ib and α_ab = ∂P_a/∂E_b. Where P = −∂E/∂E_field they are
second derivatives of the energy (X. Gonze and C. Lee, Phys. Rev. B 55, 10355 (1997)). Where the
energy of a solver is not stationary in its density, P is that of the density, and the second
derivatives of the energy, which are other numbers, have names of their own.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from electrojax.electrostatics.contract import CoulombEngine, CoulombOperator
from electrojax.electrostatics.density import ChargeDensity, dipole, summed_channels
from electrojax.electrostatics.field import field_energy
from electrojax.errors import ConfigError, DataError
from electrojax.solvers.base import ChargeSolver
from electrojax.system.quantities import AT_NUCLEI, FIELD_RESPONSES, RESPONSES
from electrojax.system.types import Frame, System
from electrojax.typing import Array, replace

OF_ENERGY = "energy_"
"""Before the names of second derivatives of an energy that the density does not minimise."""


def field_responses(
    energy: Callable[[Array, Array], Array], positions: Array, field: Array, names: Sequence[str]
) -> dict[str, Array]:
    """Returns the responses asked for, by differentiating forces and polarisation along the field.

    Args:
        energy: maps positions [N, 3] and external fields [G, 3] to the sum of energies in eV.
        positions: [N, 3] Å.
        field: [G, 3] V/Å.
        names: any of FIELD_RESPONSES.

    Returns:
        ``born_charges`` [N, 3, 3] e and ``polarizability`` [G, 3, 3] e·Å²/V.
    """
    if not names:
        return {}
    slopes = jax.grad(energy, (0, 1))

    def along(direction: Array) -> tuple[Array, Array]:
        tangent = jnp.broadcast_to(direction, field.shape)
        return jax.jvp(lambda f: slopes(positions, f), (field,), (tangent,))[1]

    by_atom, by_field = jax.vmap(along, out_axes=1)(jnp.eye(3, dtype=field.dtype))
    found = {"born_charges": -by_atom, "polarizability": -by_field}
    return {name: found[name] for name in names}


def moment_responses(
    moment: Callable[[Array, Array], Array], positions: Array, field: Array, names: Sequence[str]
) -> dict[str, Array]:
    """Returns the responses asked for, by differentiating the polarisation itself.

    Args:
        moment: maps positions [N, 3] and external fields [G, 3] to the polarisation [G, 3] e·Å.
        positions: [N, 3] Å.
        field: [G, 3] V/Å.
        names: any of FIELD_RESPONSES.

    Returns:
        As :func:`field_responses`.
    """
    if not names:
        return {}
    _, pull = jax.vjp(moment, positions, field)
    units = jnp.eye(3, dtype=field.dtype)

    def of(direction: Array) -> tuple[Array, Array]:
        slopes: tuple[Array, Array] = pull(jnp.broadcast_to(direction, field.shape))
        return slopes

    by_atom, by_field = jax.vmap(of, out_axes=1)(units)
    found = {"born_charges": by_atom, "polarizability": by_field}
    return {name: found[name] for name in names}


def density_polarization(
    density: ChargeDensity, system: System, cutoff: float, coulomb: CoulombOperator | None = None
) -> Array:
    """Returns the polarisation of a density [G, 3] e·Å, with the density as it is.

    P = −∂⟨p, v(E)⟩/∂E of the energy in the field of :mod:`electrojax.electrostatics.field`.

    Args:
        density: the charges.
        system: the batch.
        cutoff: Å, of its edges, along which charge flows in periodic directions.
        coulomb: the operator of this geometry, for the counter charge of a slab.
    """
    if system.boundary == "open":
        return dipole(density, system)

    def energy(field: Array) -> Array:
        moved = replace(system, external_field=field)
        return jnp.sum(field_energy(density, moved, cutoff, coulomb))

    return -jax.grad(energy)(system.external_field)


def nuclear_potential(
    density: ChargeDensity, system: System, engine: CoulombEngine, l_max: int, width: float
) -> Array:
    """Returns the electrostatic potential of a density at the nuclei.

    φ(r_i) = Σ_j q_j k_e erf(r_ij/√2σ)/r_ij + ..., an atom's own Gaussian included, in the gauge of
    the boundary and without an applied field's. It is the potential of Gaussians of width σ/√2,
    averaged over others of that width: variances add.

    Args:
        density: the charges.
        system: the batch, with k-vectors for Gaussians of that width (:func:`plan_width`).
        engine: of its boundary.
        l_max: highest multipole order of the density.
        width: σ in Å.

    Returns:
        [N] V, zero on padding.
    """
    coulomb = engine.prepare(system, l_max, plan_width(width, ("potential",)))
    return coulomb.potential(summed_channels(density.multipoles))[:, 0]


def plan_width(width: float, names: Sequence[str]) -> float:
    """Returns the width in Å of the narrowest Gaussians that predictions need the k-vectors of.

    Args:
        width: σ of the density in Å.
        names: what is asked for, any of RESPONSES.
    """
    return width / math.sqrt(2.0) if "potential" in names else width


def labelled_responses(solver: ChargeSolver, frames: Sequence[Frame]) -> tuple[str, ...]:
    """Returns the responses that some structure has a label of and the solver gives for all."""
    felt = all(frame.boundary in solver.field_boundaries for frame in frames)
    given = (*(FIELD_RESPONSES if felt else ()), *(AT_NUCLEI if _charged(solver) else ()))
    return tuple(name for name in given if any(name in frame.labels for frame in frames))


def _charged(solver: ChargeSolver) -> bool:
    """Whether a solver has physical charges, and a Coulomb operator for them."""
    return solver.uses_coulomb and "charges" in solver.provides


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the responses in a fixed order, each once.

    Raises:
        ConfigError: for one that does not exist.
    """
    unknown = [name for name in names if name not in RESPONSES]
    if unknown:
        raise ConfigError(f'responses: "{unknown[0]}" does not exist; choose from {RESPONSES}')
    return tuple(name for name in RESPONSES if name in names)


def check_responses(names: Sequence[str], solver: ChargeSolver, kind: str, frame: Frame) -> None:
    """Checks on the host that a solver answers to a field with a frame's boundary, and has charges.

    Raises:
        DataError: if it does not, so that a response would be zero without meaning it.
    """
    if not _charged(solver) and (asked := [name for name in names if name in AT_NUCLEI]):
        raise DataError(
            f"{frame.source}: {' and '.join(asked)} needs a solver with physical charges; {kind} "
            "has none"
        )
    felt, asked = solver.field_boundaries, [name for name in names if name in FIELD_RESPONSES]
    if asked and frame.boundary not in felt:
        raise DataError(
            f"{frame.source}: {' and '.join(asked)} need a solver that feels a field with boundary "
            f"{frame.boundary}; {kind} feels one with {', '.join(felt) or 'none'}"
        )
