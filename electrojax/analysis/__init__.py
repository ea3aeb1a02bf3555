"""Analyses of trajectories and of what a model predicts: plain arrays in and out.

The functions work on trajectories of any program; a name loads its module on first use.
"""

import importlib
from typing import Any

_PUBLIC = {
    "Estimate": "blocks",
    "block_average": "blocks",
    "charge_structure_factor": "structure_factor",
    "reduced": "structure_factor",
    "structure_factor_limit": "structure_factor",
    "wave_indices": "structure_factor",
    "longitudinal_transverse": "dipole_correlations",
    "finite_cell_kirkwood": "dipole_correlations",
    "kirkwood_frohlich": "dipole_correlations",
    "dielectric_constant": "fluctuations",
    "thermal_permittivity": "fluctuations",
    "infrared_spectrum": "spectra",
    "power_spectrum": "spectra",
    "conductivity": "transport",
    "einstein_conductivity": "transport",
    "green_kubo_conductivity": "transport",
    "polarisation": "transport",
    "capacitance": "slabs",
    "planar_potential": "slabs",
    "planar_profile": "slabs",
    "density_at": "fields",
    "grid_points": "fields",
    "line_points": "fields",
    "plane_averaged_density": "fields",
    "plane_averaged_potential": "fields",
    "plane_points": "fields",
    "potential_at": "fields",
    "write_cube": "fields",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Loads a public name on first use (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'electrojax.analysis' has no attribute {name!r}")
    module = importlib.import_module(f"electrojax.analysis.{_PUBLIC[name]}")
    return globals().setdefault(name, getattr(module, name))
