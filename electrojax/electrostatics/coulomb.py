"""The tables of Coulomb engines: boundaries, ways to sum a periodic system, finite-size terms."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from electrojax.electrostatics.contract import CoulombEngine, CoulombOperator
from electrojax.electrostatics.engines.counter_charge import with_counter_charge
from electrojax.electrostatics.engines.ewald import EwaldCoulomb
from electrojax.electrostatics.engines.makov_payne import MakovPayneCoulomb
from electrojax.electrostatics.engines.mesh import MeshCoulomb
from electrojax.electrostatics.engines.mesh_ewald import MeshEwaldCoulomb
from electrojax.electrostatics.engines.open import OpenCoulomb
from electrojax.electrostatics.engines.periodic import PeriodicCoulomb
from electrojax.electrostatics.engines.slab import SlabCoulomb, check_vacuum
from electrojax.errors import ConfigError
from electrojax.system.types import Boundary

__all__ = [
    "COULOMB",
    "FINITE_SIZE",
    "PERIODIC_METHODS",
    "CoulombEngine",
    "CoulombOperator",
    "Engines",
    "engine_for",
    "engines_for",
    "estimated_cost",
    "method_name",
    "shared_engine",
    "sum_cell",
    "tuned_engine",
]

Size = tuple[int, np.ndarray]
"""Number of atoms and cell [3, 3] Å of a structure."""

Width = float | np.ndarray

NEGLIGIBLE = 1e6
"""Phases of a direct sum that are not worth a search for another method: about a millisecond."""

_CARRIED = ("accuracy", "self_interaction", "narrowest_receiver")
"""Options that an engine hands on to the one that replaces it."""

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
    counter_charge: str = "none",
    counter_heights: Sequence[float] = (),
) -> CoulombEngine:
    """Returns the Coulomb engine of a boundary.

    Args:
        boundary: open, periodic or slab.
        accuracy: requested RMS error of the forces over the RMS force; exact sums do not read it.
        self_interaction: keep each Gaussian's interaction with itself.
        method: how a periodic system, or the cell of a slab, is summed: a key of
            PERIODIC_METHODS; auto is direct.
        finite_size: none, or a key of FINITE_SIZE for a molecule in a periodic box.
        counter_charge: none, or plane or jellium for the charge that neutralises a slab.
        counter_heights: where it is, in Å along the slab's normal
            (see :func:`with_counter_charge`).

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
    if counter_charge != "none" and boundary != "slab":
        raise ConfigError(
            f"counter_charge {counter_charge!r} with boundary {boundary!r}; needed boundary 'slab'"
        )
    if boundary == "open":
        return OpenCoulomb(self_interaction)
    chosen = PERIODIC_METHODS["direct" if method == "auto" else method]
    bulk = chosen(accuracy=accuracy, self_interaction=self_interaction)
    if boundary == "slab":
        return with_counter_charge(SlabCoulomb(bulk), counter_charge, counter_heights)
    return bulk if finite_size == "none" else FINITE_SIZE[finite_size](bulk)


def tuned_engine(
    engine: CoulombEngine, method: str, atoms: int, cell: np.ndarray, width: Width, l_max: int
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
    return shared_engine(engine, method, [(atoms, cell)], width, l_max)


def shared_engine(
    engine: CoulombEngine,
    method: str,
    structures: Sequence[Size],
    width: Width,
    l_max: int,
    receivers: bool = False,
) -> CoulombEngine:
    """Returns an engine with its bulk sum chosen and tuned for a set of structures.

    Every method is tuned for the structure of median size and for the largest one; what is cheapest
    over all structures together is taken (a direct sum that costs next to nothing without further
    search). Cutoffs are rounded up, so that few programs compile.

    Args:
        engine: of any boundary; an open one is returned as it is.
        method: auto for the cheapest of PERIODIC_METHODS, or the method of the engine.
        structures: number of atoms and cell [3, 3] Å of each, at least one.
        width: σ in Å, one number or, for a single structure, [N].
        l_max: highest multipole order.
        receivers: only what can average over Gaussians of other widths (``receive``).

    Raises:
        DataError: for a slab without three lattice vectors.
        ConfigError: if the method has no receivers.
    """
    if isinstance(engine, OpenCoulomb):
        return engine
    if isinstance(engine, SlabCoulomb):
        for _, cell in structures:
            check_vacuum(cell)
    if isinstance(engine, SlabCoulomb | MakovPayneCoulomb):
        bulk: Any = shared_engine(engine.bulk, method, structures, width, l_max, receivers)
        return dataclasses.replace(engine, bulk=bulk)
    open_choice = method == "auto" and isinstance(engine, PeriodicCoulomb)
    negligible = NEGLIGIBLE * len(structures)
    if open_choice and estimated_cost(engine, structures, width, l_max) < negligible:
        return engine
    candidates = _candidates(engine, method, structures, width, l_max, receivers)
    return min(candidates, key=lambda c: estimated_cost(c, structures, width, l_max))


def sum_cell(
    engine: CoulombEngine,
    cell: np.ndarray,
    positions: np.ndarray,
    normal: int,
    width: Width,
    room: float = 0.0,
) -> np.ndarray:
    """Returns the cell [3, 3] Å in which an engine sums a structure: its own, except for slabs.

    Args:
        engine: of the structure's boundary.
        cell: [3, 3] Å.
        positions: [N, 3] Å.
        normal: index of a slab's open lattice vector.
        width: σ in Å, one number or [N].
        room: Å, by which a slab may become thicker.

    Raises:
        DataError: for a slab without three lattice vectors.
    """
    if not isinstance(engine, SlabCoulomb):
        return cell
    return engine.sum_cell(cell, positions, normal, width, room)


def estimated_cost(
    engine: CoulombEngine, structures: Sequence[Size], width: Width, l_max: int
) -> float:
    """Returns the estimated cost of one application to a set, in phases of the direct sum.

    A phase is one k-vector times one atom; an open structure counts an atom pair as one.
    """
    if isinstance(engine, OpenCoulomb):
        return float(sum(atoms**2 for atoms, _ in structures))
    bulk: Any = getattr(engine, "bulk", engine)
    return float(sum(bulk.cost(*structure, width, l_max) for structure in structures))


def method_name(engine: CoulombEngine) -> str:
    """Returns the name of how an engine sums: open, or a key of PERIODIC_METHODS."""
    bulk = getattr(engine, "bulk", engine)
    names = {kind: name for name, kind in PERIODIC_METHODS.items()}
    return names.get(type(bulk), "open")


@dataclasses.dataclass(frozen=True)
class Engines:
    """The Coulomb engine of every boundary: hashable, so that a compiled program can hold it."""

    open: CoulombEngine
    periodic: CoulombEngine
    slab: CoulombEngine

    def of(self, boundary: Boundary) -> CoulombEngine:
        """Returns the engine of a boundary."""
        return getattr(self, boundary)


def engines_for(
    accuracy: float = 1.0e-5,
    method: str = "auto",
    finite_size: str = "none",
    width: float = 1.5,
    l_max: int = 1,
    counter_charge: str = "none",
    counter_heights: Sequence[float] = (),
) -> Engines:
    """Returns the engines of a model, before they are tuned for a structure.

    Args:
        accuracy: requested RMS error of the forces over the RMS force.
        method: how periodic systems and slabs are summed; auto is direct until it is tuned.
        finite_size: none, or a key of FINITE_SIZE, for three periodic directions.
        width: σ in Å of the density.
        l_max: its highest multipole order.
        counter_charge: none, or plane or jellium for what neutralises a slab.
        counter_heights: where it is, in Å along the slab's normal.

    Raises:
        ConfigError: if an option does not exist, or the accuracy cannot be met.
    """

    def made(boundary: Boundary, **options: Any) -> CoulombEngine:
        return _reaching(engine_for(boundary, accuracy, method=method, **options), width, l_max)

    return Engines(
        open=made("open"),
        periodic=made("periodic", finite_size=finite_size),
        slab=made("slab", counter_charge=counter_charge, counter_heights=tuple(counter_heights)),
    )


def _reaching(engine: Any, width: float, l_max: int) -> Any:
    """The engine with a cutoff at which no Gaussian is wider than the split."""
    if hasattr(engine, "bulk"):
        return dataclasses.replace(engine, bulk=_reaching(engine.bulk, width, l_max))
    if not isinstance(engine, EwaldCoulomb):
        return engine
    # The split is proportional to the cutoff.
    least = width * engine.cutoff / engine.split(l_max)
    return dataclasses.replace(engine, cutoff=max(engine.cutoff, _rounded(least)))


def _candidates(
    engine: Any, method: str, structures: Sequence[Size], width: Width, l_max: int, receivers: bool
) -> list[Any]:
    """Tuned engines of every kind that may be used, with the options of the given one."""
    typical = sorted(structures, key=lambda structure: structure[0])
    typical = [typical[len(typical) // 2], typical[-1]]
    kinds = list(PERIODIC_METHODS.values()) if method == "auto" else [type(engine)]
    made = [candidate for kind in kinds for candidate in _able(kind, engine, receivers)]
    if not made:
        raise ConfigError(
            f"coulomb method {method!r} has no receivers of other widths, which this solver needs; "
            "needed direct or ewald"
        )
    tuned = [c.tuned_for(*structure, width, l_max) for c in made for structure in typical]
    return [
        dataclasses.replace(c, cutoff=_rounded(c.cutoff)) if isinstance(c, EwaldCoulomb) else c
        for c in tuned
    ]


def _able(kind: type, engine: Any, receivers: bool) -> list[Any]:
    """The engine of this kind, or nothing if it cannot meet the accuracy or has no receivers."""
    if receivers and not issubclass(kind, PeriodicCoulomb | EwaldCoulomb | MeshCoulomb):
        return []
    shared = {f.name for f in dataclasses.fields(kind)} & set(_CARRIED)
    options = {name: getattr(engine, name) for name in shared if hasattr(engine, name)}
    try:
        return [kind(**options)]
    except ConfigError:
        return []


def _rounded(cutoff: float) -> float:
    return math.ceil(4.0 * cutoff - 1e-9) / 4.0


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} {value!r} does not exist; needed {' or '.join(known)}")
