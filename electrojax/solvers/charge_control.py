"""Fixed charge or fixed potential: the option of kinds that know both, and its demands on data."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.density import ChargeDensity, total_charge
from electrojax.errors import DataError
from electrojax.nn.options import option
from electrojax.numerics.constraint import FIXED_CHARGE
from electrojax.system.types import Frame, System
from electrojax.typing import Array

CONSERVING = ("total", "fixed_charge", "fixed_potential")
"""Values of ``charge_control`` of kinds that keep a total charge that is fixed."""


def charge_control_option() -> Any:
    """Returns the option ``charge_control`` of the kinds that know both ensembles."""
    return option(
        "fixed_charge",
        "fixed_charge: charges sum to total_charge; fixed_potential: the frame's fermi_level is "
        "given and the charge is an output",
    )


def charge_of_structures(solver: nn.Module, density: ChargeDensity, system: System) -> Array:
    """Returns the charge of every structure [G] in e: as given where the solver keeps it.

    Where it does not, or at fixed potential, it is the sum over the density.
    """
    found = total_charge(density, system)
    if getattr(solver, "charge_control", "") not in CONSERVING:
        return found
    fixed = system.charge_control == FIXED_CHARGE
    return jnp.where(fixed, system.total_charge, found)


def check_charges(frame: Frame, charge_control: str, formal: bool) -> None:
    """Checks on the host that a structure says what fixes its charges.

    Args:
        frame: the structure.
        charge_control: ``fixed_charge`` or ``fixed_potential``, of the solver.
        formal: whether the charge is fixed in parts, by formal charges.

    Raises:
        DataError: if the level or the formal charges are missing, or contradict the total charge.
    """
    level = frame.reservoir_level
    if (frame.charge_control or charge_control) == "fixed_potential" and level is None:
        raise DataError(
            f"{frame.source}: the charge is at fixed potential and no fermi_level is given; give "
            "it in eV, or use charge_control fixed_charge"
        )
    if not formal:
        return
    if frame.formal_charges is None:
        raise DataError(
            f"{frame.source}: has no formal_charges, which say what charge each fragment keeps; "
            "give one per atom (0 for neutral molecules), with the right sum over each fragment"
        )
    total = float(np.sum(frame.formal_charges))
    if abs(total - frame.total_charge) > 1e-6:
        raise DataError(
            f"{frame.source}: formal_charges sum to {total:g} e but total_charge is "
            f"{frame.total_charge:g} e; they must agree"
        )
