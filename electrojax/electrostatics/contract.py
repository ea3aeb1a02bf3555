"""What every Coulomb engine and its operators promise."""

from typing import Protocol

import numpy as np

from electrojax.system.types import System
from electrojax.typing import Array


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


class CoulombEngine(Protocol):
    """A way to sum Coulomb interactions under one boundary: frozen, hashable, static under jit."""

    def prepare(self, system: System, l_max: int, width: float | Array) -> CoulombOperator:
        """Returns the operator for a batch, multipoles up to l_max and the width σ in Å."""
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

    def tuned(
        self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int
    ) -> "PeriodicEngine":
        """Returns the engine with its free parameters chosen for one structure, on the host."""
        ...

    def cost(self, atoms: int, cell: np.ndarray, width: float | np.ndarray, l_max: int) -> float:
        """Returns the estimated cost of one application, in phases (k-vector times atom) of the
        direct sum; infinite where the engine does not apply."""
        ...
