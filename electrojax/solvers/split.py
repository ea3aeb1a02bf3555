"""Formal charges, and charge that moves between neighbours: exact charge by construction."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import ChargeDensity, dipole, of_one_width
from electrojax.electrostatics.field import field_energy, transfer_energy
from electrojax.electrostatics.flow import divergence
from electrojax.errors import ConfigError, DataError
from electrojax.nn.features import Features, component
from electrojax.nn.linear import Linear, Perceptron
from electrojax.nn.options import option
from electrojax.nn.radial import bessel_basis, harmonics, lengths_and_directions, polynomial_cutoff
from electrojax.nn.readout import MultipoleReadout
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.readouts.elements import ELEMENTS
from electrojax.solvers.readouts.fukui import conserve_charge
from electrojax.solvers.readouts.irreps import irreps
from electrojax.solvers.state import CHARGE_LABELS, ChargeGuess, ChargeState, closed_form_state
from electrojax.system.composition import symbols
from electrojax.system.geometry import edge_vectors, harmonic_order
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System
from electrojax.typing import Array, replace

CHARGE_TOLERANCE = 1.0e-6
"""e, by which the formal charges may miss the total charge."""


class SplitCharges(ChargeSolver):
    """Formal charges q⁰ plus transfers along bonds, with local dipoles and quadrupoles.

    q_i = q⁰_i + Σ_{e→i} t_e − Σ_{e←i} t_e over the edges e = (j → i) inside the cutoff, so that
    Σ q = Σ q⁰ whatever is learned; what a bond moves, t_(j→i) − t_(i→j), is antisymmetric. The
    polarisation P = Σ q⁰_i r_i + Σ_e t_e r_e + Σ μ_i changes by exactly q⁰ times a lattice vector
    when an ion is wrapped. Charge moves one cutoff at most, and no atom can hold a charge that
    q⁰ and its neighbours do not explain. Source: the split charges of Nistor et al., J. Chem. Phys.
    125, 094108 (2006), read out from features as in Baldwin et al., arXiv 2603.14700
    ("LocalSplitCharges").
    """

    provides: ClassVar[tuple[str, ...]] = CHARGE_LABELS
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES

    formal_charges: Literal["frame"] | dict[str, float] = option(
        "frame",
        "e; frame: the formal_charges of each structure's atoms; or one per element",
        starter={"O": -2.0, "H": 1.0, "Na": 1.0, "Cl": -1.0},
    )
    charge_control: Literal["formal", "total"] = option(
        "formal",
        "formal: total_charge must be the sum of the formal charges; total: what it has beyond "
        "them is spread over the atoms with learned positive weights",
    )
    channels: int = option(16, "of the transfer network", positive=True, maximum=4096)
    bessel: int = option(8, "radial functions of the transfer network", positive=True, maximum=1000)

    def check(self, frame: Frame) -> None:
        """Checks that a structure has formal charges, and that they add up.

        Raises:
            DataError: if they are missing or do not sum to the total charge.
        """
        charges = self._on_host(frame)
        total = float(np.sum(charges))
        if self.charge_control == "formal" and abs(total - frame.total_charge) > CHARGE_TOLERANCE:
            raise DataError(
                f"{frame.source}: total_charge is {frame.total_charge:g} but the formal charges "
                f"sum to {total:g}; correct one, or set model.solver.charge_control: total"
            )

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density read from the features and its Coulomb and field energies."""
        multipoles = MultipoleReadout(irreps(self.l_max), name="multipoles")(features)
        formal = self._formal(system, multipoles.dtype)
        system = replace(system, formal_charges=formal)
        transfers = BondTransfers(self.channels, self.bessel, self.cutoff, name="transfers")(
            features, system
        )
        # Charges without the transfers: what stays with its atom in a polarisation.
        seated = multipoles.at[:, 0].set(formal)
        if self.charge_control == "total":
            seated = conserve_charge(seated, multipoles[:, 0], system)
        full = seated.at[:, 0].add(divergence(transfers, system))
        density = of_one_width(full, self.width)
        energies = {
            "coulomb": coulomb.energy(density.multipoles),
            "field": self._seated_energy(of_one_width(seated, self.width), system)
            + transfer_energy(transfers, system),
        }
        return closed_form_state(density, energies, system)

    def _seated_energy(self, seated: ChargeDensity, system: System) -> Array:
        if self.charge_control == "total":
            return field_energy(seated, system, self.cutoff)
        moment = dipole(seated, system)  # formal charges only: no charge has to flow
        return -jnp.sum(system.external_field * moment, axis=-1)

    def _formal(self, system: System, dtype: jnp.dtype) -> Array:
        if isinstance(self.formal_charges, str):
            return system.formal_charges
        table = jnp.asarray(charge_table(self.formal_charges), dtype)
        return jnp.where(system.node_mask, table[system.numbers], 0.0)

    def _on_host(self, frame: Frame) -> np.ndarray:
        if isinstance(self.formal_charges, str):
            if frame.formal_charges is None:
                raise DataError(
                    f"{frame.source}: has no formal_charges, which solver kind split starts from; "
                    "add them per atom, or give model.solver.formal_charges: {O: -2, H: 1}"
                )
            return np.asarray(frame.formal_charges)
        charges = charge_table(self.formal_charges)[frame.numbers]
        missing = np.unique(frame.numbers[np.isnan(charges)])
        if len(missing):
            raise DataError(
                f"{frame.source}: contains {', '.join(symbols(missing))}, for which "
                "model.solver.formal_charges has no charge; add it"
            )
        return charges


def charge_table(charges: Mapping[str, float]) -> np.ndarray:
    """Returns the formal charge of every atomic number in e, NaN for elements without one.

    Raises:
        ConfigError: for a name that is not an element's symbol.
    """
    from ase.data import atomic_numbers

    table = np.full(ELEMENTS, np.nan)
    for symbol, charge in charges.items():
        if atomic_numbers.get(symbol, 0) < 1:
            raise ConfigError(
                f'model.solver.formal_charges: "{symbol}" is not the symbol of an element'
            )
        table[atomic_numbers[symbol]] = charge
    return table


class BondTransfers(nn.Module):
    """Charge that every directed edge carries from its sender to its receiver.

    t_e = f(r) NN(x_e) with x_e the products, degree by degree, of the features of both ends with
    the harmonics of the bond, weighted by learned radial functions; f is a polynomial cutoff and NN
    has no bias, so that t and its first two derivatives vanish at the cutoff.

    Attributes:
        channels: products per degree, and the hidden width of the network.
        bessel: number of radial functions.
        cutoff: Å.
    """

    channels: int
    bessel: int
    cutoff: float

    @nn.compact
    def __call__(self, features: Features, system: System) -> Array:
        """Returns [E] e; zero on padding.

        Args:
            features: of every layer.
            system: the batch.
        """
        vectors = harmonic_order(edge_vectors(system))
        lengths, directions = lengths_and_directions(vectors)
        radial = bessel_basis(lengths, self.cutoff, self.bessel)
        degrees = range(self._l_max(features) + 1)
        angular = harmonics(directions, degrees[-1])
        products = [
            self._degree(degree, features, angular[:, degree**2 : (degree + 1) ** 2], system)
            * Linear(self.channels, name=f"radial_{degree}")(radial)
            for degree in degrees
        ]
        network = Perceptron((self.channels,), 1, name="network")
        carried = network(jnp.concatenate(products, axis=1))[:, 0]
        return carried * polynomial_cutoff(lengths, self.cutoff, 5)

    def _degree(self, degree: int, features: Features, angular: Array, system: System) -> Array:
        """Products of both ends' features of a degree with the bond's harmonics, [E, channels]."""
        x = jnp.concatenate([component(layer, degree) for layer in features.layers], axis=2)
        ends = Linear(2 * self.channels, name=f"ends_{degree}")(x)
        received, sent = ends[..., : self.channels], ends[..., self.channels :]
        both = received[system.receivers] + sent[system.senders]
        return jnp.sum(both * angular[:, :, None], axis=1) / (2 * degree + 1) ** 0.5

    def _l_max(self, features: Features) -> int:
        """The largest degree, 2 at most, that every layer has without a gap."""
        degree = 0
        while degree < 2 and all(
            component(layer, degree + 1).shape[-1] for layer in features.layers
        ):
            degree += 1
        return degree
