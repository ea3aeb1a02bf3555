"""The inputs of a structure that a model's prediction depends on, and that must be given."""

from collections.abc import Collection
from typing import Any

import numpy as np

from electrojax.errors import DataError, shown
from electrojax.models.potential import Potential
from electrojax.system.names import near_quantity
from electrojax.system.types import Frame

INPUTS = ("total_charge", "multiplicity", "external_field")

CONDITIONED: dict[str, frozenset[str]] = {
    "total_charge": frozenset({"total", "fixed_charge"}),
}
"""Values of ``charge_control`` under which a solver reads an input."""


def embedded_inputs(model: Potential) -> tuple[str, ...]:
    """Returns the inputs that the backbone embeds in every atom (``model.backbone.states``)."""
    return tuple(model.config["backbone"].get("states", ()))


def required_inputs(model: Potential, frame: Frame) -> tuple[str, ...]:
    """Returns the inputs on which a model conditions: they must be given, even as zero.

    At fixed potential the charge follows; the solver itself asks for the Fermi level.
    """
    control = frame.charge_control or model.config["solver"].get("charge_control")
    kept = {"total_charge"} if model.network.solver.keeps_total_charge else set()
    needed = kept | set(embedded_inputs(model))
    return tuple(name for name in INPUTS if control in CONDITIONED.get(name, ()) or name in needed)


def read_inputs(model: Potential, frame: Frame) -> tuple[str, ...]:
    """Returns the inputs that change the prediction, among them those with a usual default.

    Channels of spin up and down read the multiplicity. A field is felt, or refused where it is not.
    """
    names = {*required_inputs(model, frame), "external_field"}
    if model.network.solver.has_spin:
        names.add("multiplicity")
    return tuple(name for name in INPUTS if name in names)


def refuse_misnamed(
    model: Potential, frame: Frame, atoms: Any, given: Collection[str] = ()
) -> None:
    """Refuses atoms that give an input under a name that is not read, such as ``charge``.

    Zeros pass: they are what is taken. ASE's initial charges count as a total charge.

    Args:
        model: decides which inputs matter.
        frame: the atoms as they were read.
        atoms: an ``ase.Atoms``.
        given: inputs that were given otherwise.

    Raises:
        DataError: naming the input and the name that was found.
    """
    lacking = [n for n in read_inputs(model, frame) if n not in given and n not in atoms.info]
    found = {f"atoms.info[{shown(name)!r}]": (name, value) for name, value in atoms.info.items()}
    if "initial_charges" in atoms.arrays:
        total = np.round(np.sum(atoms.arrays["initial_charges"]), 6)
        found["the sum of the initial charges"] = ("total_charge", total)
    for place, (name, value) in found.items():
        wanted = near_quantity(str(name), lacking)
        if wanted is not None and (isinstance(value, str) or np.any(np.asarray(value))):
            raise DataError(
                f"{frame.source}: {place} is {shown(str(value))} but the model reads {wanted}, "
                f"which is not given; set atoms.info[{wanted!r}]"
            )
