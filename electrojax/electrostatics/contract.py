"""What every Coulomb engine and its operators promise."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np

from electrojax.electrostatics.sites import Sites
from electrojax.errors import ConfigError
from electrojax.system.types import System
from electrojax.typing import Array, static, struct


class CoulombOperator(Protocol):
    """A linear map A from multipoles to potentials, a pytree that is applied many times.

    It is symmetric, E = ½⟨p, Ap⟩ and ∂E/∂p = Ap; padding neither acts nor is acted on. With the
    self-interaction it is positive semi-definite for open and periodic boundaries, and on changes
    that keep the charge for slabs and finite-size-corrected cells. Channels are summed first.
    """

    def potential(self, multipoles: Array) -> Array:
        """Returns ∂E/∂p, eV/(e·Å^l), of multipoles [N, M] or [N, C, M] e·Å^l; the same shape."""
        ...

    def energy(self, multipoles: Array) -> Array:
        """Returns the energy [G] in eV of multipoles [N, M] or [N, C, M] e·Å^l."""
        ...


class ReceivingOperator(CoulombOperator, Protocol):
    """An operator that also averages the potential over Gaussians of other widths.

    Those of the open boundary, the direct sum and the split, and slabs and boxes made of them.
    """

    def receive(
        self,
        multipoles: Array,
        widths: Sequence[float],
        l_max: int,
        self_interaction: bool = True,
    ) -> Array:
        """Returns the potential averaged over unit multipoles of other widths at the atoms.

        v_lm = ∫ v(r) φ_lm(r − r_i) d³r: the Gaussian-averaged potential (l = 0), its gradient
        (l = 1) and R_m(∇)/3 of it (l = 2): features, not ∂E/∂p.

        Args:
            multipoles: [N, M] or [N, C, M] e·Å^l.
            widths: of the W receivers, Å.
            l_max: highest order of the receivers, 0 to 2.
            self_interaction: keep what an atom's own multipoles add.

        Returns:
            [N, W, (l_max + 1)²], or [N, C, W, (l_max + 1)²] for each channel alone, V/Å^l.
        """
        ...


def check_receivable(widths: Sequence[float], narrowest: float) -> None:
    """Checks receivers against the narrowest one that the waves of an operator were chosen for.

    Raises:
        ConfigError: if one is narrower; an infinite ``narrowest`` was never announced.
    """
    if min(widths) < narrowest < math.inf:
        raise ConfigError(
            f"a receiver of width {min(widths):g} Å; needed at least the engine's "
            f"narrowest_receiver, {narrowest:g} Å"
        )


def receiver_multipoles(operator: CoulombOperator) -> ReceivingOperator:
    """Returns the operator as one that can receive.

    Raises:
        ConfigError: if it cannot.
    """
    if not hasattr(operator, "receive"):
        raise ConfigError(
            f"{type(operator).__name__} has no receivers of other widths; needed method 'direct' "
            "or 'ewald'"
        )
    return cast(ReceivingOperator, operator)


@struct
class Receivers:
    """Receivers of other widths at the atoms of a geometry, to be applied many times.

    v_{i,w,lm} = ∫ V(r) φ_lm(r − r_i) d³r with unit multipoles φ of the width w: ⟨V⟩_w and ∇⟨V⟩_w,
    averages over a Gaussian. (Baldwin et al., arXiv 2603.14700, and MACE-POLAR-1 have √4π ⟨V⟩_w
    and π √(3/2) w ∇⟨V⟩_w in their place.)

    Attributes:
        operator: of the geometry.
        widths: Å.
        l_max: highest order of the receivers.
        self_interaction: keep what an atom's own multipoles add.
    """

    operator: Any
    widths: tuple[float, ...] = static()
    l_max: int = static()
    self_interaction: bool = static()

    def __call__(self, multipoles: Array) -> Array:
        """Returns what receivers average of multipoles [N, M]: [N, W, (l_max + 1)²] V/Å^l."""
        return receiver_multipoles(self.operator).receive(
            multipoles, self.widths, self.l_max, self.self_interaction
        )


def receivers(
    operator: CoulombOperator, widths: Sequence[float], l_max: int, self_interaction: bool = True
) -> Callable[[Array], Array]:
    """Returns the receivers of a geometry as a pytree that maps multipoles [N, M] to [N, W, M'].

    An operator may prepare them, by a method ``receivers`` of the same arguments.

    Raises:
        ConfigError: if the operator cannot receive.
    """
    if hasattr(operator, "receivers"):
        return cast(Any, operator).receivers(widths, l_max, self_interaction)
    return Receivers(receiver_multipoles(operator), tuple(widths), l_max, self_interaction)


class CoulombEngine(Protocol):
    """A way to sum Coulomb interactions under one boundary: frozen, hashable, static under jit."""

    def prepare(self, sites: Sites | System, l_max: int, width: float | Array) -> CoulombOperator:
        """Returns the operator for multipoles at sites; those of a batch are its atoms.

        Args:
            sites: places of the multipoles.
            l_max: their highest order.
            width: σ in Å, one number or [S]. A plain number makes the faster program, and one set
                of sites may be summed with several widths, so that they are not part of it.
        """
        ...

    def k_box(
        self, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> tuple[int, int, int]:
        """Returns, on the host, the largest k-vector index along each axis of a cell [3, 3] Å."""
        ...

    def pair_cutoff(self, l_max: int) -> float:
        """Returns the cutoff in Å of the real-space pairs that a system needs; 0 for none."""
        ...


class PeriodicEngine(CoulombEngine, Protocol):
    """A way to sum a periodic system: an entry of PERIODIC_METHODS."""

    @property
    def accuracy(self) -> float:
        """Requested RMS error of the forces over the RMS force."""
        ...

    def tuned_for(
        self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> "PeriodicEngine":
        """Returns the engine with its free parameters chosen for one structure, on the host."""
        ...

    def cost(self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int) -> float:
        """Returns the estimated cost of one application, in phases (k-vector times atom) of the
        direct sum; infinite where the engine does not apply."""
        ...
