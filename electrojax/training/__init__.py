"""Training: the loss, the step, the loop that builds nothing, and what is kept of a run."""
