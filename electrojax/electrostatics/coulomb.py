"""The Coulomb contract: an engine prepares, from geometry alone, one symmetric linear operator."""

import dataclasses
from typing import Protocol

import numpy as np

from electrojax.electrostatics.open import OpenCoulomb
from electrojax.electrostatics.periodic import PeriodicCoulomb
from electrojax.errors import ConfigError
from electrojax.system.types import BOUNDARIES, System
from electrojax.typing import Array


class CoulombOperator(Protocol):
    """A linear map A from multipoles to potentials, a pytree that is applied many times.

    It is symmetric, E = ½⟨p, Ap⟩ and ∂E/∂p = Ap; padding neither acts nor is acted on; with the
    self-interaction it is positive semi-definite. Channels of a density are summed first.
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


PERIODIC_METHODS: dict[str, type] = {"direct": PeriodicCoulomb}
"""Ways to sum a periodic system; every engine has the fields accuracy and self_interaction."""

COULOMB: dict[str, type] = {"open": OpenCoulomb, "periodic": PeriodicCoulomb}
"""Engines by boundary."""


def engine_for(
    boundary: str,
    accuracy: float = 1.0e-5,
    self_interaction: bool = True,
    method: str = "auto",
) -> CoulombEngine:
    """Returns the Coulomb engine of a boundary.

    Args:
        boundary: open or periodic.
        accuracy: requested RMS error of the forces over the RMS force; exact sums do not read it.
        self_interaction: keep each Gaussian's interaction with itself.
        method: how a periodic system is summed, a key of PERIODIC_METHODS; auto is direct.

    Raises:
        ConfigError: if the boundary or the method does not exist, or the accuracy cannot be met.
    """
    if boundary not in COULOMB:
        known = "open or periodic" if boundary in BOUNDARIES else ", ".join(BOUNDARIES)
        raise ConfigError(
            f"boundary {boundary!r} has no Coulomb engine; needed {known} (a model with solver "
            "none needs no engine at any boundary)"
        )
    engine = COULOMB[boundary]
    if method not in ("auto", *PERIODIC_METHODS):
        raise ConfigError(f"method {method!r}; needed {' or '.join(('auto', *PERIODIC_METHODS))}")
    if boundary == "periodic" and method != "auto":
        engine = PERIODIC_METHODS[method]
    options = {"accuracy": accuracy, "self_interaction": self_interaction}
    fields = {f.name for f in dataclasses.fields(engine)}
    return engine(**{name: value for name, value in options.items() if name in fields})
