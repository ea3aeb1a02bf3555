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
