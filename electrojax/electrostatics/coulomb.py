"""The tables of Coulomb engines: boundaries, ways to sum a periodic system, finite-size terms."""

import dataclasses
from typing import Any

import numpy as np

from electrojax.electrostatics.contract import CoulombEngine, CoulombOperator
from electrojax.electrostatics.ewald import EwaldCoulomb
from electrojax.electrostatics.makov_payne import MakovPayneCoulomb
from electrojax.electrostatics.mesh import MeshCoulomb
from electrojax.electrostatics.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.open import OpenCoulomb
from electrojax.electrostatics.periodic import PeriodicCoulomb
from electrojax.electrostatics.slab import SlabCoulomb
from electrojax.errors import ConfigError

__all__ = [
    "COULOMB",
    "FINITE_SIZE",
    "PERIODIC_METHODS",
    "CoulombEngine",
    "CoulombOperator",
    "engine_for",
    "tuned_engine",
]

PERIODIC_METHODS: dict[str, type] = {
    "direct": PeriodicCoulomb,
    "ewald": EwaldCoulomb,
    "mesh": MeshCoulomb,
    "mesh_ewald": MeshEwaldCoulomb,
}
"""Ways to sum a periodic system; every engine has the fields accuracy and self_interaction."""

COULOMB: dict[str, type] = {
    "open": OpenCoulomb,
    "periodic": PeriodicCoulomb,
    "slab": SlabCoulomb,
}
"""Engines by boundary; for periodic, the one of method auto."""

FINITE_SIZE: dict[str, type] = {"makov_payne": MakovPayneCoulomb}
"""Corrections that a periodic sum may be wrapped in."""


def engine_for(
    boundary: str,
    accuracy: float = 1.0e-5,
    self_interaction: bool = True,
    method: str = "auto",
    finite_size: str = "none",
) -> CoulombEngine:
    """Returns the Coulomb engine of a boundary.

    Args:
        boundary: open, periodic or slab.
        accuracy: requested RMS error of the forces over the RMS force; exact sums do not read it.
        self_interaction: keep each Gaussian's interaction with itself.
        method: how a periodic system, or the cell of a slab, is summed: a key of
            PERIODIC_METHODS; auto is direct.
        finite_size: none, or a key of FINITE_SIZE for a molecule in a periodic box.

    Raises:
        ConfigError: if the boundary or an option does not exist, or the accuracy cannot be met.
    """
    _check("boundary", boundary, tuple(COULOMB))
    _check("method", method, ("auto", *PERIODIC_METHODS))
    _check("finite_size", finite_size, ("none", *FINITE_SIZE))
    if finite_size != "none" and boundary != "periodic":
        raise ConfigError(
            f"finite_size {finite_size!r} with boundary {boundary!r}; needed boundary 'periodic'"
        )
    if boundary == "open":
        return OpenCoulomb(self_interaction)
    chosen = PERIODIC_METHODS["direct" if method == "auto" else method]
    bulk = chosen(accuracy=accuracy, self_interaction=self_interaction)
    if boundary == "slab":
        return SlabCoulomb(bulk)
    return bulk if finite_size == "none" else FINITE_SIZE[finite_size](bulk)


def tuned_engine(
    engine: CoulombEngine, method: str, atoms: int, cell: np.ndarray, width: np.ndarray, l_max: int
) -> CoulombEngine:
    """Returns an engine with its bulk sum chosen (method auto) and tuned for one structure.

    Args:
        engine: of any boundary; an open one is returned as it is.
        method: auto for the cheapest of PERIODIC_METHODS, or the method of the engine.
        atoms: number of atoms.
        cell: [3, 3] Å.
        width: σ in Å, one number or [N].
        l_max: highest multipole order.
    """
    if isinstance(engine, OpenCoulomb):
        return engine
    if isinstance(engine, SlabCoulomb | MakovPayneCoulomb):
        bulk = tuned_engine(engine.bulk, method, atoms, cell, width, l_max)
        return dataclasses.replace(engine, bulk=bulk)
    structure = (atoms, cell, width, l_max)
    kinds = PERIODIC_METHODS.values() if method == "auto" else [type(engine)]
    options = {name: getattr(engine, name) for name in ("accuracy", "self_interaction")}
    candidates = [c.tuned(*structure) for kind in kinds for c in _able(kind, options)]
    return min(candidates, key=lambda candidate: candidate.cost(*structure))


def _able(kind: type, options: dict[str, Any]) -> list[Any]:
    """The engine of this kind, or nothing if it cannot meet the accuracy."""
    try:
        return [kind(**options)]
    except ConfigError:
        return []


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} {value!r} does not exist; needed {' or '.join(known)}")
