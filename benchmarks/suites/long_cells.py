"""Steps and time to the charges of long cells, with the long-wave preconditioner and without.

Periodic columns of 5.2 × 5.2 Å and 21 or 83 Å, σ = 1.1 Å, driven from end to end, residual 1e-6 e,
float64: conjugate gradients, Anderson mixing (α = 0.25) and GMRES; GMRES without on-site too, where
atoms do not feel their own charge, and are softer by its 7.4 eV/e². Time is that of the whole
solve, making the preconditioner included: the least of calls that take turns, of the processor
(cpu_ms) and of the clock (wall_ms). At a hardness of 100 eV/e² no wave is worth it and the
preconditioner is left out when the program runs: what it costs then is the price of the choice.
"""

import functools
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax

from tests.solvers.problems import columns

SOLVERS: dict[str, Callable[..., Any]] = {
    "conjugate gradients": columns.conjugate_gradients,
    "anderson": columns.anderson,
    "gmres": columns.krylov,
    "gmres without on-site": functools.partial(columns.krylov, on_site=False),
}
HARDNESS = {"gmres without on-site": (8.0, 10.0, 100.0)}
USUAL = (0.1, 1.0, 8.0, 100.0)
LAYERS = (8, 32)
ROUNDS = 9
CHOICES = (
    "electrojax.solvers.problems.quadratic.long_waves_matter",
    "electrojax.solvers.problems.self_consistent.long_waves_matter",
)


def program(solve: Callable[..., Any], given: tuple, preconditioned: bool) -> Callable[..., Any]:
    """The compiled solve, with the package's own choice of long waves or with none."""

    def run(hardness: Any, system: Any, coulomb: Any, drive: Any) -> Any:
        return solve(system, coulomb, hardness, drive)

    if preconditioned:
        return jax.jit(run).lower(8.0, *given).compile()
    with mock.patch(CHOICES[0], return_value=False), mock.patch(CHOICES[1], return_value=False):
        return jax.jit(run).lower(8.0, *given).compile()


def timed(calls: dict[bool, Callable[[], Any]]) -> dict[bool, tuple[int, float, float]]:
    """Steps, and the least processor and clock times in ms of calls that take turns."""
    spent: dict[bool, list[tuple[float, float]]] = {name: [] for name in calls}
    steps = {name: int(jax.block_until_ready(call())[1][0]) for name, call in calls.items()}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            clock, used = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            spent[name].append((time.process_time() - used, time.perf_counter() - clock))
    return {
        name: (steps[name], *(1e3 * min(column) for column in zip(*times)))
        for name, times in spent.items()
    }


def rows(options: Namespace) -> list[dict]:
    """Returns a row per solver, hardness and length."""
    found = []
    for name, solve in SOLVERS.items():
        if options.only and options.only not in name:
            continue
        with jax.enable_x64(True):
            for layers in LAYERS:
                given = columns.column(layers)
                runs = {each: program(solve, given, each) for each in (False, True)}
                for hardness in HARDNESS.get(name, USUAL):
                    calls = {e: functools.partial(r, hardness, *given) for e, r in runs.items()}
                    found.append(row(name, layers, hardness, timed(calls)))
    return found


def row(name: str, layers: int, hardness: float, found: dict) -> dict:
    """One line of the table."""
    plain, waves = found[False], found[True]
    return {
        "solver": name,
        "length_angstrom": layers * columns.SPACING,
        "hardness": hardness,
        "steps_plain": plain[0],
        "steps": waves[0],
        "cpu_ms_plain": plain[1],
        "cpu_ms": waves[1],
        "wall_ms_plain": plain[2],
        "wall_ms": waves[2],
        "cpu_over_plain": waves[1] / plain[1],
    }
