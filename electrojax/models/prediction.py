"""What a model predicts for a batch."""

import dataclasses

import jax.numpy as jnp

from electrojax.electrostatics.density import ChargeDensity
from electrojax.numerics.report import SolverReport
from electrojax.solvers.state import ChargeState
from electrojax.typing import Array, struct


@struct
class Prediction:
    """Outputs of a model for a batch: what the loss, MD and the CLI see.

    Attributes:
        energy: [G] eV, relative to the sum of the atomic energies, the sum of ``energies``.
        energies: [G] eV by name.
        forces: [N, 3] eV/Å.
        stress: [G, 3, 3] eV/Å³, positive = tension; zero for open boundaries.
        density: the charge density.
        dipole: [G, 3] e·Å, Σ (q r + μ): about the origin, so meaningful for neutral open systems
            and, with the same origin as the label, for charged ones; never for periodic ones.
        quadrupole: [G, 3, 3] e·Å², the traceless part of the second moments about the origin, for
            open structures (:func:`electrojax.electrostatics.density.quadrupole`).
        polarization: [G, 3] e·Å, P of the density: the dipole of the whole cell. In open directions
            it is the dipole; along periodic ones it is known up to multiples of e times the lattice
            vectors (for formal charges that are whole numbers).
        energy_polarization: [G, 3] e·Å, −∂E/∂(external field): P again, unless the solver is not
            ``consistent``.
        fermi_level: [G] eV, μ = −∂E/∂Q; zero for kinds that define none. The potential is zero at
            infinity (open), on the average over the cell (periodic), in the vacuum (slab). Of a
            solver that is not ``consistent``, the level at which its density is in equilibrium.
        chemical_potential: [N] eV, μ_i = −∂E/∂q_i in the same gauge: one number over atoms that
            exchange charge freely, such as those of a fragment; zero where ``fermi_level`` is.
        spin_multipoles: [N, M] electrons·Å^l, n_α − n_β: its charges sum to multiplicity − 1; zero
            for kinds without spin.
        report: how the charge solver ended.
        responses: by name, those that were asked for: born_charges [N, 3, 3] e,
            Z*[i, a, b] = ∂P_a/∂r_ib, and polarizability [G, 3, 3] e·Å²/V, ∂P_a/∂E_b; of a solver
            that is not ``consistent`` also energy_born_charges and energy_polarizability, the same
            derivatives of energy_polarization; potential [N] V at the nuclei.
        diagnostics: by name, what the charge solver was asked to say of its own map:
            ``legendre_gap`` [G] eV, ∂E/∂Q + μ, and those of
            :func:`electrojax.solvers.problems.diagnostics.diagnosed`.
    """

    energy: Array
    energies: dict[str, Array]
    forces: Array
    stress: Array
    density: ChargeDensity
    dipole: Array
    quadrupole: Array
    polarization: Array
    energy_polarization: Array
    fermi_level: Array
    chemical_potential: Array
    spin_multipoles: Array
    report: SolverReport
    responses: dict[str, Array] = dataclasses.field(default_factory=dict)
    diagnostics: dict[str, Array] = dataclasses.field(default_factory=dict)

    @property
    def charges(self) -> Array:
        """Charge of every atom [N] in e, summed over channels."""
        return self.density.multipoles[..., 0].sum(axis=1)

    @property
    def multipoles(self) -> Array:
        """Multipoles of every atom [N, M] in e·Å^l, summed over channels."""
        return self.density.multipoles.sum(axis=1)

    def value(self, name: str) -> Array:
        """Returns the prediction of a quantity by its name, [N, ...] or [G, ...]."""
        found = {**self.responses, **self.diagnostics}
        return found[name] if name in found else getattr(self, name)


def spin_multipoles(state: ChargeState, spin: bool) -> Array:
    """Returns n_α − n_β [N, M] electrons·Å^l, zero without spin.

    Channels are charges, and electrons are negative: the excess of up is p_β − p_α.
    """
    channels = state.density.multipoles
    return channels[:, 1] - channels[:, 0] if spin else jnp.zeros_like(channels[:, 0])
