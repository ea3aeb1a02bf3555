"""electrojax: the design space of electrostatic machine-learning interatomic potentials in JAX."""

import importlib
from typing import Any

from electrojax.versions import check_versions

check_versions()

__version__ = "0.1.0"

_PUBLIC = {
    "load": "electrojax.models.bundle",
    "save": "electrojax.models.bundle",
    "predict": "electrojax.models.predict",
    "Potential": "electrojax.models.potential",
    "coulomb_energy": "electrojax.electrostatics.energy",
    "Calculator": "electrojax.simulation.ase",
    "ElectrojaxError": "electrojax.errors",
}
_MODULES = {"jaxmd": "electrojax.simulation.jaxmd", "testing": "electrojax.testing"}
__all__ = ["__version__", *_PUBLIC, *_MODULES]


def __getattr__(name: str) -> Any:
    """Loads a public name on first use (PEP 562), so that importing the package stays quick."""
    if name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    elif name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    else:
        raise AttributeError(f"module 'electrojax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
