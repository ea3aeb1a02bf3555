"""The table of charge solvers."""

from electrojax.plugins import KindTable
from electrojax.solvers.base import ChargeSolver
from electrojax.solvers.functional import EnergyFunctional
from electrojax.solvers.latent import LatentCharges
from electrojax.solvers.local import LocalCharges
from electrojax.solvers.non_scf import FieldUpdates
from electrojax.solvers.none import NoCharges
from electrojax.solvers.qeq import ChargeEquilibration
from electrojax.solvers.scf import SelfConsistentField
from electrojax.solvers.split import SplitCharges

SOLVERS: dict[str, type[ChargeSolver]] = {
    "none": NoCharges,
    "local": LocalCharges,
    "split": SplitCharges,
    "latent": LatentCharges,
    "qeq": ChargeEquilibration,
    "functional": EnergyFunctional,
    "scf": SelfConsistentField,
    "non_scf": FieldUpdates,
}
"""Kind -> class. A new solver is one file, one line here and one YAML."""


def _misfit(module: type) -> str:
    if issubclass(module, ChargeSolver):
        return ""
    return "it does not derive from electrojax.solvers.base.ChargeSolver"


SOLVER_KINDS = KindTable("solver", SOLVERS, _misfit)
"""These and the entry points ``electrojax.solvers`` of other packages."""
