"""What the solvers read from features: hardnesses, responses, energies."""
