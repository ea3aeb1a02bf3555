"""Densities updated a fixed number of times by the potential that they make."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.contract import receivers
from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import each_channel, of_one_width, summed_channels
from electrojax.electrostatics.field import FieldCoupling, field_coupling
from electrojax.electrostatics.kernels.gaussian import self_potential
from electrojax.errors import DataError
from electrojax.nn.biased import BiasedPerceptron
from electrojax.nn.features import Features, component
from electrojax.nn.initial import normal
from electrojax.nn.linear import Perceptron
from electrojax.nn.options import option
from electrojax.numerics.constraint import at_atoms
from electrojax.numerics.report import closed_form
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.problems.neighborhood import neighborhoods
from electrojax.solvers.problems.one_shot import ConcaveReadout, check_options, response
from electrojax.solvers.problems.quadratic import field_potentials
from electrojax.solvers.readouts.elements import (
    CHARGE_PER_ELECTRONEGATIVITY,
    ELEMENTS,
    ElementTable,
    electropositivities,
)
from electrojax.solvers.readouts.field_update import (
    FieldEnergy,
    FieldUpdate,
    MixedFeatures,
    Orders,
    by_order,
    saturate,
)
from electrojax.solvers.readouts.fukui import Fukui, channel_charges, equilibrate, fukui_weights
from electrojax.solvers.readouts.hardness import MultipoleChannels
from electrojax.solvers.readouts.polar_form import PolarEnergy, PolarUpdate, orders_of
from electrojax.solvers.readouts.receivers import check_receivers, receiver_units
from electrojax.solvers.state import CHARGE_LABELS, LEVEL_LABELS, ChargeGuess, ChargeState
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System, graph_mean, graph_sum
from electrojax.typing import Array, replace

Update = Callable[[Array, Array], tuple[Array, Array]]
"""Potentials [N, C, W, M] and multipoles [N, C, M] to Δp [N, C, M] and weights [N, C]."""


class FieldUpdates(ChargeSolver):
    """Spin-resolved multipoles after K field updates, each with its own weights.

    p⁰ is read from the features; then K times v = R p + ½ v_ext in each channel, p ← p + Δp(h, v,
    p), and charge and spin are put right by learned Fukui weights. Nothing is iterated to
    self-consistency, so that there is always an answer, and the potential has acted K times. Σ_c
    p_c is the charge density; n_α − n_β = multiplicity − 1 electrons, so that the charges of the
    channels differ by the opposite. The scheme is that of MACE-POLAR-1, whose own networks are
    ``form: mace_polar`` (:mod:`electrojax.solvers.readouts.polar_form`) with ``fukui: signed``,
    ``hidden: [64, 64, 64]``, ``energy_hidden: [128, 128, 128]`` and ``potentials: absolute``; it
    norms √4π ⟨v⟩ and π√(3/2) σ ∇⟨v⟩ of a receiver σ by 20 and 0.5: here ⟨v⟩ by 5.642 and ∇⟨v⟩ by
    0.12995/σ.

    Energies perceptron and coulomb are not stationary in the density: −∂E/∂E_field is not the
    dipole. Nevertheless a constant shift φ of the potential changes them by φQ, and the force
    between far charged parts approaches that of their charges as 1/R, if the networks read
    potential differences (``potentials: local``).

    ``energy: one_shot`` is one energy of p⁰ and of one update, E[v_ext] = ½⟨p⁰, A p⁰⟩ + ⟨p⁰, v_ext⟩
    + Σ_i W_i(v̂_i) with W concave, whose derivative is the density, p = p⁰ + Gᵀ ∂W/∂v̂
    (:mod:`electrojax.solvers.problems.one_shot`): dipole, polarisability and μ = −∂E/∂Q are
    derivatives of it. Its limits: the induced part δp is felt once, so that the force between two
    polarisable parts A and B is that of their densities less the one of ⟨δp_A, A δp_B⟩ (R⁻⁴ between
    molecules, beside R⁻² of charges); nothing is screened twice, so that a film of susceptibility χ
    has the inner field E(1 − χ) instead of E/(1 + χ); spin is that of p⁰.
    """

    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES
    keeps_total_charge: ClassVar[bool] = True

    form: Literal["guarded", "mace_polar"] = option(
        "guarded", "networks: guarded, which stay finite; mace_polar: as in its checkpoints"
    )
    steps: int = option(2, "field updates, each with its own weights", minimum=0, maximum=100)
    spin: bool = option(True, "two channels, spin up and down; false: one channel of charge")
    fukui: Literal["positive", "signed"] = option(
        "positive", "weights by which missing charge is spread; signed: as in MACE-POLAR-1, guarded"
    )
    energy: Literal["perceptron", "coulomb", "one_shot"] = option(
        "perceptron",
        "perceptron: learned, of density and potential; coulomb: none beyond Coulomb; one_shot: "
        "learned, of the potential, with the density its derivative, for steps 1. Of the first two "
        "-dE/dfield is not the dipole: Born charges and polarisabilities are derivatives of the "
        "density's polarisation",
    )
    potentials: Literal["local", "absolute"] = option(
        "local",
        "what networks read of the potential: local: differences from the mean over an atom and "
        "its neighbours; absolute: itself, as in MACE-POLAR-1",
    )
    channels: int = option(16, "features per order in updates and energy", minimum=1, maximum=4096)
    hidden: tuple[int, ...] = option(
        (64, 64), "hidden widths of the updates", positive=True, maximum=16_384
    )
    energy_hidden: tuple[int, ...] = option(
        (64, 64), "hidden widths of the energy", positive=True, maximum=16_384
    )
    start_hidden: tuple[int, ...] = option(
        (16, 16),
        "form mace_polar: hidden widths of the first Fukui weights",
        positive=True,
        maximum=16_384,
    )
    limit: float = option(
        10.0,
        "e·Å^l that a guarded update moves at most, smoothly; 0: no limit",
        minimum=0,
        maximum=1e6,
    )
    receiver_widths: tuple[float, ...] = option(
        (1.5, 3.0),
        "Å; not below the width of the density; energy one_shot receives with that width alone",
        minimum=1e-3,
        maximum=1e3,
    )
    receiver_norms: tuple[float, ...] = option(
        (), "by which received potentials are divided, V/Å^l: of each width in turn, per order l"
    )
    on_site: bool = option(False, "receivers feel their own atom's density")
    self_energy: bool = option(True, "each Gaussian's energy with itself is part of the energy")
    half_field: bool = option(True, "each of two channels feels half of the external field")
    barycentre: bool = option(
        True,
        "of absolute potentials: the field's is zero at the mean position of the atoms, not at the "
        "origin",
    )

    @property
    def has_spin(self) -> bool:
        """Whether there are two channels."""
        return self.spin

    @property
    def provides(self) -> tuple[str, ...]:
        """The labels of a density; with energy one_shot a Fermi level too."""
        return LEVEL_LABELS if self.consistent else CHARGE_LABELS

    @property
    def consistent(self) -> bool:
        """Whether responses of the energy are those of the density."""
        return self.energy == "one_shot"

    @property
    def uses_receivers(self) -> bool:
        """Whether the Coulomb operator has to receive with other widths."""
        return self.energy != "one_shot"

    def check(self, frame: Frame) -> None:
        """Raises an error if options clash, or a structure has no such spin or an open charge."""
        if self.energy == "one_shot":
            check_options(self)
        else:
            check_receivers(self.receiver_widths, self.receiver_norms, self.width, self.l_max)
        if frame.charge_control == "fixed_potential":
            raise DataError(
                f"{frame.source}: charge_control fixed_potential; solver kind non_scf keeps the "
                "total_charge: needed fixed_charge, or kind scf, qeq or functional"
            )
        if self.spin and frame.multiplicity < 1:
            raise DataError(
                f"{frame.source}: multiplicity {frame.multiplicity:g}; needed 2S + 1, at least 1"
            )

    @nn.compact
    def __call__(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        guess: ChargeGuess | None,
    ) -> ChargeState:
        """Returns the density after the updates and the terms of its energy."""
        field = field_coupling(system, self.cutoff, coulomb)
        start, raw = self._start(features, system)
        totals = channel_charges(system, start.shape[1])
        first = equilibrate(start, raw, totals, system, self.fukui)
        if self.energy == "one_shot":
            weights = fukui_weights(raw, system, self.fukui).mean(axis=1)
            return self._one_shot(features, system, coulomb, field, first, weights)
        received = self._received(coulomb, field, system)
        mixed = self._mixed("update", features, system)
        updates = [self._update(mixed, system, step) for step in range(self.steps)]
        multipoles, seen = updated(first, received, updates, totals, system, self.fukui)
        energies = {
            "coulomb": coulomb.energy(multipoles),
            "field": field.energy(multipoles, system),
        }
        if not self.self_energy:
            energies["coulomb"] -= self._own_energies(multipoles, system)
        if self.energy == "perceptron":
            last = seen if self.form == "mace_polar" else received(multipoles)
            values = self._energies(features, multipoles + first, _flat(last), system)
            values = jnp.where(system.node_mask, values, 0.0)
            energies["polarisation"] = graph_sum(values, system)
        zeros = jnp.zeros_like(multipoles[:, 0, 0])
        level = jnp.zeros(system.n_graphs, multipoles.dtype)
        return self._finished(multipoles, energies, level, zeros, system)

    def _finished(
        self,
        multipoles: Array,
        energies: dict[str, Array],
        level: Array,
        potential: Array,
        system: System,
    ) -> ChargeState:
        finite = jnp.isfinite(jnp.sum(jnp.stack(list(energies.values())), axis=0))
        report = replace(closed_form(system, multipoles.dtype), converged=finite)
        return ChargeState(of_one_width(multipoles, self.width), energies, level, potential, report)

    def _one_shot(
        self,
        features: Features,
        system: System,
        coulomb: CoulombOperator,
        field: FieldCoupling,
        bare: Array,
        weights: Array,
    ) -> ChargeState:
        """The density that is the derivative of the one-shot energy, whose μ is −⟨∂p⁰/∂Q, ∂E/∂p⁰⟩.

        Args:
            bare: p⁰ [N, C, M].
            weights: ∂q⁰/∂Q [N].
        """
        summed, own = summed_channels(bare), self_potential(self.width, self.l_max)
        mask = system.node_mask[:, None]
        applied = jnp.where(mask, field_potentials(field, summed), 0.0)
        readout = ConcaveReadout(self.l_max, self.width, self.channels, name="response")
        induced, values, slopes = response(
            summed,
            applied,
            own * (not self.on_site),
            coulomb,
            readout(features, system),
            neighborhoods(system, self.cutoff),
        )
        energies = {
            "coulomb": coulomb.energy(bare),
            "field": field.energy(bare, system),
            "response": graph_sum(values, system),
        }
        if not self.self_energy:
            energies["coulomb"] -= self._own_energies(bare, system)
            slopes = slopes - own * summed
        level = -graph_sum(weights * slopes[:, 0], system)
        multipoles = bare + induced[:, None] / bare.shape[1]
        return self._finished(multipoles, energies, level, -slopes[:, 0], system)

    def _own_energies(self, multipoles: Array, system: System) -> Array:
        """Energies of the atoms' Gaussians with themselves, [G] eV."""
        charge = summed_channels(multipoles)
        return 0.5 * graph_sum(
            jnp.sum(charge**2 * self_potential(self.width, self.l_max), axis=1), system
        )

    def _energies(
        self, features: Features, density: Array, potentials: Array, system: System
    ) -> Array:
        """Learned energies of the atoms, [N] eV."""
        if self.form == "mace_polar":
            polar = PolarEnergy(self.energy_hidden, name="energy_readout")
            return polar(orders_of(features), density, potentials)
        mixed = self._mixed("energy", features, system)
        return FieldEnergy(self.energy_hidden, name="energy_readout")(mixed, density, potentials)

    def _mixed(self, name: str, features: Features, system: System) -> Orders:
        """Features h_l; the element is in the scalars, for atoms that have no neighbours."""
        highest = max(layer.irreps.lmax for layer in features.layers)
        if self.form == "mace_polar":  # which has the element in the updates alone
            orders = max(self.l_max, highest)
            return MixedFeatures(orders, self.channels, name=f"{name}_features")(features)
        mixing = MixedFeatures(self.l_max, self.channels, name=f"{name}_features")
        scalars, *rest = mixing(features)
        elements = self._embedded(f"{name}_elements", scalars, system)
        return (scalars + elements[:, None], *rest)

    def _embedded(self, name: str, like: Array, system: System) -> Array:
        """A vector of each atom's element, [N, channels]."""
        shape = (ELEMENTS, self.channels)
        return jnp.asarray(self.param(name, normal(1.0), shape, like.dtype))[system.numbers]

    def _start(self, features: Features, system: System) -> tuple[Array, Array]:
        """p⁰ [N, C, M] before its charges are put right, and its Fukui weights [N, C]."""
        count = 2 if self.spin else 1
        start = MultipoleChannels(self.l_max, count, 0.1, name="local")(features)
        scalars = component(features.layers[-1], 0)[:, 0]
        mask = system.node_mask[:, None, None]
        if self.form == "mace_polar":
            raw = BiasedPerceptron(self.start_hidden, count, name="fukui")(scalars)
            return jnp.where(mask, start, 0.0), raw
        raw = Perceptron(self.hidden, count, name="fukui")(scalars)
        charges = electropositivities(CHARGE_PER_ELECTRONEGATIVITY / count)
        start = start.at[:, :, 0].add(self._of_elements("start_charge", charges, start, system))
        raw = raw + self._of_elements("start_weight", 1.0, start, system)
        start = jnp.swapaxes(
            jnp.concatenate([saturate(x, self.limit) for x in by_order(start)], axis=1), 1, 2
        )
        return jnp.where(mask, start, 0.0), raw

    def _of_elements(
        self, name: str, initial: float | tuple[float, ...], like: Array, system: System
    ) -> Array:
        """A number of each atom's element per channel, [N, C]."""
        tables = [
            ElementTable(initial, name=f"{name}_{channel}")(system, like.dtype)
            for channel in range(like.shape[1])
        ]
        return jnp.stack(tables, axis=1)

    def _received(
        self, coulomb: CoulombOperator, field: FieldCoupling, system: System
    ) -> Callable[[Array], Array]:
        """p [N, C, M] -> what receivers see of each channel [N, C, W, M], in units of the norms."""
        receive = receivers(coulomb, self.receiver_widths, self.l_max, self.on_site)
        share = 0.5 if self.spin and self.half_field else 1.0
        around = neighborhoods(system, self.cutoff)

        def received(multipoles: Array) -> Array:
            units = receiver_units(
                self.receiver_norms, self.receiver_widths, self.l_max, multipoles.dtype
            )
            gauged = centred(field, system) if self.barycentre else field
            applied = share * field_potentials(gauged, multipoles[:, 0])
            mask = system.node_mask[:, None, None, None]
            values = each_channel(receive, multipoles) + applied[:, None, None, :]
            if self.potentials == "local":
                values = around.differences(values)
            return jnp.where(mask, values / units, 0.0)

        return received

    def _update(self, mixed: Orders, system: System, step: int) -> Update:
        element = self._embedded(f"element_{step}", mixed[0], system)
        count, name = 2 if self.spin else 1, f"update_{step}"
        module = (
            PolarUpdate(count, self.hidden, name=name)
            if self.form == "mace_polar"
            else FieldUpdate(count, self.hidden, self.limit, name=name)
        )
        mask = system.node_mask[:, None, None]

        def update(potentials: Array, multipoles: Array) -> tuple[Array, Array]:
            change, weights = module(mixed, element, _flat(potentials), multipoles)
            if self.form == "guarded":
                weights = weights + self._of_elements(f"weight_{step}", 1.0, multipoles, system)
            return jnp.where(mask, change, 0.0), weights

        return update


def updated(
    first: Array,
    received: Callable[[Array], Array],
    updates: Sequence[Update],
    totals: Array,
    system: System,
    fukui: Fukui,
) -> tuple[Array, Array]:
    """Returns multipoles [N, C, M] after updates in turn, and the potentials that the last saw.

    The charges are put right after each.

    Args:
        first: [N, C, M] e·Å^l.
        received: p -> potentials [N, C, W, M].
        updates: in order; with none, nothing is seen.
        totals: charge of each channel [G, C] e.
        system: the batch.
        fukui: the form of the weights.
    """
    multipoles, seen = first, jnp.zeros_like(received(first))
    for update in updates:
        seen = received(multipoles)
        change, weights = update(seen, multipoles)
        multipoles = equilibrate(multipoles + change, weights, totals, system, fukui)
    return multipoles, seen


def centred(field: FieldCoupling, system: System) -> FieldCoupling:
    """Returns the coupling with the field's potential zero on the average over the atoms."""
    mean = graph_mean(field.potential, system)
    return replace(field, potential=field.potential - at_atoms(mean, system))


def _flat(potentials: Array) -> Array:
    """Channels and widths as one axis, [N, C·W, M]."""
    return potentials.reshape(potentials.shape[0], -1, potentials.shape[-1])
