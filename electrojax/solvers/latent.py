"""Charges known only through the energies and forces that they make."""

from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import of_one_width
from electrojax.electrostatics.field import field_energy
from electrojax.electrostatics.kernels.gaussian import self_potential
from electrojax.errors import ConfigError
from electrojax.nn.features import Features
from electrojax.nn.options import option
from electrojax.nn.readout import EnergyReadout, MultipoleReadout
from electrojax.numerics.constraint import at_atoms
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.readouts.elements import (
    CHARGE_PER_ELECTRONEGATIVITY,
    ElementTable,
    electropositivities,
)
from electrojax.solvers.readouts.fukui import conserve_charge
from electrojax.solvers.readouts.hardness import MultipoleChannels
from electrojax.solvers.readouts.irreps import irreps
from electrojax.solvers.state import CHARGE_LABELS, ChargeGuess, ChargeState, closed_form_state
from electrojax.system.slabs import open_axis
from electrojax.system.types import BOUNDARIES, Boundary, System, graph_mean, graph_sum
from electrojax.typing import Array, replace


class _Provides:
    """What the kind predicts; of an instance with several channels, nothing but energies."""

    def __get__(self, solver: Any, owner: type) -> tuple[str, ...]:
        return () if solver is not None and solver.channels > 1 else CHARGE_LABELS


class LatentCharges(ChargeSolver):
    """Latent charges, and dipoles where l_max is 1, in one or more channels.

    Read from the environment, with E = Σ_c ½⟨p_c, A p_c⟩: channels do not interact (B. Cheng, npj
    Comput. Mater. 11, 80 (2025)). With one channel the physical charges are q = √ε∞ q_latent in
    periodic systems and slabs, whose electrons screen what latent charges feel, and q_latent in
    open space (P. Zhong, D. Kim, D. S. King and B. Cheng, arXiv 2504.05169); dipoles, Born charges
    and the energy in a field are those of the physical charges, along the normal of a slab over ε∞:
    a field along it is screened inside, so that the dynamical charge there is q_latent/√ε∞ (of a
    film, Z*_n = Z*/ε∞). Several channels have energies alone. LES models (MACELES) leave the sum of
    latent charges free, scale their energy by a constant of their own and count physical charges
    from their mean: charge_control none, energy_factor, remove_mean.
    """

    provides: ClassVar[Any] = _Provides()

    channels: int = option(1, "independent latent densities", minimum=1, maximum=1000)
    self_interaction: bool = option(False, "keep the energy of each Gaussian in its own potential")
    charge_control: Literal["none", "neutral", "total"] = option(
        "neutral",
        "sum of each channel's charges: none: as read out; neutral: zero; total: total_charge",
    )
    readout: Literal["linear", "perceptron"] = option(
        "linear",
        "how charges are read: perceptron as the energy is, with a hidden layer on the last "
        "layer's scalars",
    )
    remove_mean: bool = option(
        False, "physical charges are the latent ones less their mean over the structure"
    )
    energy_factor: float = option(
        1.0, "factor of the Coulomb energy of latent charges", positive=True, maximum=1e4
    )
    dielectric_constant: float = option(
        1.0,
        "ε∞, the electronic one of the periodic systems in the training data",
        minimum=1.0,
        maximum=1e4,
    )

    @property
    def field_boundaries(self) -> tuple[Boundary, ...]:
        """Where it feels a field: nowhere, if it has no physical charges."""
        return BOUNDARIES if self.channels == 1 else ()

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density read from the features and its Coulomb and field energies."""
        latent = self._controlled(self._read(features, system), features, system)
        energies = {"coulomb": self.energy_factor * self._coulomb(latent, coulomb, system)}
        if self.remove_mean:
            latent = latent.at[:, :, 0].add(-mean_of_structures(latent[:, :, 0], system))
        scale = 1.0 if system.boundary == "open" else self.dielectric_constant**0.5
        density = of_one_width(scale * latent, self.width)
        if self.channels == 1:
            energies["field"] = field_energy(density, self._screened(system), self.cutoff, coulomb)
        return closed_form_state(density, energies, system)

    def _screened(self, system: System) -> System:
        """The batch with the field along a slab's normal as it is inside, over ε∞."""
        if system.boundary != "slab":
            return system
        normal = open_axis(system.cell, system.normal)[0]
        along = jnp.sum(system.external_field * normal, axis=-1, keepdims=True) * normal
        lost = (1.0 - 1.0 / self.dielectric_constant) * along
        return replace(system, external_field=system.external_field - lost)

    def _read(self, features: Features, system: System) -> Array:
        """Latent multipoles [N, C, M] before their sum is controlled, zero on padding."""
        if self.readout == "perceptron":
            self._check_perceptron()
            scalars = replace(features, energies=())
            read = 0.1 * EnergyReadout(name="latent")(scalars)[:, None, None]
        else:
            read = MultipoleChannels(self.l_max, self.channels, 0.1, name="latent")(features)
        start = electropositivities(CHARGE_PER_ELECTRONEGATIVITY / self.channels**0.5)
        elements = [
            ElementTable(start, name=f"element_charge_{c}")(system, read.dtype)
            for c in range(self.channels)
        ]
        read = read.at[:, :, 0].add(jnp.stack(elements, axis=1))
        return jnp.where(system.node_mask[:, None, None], read, 0.0)

    def _check_perceptron(self) -> None:
        if self.l_max or self.channels > 1:
            raise ConfigError(
                f"solver latent: readout perceptron with l_max {self.l_max} and {self.channels} "
                "channels; needed l_max 0 and one channel, or readout linear"
            )

    def _controlled(self, latent: Array, features: Features, system: System) -> Array:
        if self.charge_control == "none":
            return latent
        if self.charge_control == "neutral":
            system = replace(system, total_charge=jnp.zeros_like(system.total_charge))
        logits = MultipoleReadout(irreps(0), name="fukui")(features)[:, 0]
        return conserve_charge(latent, logits, system)

    def _coulomb(self, latent: Array, coulomb: CoulombOperator, system: System) -> Array:
        """The channels' energies [G] eV, each for itself."""
        energy = jnp.sum(jax.vmap(coulomb.energy, 1)(latent), axis=0)
        if self.self_interaction:
            return energy
        own = self_potential(jnp.asarray(self.width, latent.dtype), self.l_max)
        return energy - graph_sum(0.5 * jnp.sum(own * latent**2, axis=(1, 2)), system)


def mean_of_structures(values: Array, system: System) -> Array:
    """Returns the mean over the atoms of each structure, at its atoms: [N, ...], padding zero.

    Args:
        values: [N, ...], zero on padding.
        system: the batch.
    """
    mask = system.node_mask.astype(values.dtype)
    return at_atoms(graph_mean(values, system), system) * mask[:, None]
