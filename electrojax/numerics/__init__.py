"""Linear and non-linear solvers for many structures at once; they know atoms, not charges."""
