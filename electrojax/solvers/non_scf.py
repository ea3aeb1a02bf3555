"""Densities updated a fixed number of times by the potential that they make."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from electrojax.electrostatics.contract import receivers
from electrojax.electrostatics.coulomb import CoulombOperator
from electrojax.electrostatics.density import each_channel, of_one_width
from electrojax.electrostatics.field import FieldCoupling, field_coupling
from electrojax.errors import DataError
from electrojax.nn.features import Features
from electrojax.nn.initial import normal
from electrojax.nn.options import option, runtime
from electrojax.solvers.constraint import at_atoms
from electrojax.solvers.field_update import FieldEnergy, FieldUpdate, MixedFeatures, Orders
from electrojax.solvers.fukui import Fukui, channel_charges, equilibrated
from electrojax.solvers.hardness import ElementTable, MultipoleChannels
from electrojax.solvers.local import ELEMENTS
from electrojax.solvers.quadratic import field_potentials
from electrojax.solvers.receivers import check_receivers, receiver_units
from electrojax.solvers.state import CHARGE_LABELS, ChargeGuess, ChargeState, closed_form
from electrojax.system.types import BOUNDARIES, Boundary, Frame, System, graph_mean, graph_sum
from electrojax.typing import Array, replace

Update = Callable[[Array, Array], tuple[Array, Array]]
"""Potentials [N, C, W, M] and multipoles [N, C, M] to Δp [N, C, M] and weights [N, C]."""


class FieldUpdates(nn.Module):
    """Spin-resolved multipoles after K field updates, each with its own weights.

    p⁰ is read from the features; then K times v = R p + ½ v_ext in each channel, p ← p + Δp(h, v,
    p), and charge and spin are put right by learned Fukui weights. Nothing is iterated to
    self-consistency, so the charge moves K receptive fields of the potential far, and there is
    always an answer. Σ_c p_c is the charge density; n_α − n_β = multiplicity − 1 electrons, so that
    the charges of the channels differ by the opposite. The form is that of MACE-POLAR-1.
    """

    provides: ClassVar[tuple[str, ...]] = CHARGE_LABELS
    uses_coulomb: ClassVar[bool] = True
    uses_receivers: ClassVar[bool] = True
    field_boundaries: ClassVar[tuple[Boundary, ...]] = BOUNDARIES

    steps: int = option(2, "field updates, each with its own weights", minimum=0)
    spin: bool = option(True, "two channels, spin up and down; false: one channel of charge")
    fukui: Literal["positive", "signed"] = option(
        "positive", "weights by which missing charge is spread; signed: as in MACE-POLAR-1, guarded"
    )
    energy: Literal["perceptron", "coulomb"] = option(
        "perceptron", "perceptron: learned, of density and potential; coulomb: none beyond Coulomb"
    )
    channels: int = option(16, "features per order in updates and energy", minimum=1)
    receiver_widths: tuple[float, ...] = option(
        (1.5, 3.0), "Å; not below the width of the density", positive=True
    )
    receiver_norms: tuple[float, ...] = option(
        (), "by which received potentials are divided, V/Å^l: of each width in turn, per order l"
    )
    on_site: bool = option(False, "receivers feel their own atom's density")
    half_field: bool = option(True, "each of two channels feels half of the external field")
    barycentre: bool = option(
        True,
        "the field's potential is zero at the mean position of the atoms, not at the origin",
    )
    l_max: int = runtime(0, "highest multipole order of the density")
    width: float = runtime(1.5, "width of the Gaussians, Å")
    cutoff: float = runtime(5.0, "length of the longest edges, Å")

    def check(self, frame: Frame) -> None:
        """Raises an error if options clash, or a structure's spin is none."""
        check_receivers(self.receiver_widths, self.receiver_norms, self.width, self.l_max)
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
        mixed = self._mixed(features, system)
        field = field_coupling(system, self.cutoff)
        received = self._received(coulomb, field, system)
        start, raw = self._start(features, system)
        totals = channel_charges(system, start.shape[1])
        first = equilibrated(start, raw, totals, system, self.fukui)
        updates = [self._update(mixed, raw, system, step) for step in range(self.steps)]
        multipoles = updated(first, received, updates, totals, system, self.fukui)
        energies = {
            "coulomb": coulomb.energy(multipoles),
            "field": field.energy(multipoles, system),
        }
        if self.energy == "perceptron":
            potentials = _flat(received(multipoles))
            values = FieldEnergy(name="energy")(mixed, multipoles + first, potentials)
            values = jnp.where(jnp.asarray(system.node_mask), values, 0.0)
            energies["polarisation"] = graph_sum(values, system)
        zeros = jnp.zeros_like(multipoles[:, 0, 0])
        level = jnp.zeros(system.n_graphs, multipoles.dtype)
        report = closed_form(system, multipoles.dtype)
        return ChargeState(of_one_width(multipoles, self.width), energies, level, zeros, report)

    def _mixed(self, features: Features, system: System) -> Orders:
        """Features h_l; the element is in the scalars, for atoms that have no neighbours."""
        scalars, *rest = MixedFeatures(self.l_max, self.channels, name="features")(features)
        shape = (ELEMENTS, self.channels)
        table = jnp.asarray(self.param("elements", normal(1.0), shape, scalars.dtype))
        return (scalars + table[system.numbers][:, None], *rest)

    def _start(self, features: Features, system: System) -> tuple[Array, Array]:
        """p⁰ [N, C, M] before its charges are put right, and its Fukui weights [N, C]."""
        count = 2 if self.spin else 1
        start = MultipoleChannels(self.l_max, count, 0.1, name="local")(features)
        raw = MultipoleChannels(0, count, 0.3, name="fukui")(features)[:, :, 0]
        charges = [self._element(f"charge_{c}", 0.0, start, system) for c in range(count)]
        weights = [self._element(f"weight_{c}", 1.0, raw, system) for c in range(count)]
        start = start.at[:, :, 0].add(jnp.stack(charges, axis=1))
        raw = raw + jnp.stack(weights, axis=1)
        mask = jnp.asarray(system.node_mask)[:, None]
        return jnp.where(mask[:, :, None], start, 0.0), jnp.where(mask, raw, 0.0)

    def _element(self, name: str, initial: float, like: Array, system: System) -> Array:
        return ElementTable(initial, name=name)(system, like.dtype)

    def _received(
        self, coulomb: CoulombOperator, field: FieldCoupling, system: System
    ) -> Callable[[Array], Array]:
        """p [N, C, M] -> what receivers see of each channel [N, C, W, M], in units of the norms."""
        receive = receivers(coulomb, self.receiver_widths, self.l_max, self.on_site)
        share = 0.5 if self.spin and self.half_field else 1.0

        def received(multipoles: Array) -> Array:
            units = receiver_units(
                self.receiver_norms, self.receiver_widths, self.l_max, multipoles.dtype
            )
            gauged = centred(field, system) if self.barycentre else field
            applied = share * field_potentials(gauged, multipoles[:, 0])
            mask = jnp.asarray(system.node_mask)[:, None, None, None]
            values = each_channel(receive, multipoles) + applied[:, None, None, :]
            return jnp.where(mask, values / units, 0.0)

        return received

    def _update(self, mixed: Orders, raw: Array, system: System, step: int) -> Update:
        module = FieldUpdate(raw.shape[1], name=f"update_{step}")
        mask = jnp.asarray(system.node_mask)[:, None]

        def update(potentials: Array, multipoles: Array) -> tuple[Array, Array]:
            change, weights = module(mixed, _flat(potentials), multipoles)
            return jnp.where(mask[:, :, None], change, 0.0), raw + weights

        return update


def updated(
    first: Array,
    received: Callable[[Array], Array],
    updates: Sequence[Update],
    totals: Array,
    system: System,
    fukui: Fukui,
) -> Array:
    """Returns multipoles [N, C, M] after updates in turn, the charges put right after each.

    Args:
        first: [N, C, M] e·Å^l.
        received: p -> potentials [N, C, W, M].
        updates: in order.
        totals: charge of each channel [G, C] e.
        system: the batch.
        fukui: the form of the weights.
    """
    multipoles = first
    for update in updates:
        change, weights = update(received(multipoles), multipoles)
        multipoles = equilibrated(multipoles + change, weights, totals, system, fukui)
    return multipoles


def centred(field: FieldCoupling, system: System) -> FieldCoupling:
    """Returns the coupling with the field's potential zero on the average over the atoms."""
    mean = graph_mean(field.potential, system)
    return replace(field, potential=field.potential - at_atoms(mean, system))


def _flat(potentials: Array) -> Array:
    """Channels and widths as one axis, [N, C·W, M]."""
    return potentials.reshape(potentials.shape[0], -1, potentials.shape[-1])
