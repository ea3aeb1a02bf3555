"""Units: energies in eV, lengths in Å, charges in e, potentials in V, fields in V/Å.

The Coulomb constant follows CODATA 2014, as ``ase.units`` and the published references do; other
CODATA years differ by 8e-9 relative, which is more than the tolerances of the tests.
Conversions happen where files are read and written, nowhere else.
"""

COULOMB = 14.399645353504033
"""k_e = 1/(4 pi eps0) in eV·Å/e²."""

HARTREE = 27.211386024367243
"""Hartree in eV (CODATA 2014)."""

BOHR = 0.5291772105638411
"""Bohr radius in Å (CODATA 2014)."""

DEBYE = 0.20819433442462576
"""Debye in e·Å (CODATA 2014)."""

ERROR_UNITS: dict[str, tuple[str, float]] = {
    "energy": ("meV/atom", 1e3),
    "forces": ("meV/Å", 1e3),
    "stress": ("meV/Å³", 1e3),
    "dipole": ("me·Å", 1e3),
    "polarization": ("me·Å", 1e3),
    "charges": ("me", 1e3),
    "multipoles": ("me·Å^l", 1e3),
    "fermi_level": ("meV", 1e3),
    "total_charge": ("me", 1e3),
    "born_charges": ("e", 1.0),
    "polarizability": ("e·Å²/V", 1.0),
    "level_slope": ("e²/eV", 1.0),
    "stability": ("1", 1.0),
    "last_step": ("me", 1e3),
    "legendre_gap": ("meV", 1e3),
}
"""Unit of the RMSE and MAE of a quantity, and the factor from the internal unit to it."""
