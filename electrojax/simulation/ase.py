"""A model as an ASE calculator."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from electrojax.models.bundle import load
from electrojax.models.inputs import INPUTS
from electrojax.models.potential import Potential
from electrojax.models.predict import StructurePrediction, predict_samples
from electrojax.simulation.forces import in_precision
from electrojax.simulation.inputs import frame_with_inputs, refuse_unknown
from electrojax.system.batching import CoulombPlan
from electrojax.system.types import Frame


class Calculator(AseCalculator):
    """Energies, forces and charges of a model for ASE.

    Results are ``energy`` and ``free_energy`` (eV, atomic energies included), ``forces`` (eV/Å),
    ``charges`` (e), ``energies_by_term`` (eV by name), ``fermi_level`` (eV), ``chemical_potential``
    (eV, −∂E/∂q of each atom; of kinds that define it); ``magmoms`` and ``magmom`` (n_α − n_β of
    each atom and of all, in Bohr magnetons; of kinds with spin); with three periodic axes
    ``stress`` (eV/Å³, Voigt order xx, yy, zz, yz, xz, xy) and with none ``dipole`` (e·Å, about the
    origin). Array sizes are rounded up, so that moving atoms compile few programs. The Coulomb
    method and its k-vectors stay those of the first cell while a changing cell allows it, so that
    the energy has no steps in a relaxation and is then renewed with one below the accuracy.

    Args:
        model: from :func:`electrojax.load`, or the path of a model.ejx.
        total_charge: e; ``atoms.info["total_charge"]`` where not given.
        multiplicity: 2S + 1, likewise.
        external_field: [3] V/Å, likewise.
        precision: ``float32`` or ``float64`` to compute in; the model's own where not given.
        atoms: an ``ase.Atoms`` to attach the calculator to.

    Raises:
        TypeError: for an option that does not exist.
        ConfigError: for another precision.
        DataError: on calculation, if the model cannot evaluate the atoms, needs an input that is
            given nowhere, or an argument contradicts ``atoms.info``.
    """

    default_parameters: ClassVar[dict[str, Any]] = dict.fromkeys(INPUTS)
    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
        "charges",
        "dipole",
        "magmom",
        "magmoms",
    ]

    def __init__(
        self,
        model: Potential | str | os.PathLike,
        total_charge: float | None = None,
        multiplicity: float | None = None,
        external_field: Any = None,
        precision: str | None = None,
        atoms: Any = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown("Calculator", unknown, (*INPUTS, "precision", "atoms"))
        super().__init__(atoms=atoms)
        loaded = model if isinstance(model, Potential) else load(model)
        self.model = in_precision(loaded, precision)
        self.set(**dict(zip(INPUTS, (total_charge, multiplicity, external_field))))
        self._inputs: tuple[Any, ...] = ()
        self._planned: _Planned | None = None

    def set(self, **inputs: Any) -> dict[str, Any]:
        """Gives inputs other values; None leaves one to ``atoms.info``.

        Args:
            inputs: ``total_charge``, ``multiplicity`` or ``external_field``.

        Returns:
            Those that have changed.

        Raises:
            TypeError: for anything else.
        """
        refuse_unknown("Calculator.set", inputs, INPUTS)
        changed: dict[str, Any] = super().set(**inputs)
        if changed:
            self.reset()
        return changed

    def check_state(self, atoms: Any, tol: float = 1e-15) -> list[str]:
        """Returns what has changed since the last calculation, the inputs in info included."""
        changes = super().check_state(atoms, tol)
        return [*changes, "info"] if _inputs(atoms) != self._inputs else changes

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Computes every result for the atoms."""
        super().calculate(atoms, list(properties), list(system_changes))
        frame = frame_with_inputs(self.model, self.atoms, self.parameters)
        self._inputs = _inputs(self.atoms)
        if self._planned is None or not self._planned.serves(frame):
            tuned = self.model.tuned_for([frame])
            self._planned = _Planned(tuned, frame, tuned.coulomb_plan(frame))
        found = self._planned.predict(frame)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces.astype(np.float64),
            "charges": found.charges.astype(np.float64),
            "energies_by_term": dict(found.energies),
            "fermi_level": found.fermi_level,
        }
        if "fermi_level" in self.model.provides:
            level = found.chemical_potential.astype(np.float64)
            self.results["chemical_potential"] = level
        if self.model.network.solver.has_spin:
            moments = found.spin_multipoles[:, 0].astype(np.float64)
            self.results |= {"magmoms": moments, "magmom": float(moments.sum())}
        if frame.boundary == "periodic":
            stress = found.stress.astype(np.float64)
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        if frame.boundary == "open":
            self.results["dipole"] = found.dipole.astype(np.float64)


@dataclasses.dataclass(frozen=True)
class _Planned:
    """A model with its Coulomb sum chosen for one structure, of which others may make use."""

    model: Potential
    frame: Frame
    plan: CoulombPlan

    def serves(self, frame: Frame) -> bool:
        """Whether it is good for a structure: as many atoms, the same axes, a cell close enough."""
        own = self.frame
        if own.pbc != frame.pbc or len(own.numbers) != len(frame.numbers):
            return False
        return self.model.serves(self.plan, frame)

    def predict(self, frame: Frame) -> StructurePrediction:
        """The prediction for a structure that it serves."""
        sample = self.model.sample(frame, self.plan.cell)
        return predict_samples(self.model, [sample], [self.model.network])[0]


def _inputs(atoms: Any) -> tuple[Any, ...]:
    """What the result depends on and ASE does not compare."""
    values = [atoms.info.get(name) for name in (*INPUTS, "charge_control", "fermi_level")]
    values += [atoms.arrays.get(name) for name in ("formal_charges", "fragment")]
    return tuple(None if v is None else tuple(np.ravel(v).tolist()) for v in values)
