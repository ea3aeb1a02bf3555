"""An imported model beside mace-torch on structures: the largest differences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from electrojax.interop.mace_reference import reference, refined, without_field
from electrojax.models.potential import Potential
from electrojax.models.predict import StructurePrediction, predict_frames
from electrojax.system.types import Frame
from electrojax.typing import Reporter

TOLERANCES = {"float32": 1e-4, "float64": 1e-6}
"""By the precision of the file or of the result, whichever is less: of any quantity in its unit.

A file in float32 holds constants of its architecture, such as Clebsch-Gordan coefficients, so too.
"""

UNITS = {
    "energy": "eV/atom",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "charges": "e",
    "dipole": "e·Å/atom",
    "born_charges": "e",
}


def largest_differences(
    potential: Potential, module: Any, frames: Sequence[Frame], head: str, report: Reporter
) -> dict[str, float]:
    """Returns the largest differences from mace-torch in float64 by quantity, in UNITS.

    A MACELES is compared with its reciprocal sum converged, as ours is; what that changes for
    periodic structures is reported. Fields are left out where mace-torch knows none.

    Args:
        potential: the imported model.
        module: the torch module; is turned to float64.
        frames: structures.
        head: the imported head.
        report: receives a line on the reciprocal sum.
    """
    if not hasattr(module, "coulomb_energy"):  # only PolarMACE knows fields
        frames = [without_field(frame) for frame in frames]
    for frame in frames:
        potential.check(frame)
    charged = hasattr(module, "les") and not any(np.any(frame.pbc) for frame in frames)
    model = potential.with_responses(("born_charges",) if charged else ())
    ours = predict_frames(model, frames)
    if hasattr(module, "les") and any(np.any(frame.pbc) for frame in frames):
        stored = _compared(ours, reference(module, frames, head))
        report(
            "with the reciprocal sum of the file as it is: "
            + ", ".join(f"{name} {stored[name]:.1e} {UNITS[name]}" for name in stored)
        )
    if hasattr(module, "les"):
        module = refined(module)
    return _compared(ours, reference(module, frames, head))


def _compared(
    ours: Sequence[StructurePrediction], theirs: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    found: dict[str, float] = {}
    for one, other in zip(ours, theirs, strict=True):
        for name, value in other.items():
            share = len(one.forces) if UNITS[name].endswith("/atom") else 1
            change = float(np.max(np.abs(np.asarray(one.value(name)) - value))) / share
            found[name] = max(found.get(name, 0.0), change)
    return {name: found[name] for name in UNITS if name in found}
