"""electrojax: the design space of electrostatic machine-learning interatomic potentials in JAX."""

import importlib

from electrojax.versions import check_versions

check_versions()
__version__ = "0.1.0"

_PUBLIC = {
    "read_frames": "electrojax.data.reader:read_frames",
    "Frame": "electrojax.system.types:Frame",
    "build_model": "electrojax.runs.build:build_model",
    "train": "electrojax.runs.train:run_training",
    "evaluate": "electrojax.runs.evaluate:evaluate_frames",
    "simulate": "electrojax.runs.md:run_md",
    "load": "electrojax.models.bundle:load",
    "save": "electrojax.models.bundle:save",
    "predict": "electrojax.models.predict:predict",
    "Potential": "electrojax.models.potential:Potential",
    "coulomb_energy": "electrojax.electrostatics.energy:coulomb_energy",
    "Calculator": "electrojax.simulation.ase:Calculator",
    "ElectrojaxError": "electrojax.errors:ElectrojaxError",
    **{"analysis": "electrojax.analysis", "testing": "electrojax.testing"},
    "jaxmd": "electrojax.simulation.jaxmd",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    """Loads a public name on first use (PEP 562); types are in ``__init__.pyi``."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'electrojax' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = importlib.import_module(module)
    return globals().setdefault(name, getattr(value, attribute) if attribute else value)


def __dir__() -> list[str]:
    return sorted(__all__)
