"""The physics of charge densities: Gaussian multipoles, Coulomb engines, fields. No parameters."""
