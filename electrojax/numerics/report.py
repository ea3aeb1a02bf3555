"""How a solver ended, per structure: values under jit, never exceptions."""

import jax.numpy as jnp

from electrojax.system.types import System
from electrojax.typing import Array, struct


@struct
class SolverReport:
    """How the iteration of a solver ended, per structure; values under jit, never exceptions.

    Attributes:
        converged: [G] bool.
        steps: [G] number of iterations.
        residual: [G] e, the largest |F(p) − p| over the atoms (l > 0 divided by width^l).
    """

    converged: Array
    steps: Array
    residual: Array


def closed_form(system: System, dtype: jnp.dtype) -> SolverReport:
    """Returns the report of a solver without iterations: converged after no step."""
    return SolverReport(
        converged=jnp.ones(system.n_graphs, dtype=bool),
        steps=jnp.zeros(system.n_graphs, dtype=jnp.int32),
        residual=jnp.zeros(system.n_graphs, dtype=dtype),
    )
