"""What the solvers solve: energies to minimise and maps to iterate."""
