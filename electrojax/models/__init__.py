"""Assembly of backbone, solver, Coulomb engine and statistics into a potential."""
