"""Where the polarisation of a conductor is undefined.

Along a direction in which a connected part meets its own images, charge that flows freely may have
gone around any number of times: a uniform current brings no charge anywhere, and what of it has
flowed, the polarisation, is no property of the density (R. Resta, Rev. Mod. Phys. 66, 899 (1994);
of a metal it does not exist: R. Resta and S. Sorella, Phys. Rev. Lett. 82, 370 (1999)). Charges
that minimise an energy over a whole crystal are a metal's. Cut into fragments that end, with
bounded transfers, or read from the neighbourhood, they have a polarisation.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electrojax.errors import DataError
from electrojax.solvers.base import ChargeSolver
from electrojax.system.batching import Sample
from electrojax.system.percolation import closed_paths
from electrojax.system.quantities import FIELD_RESPONSES
from electrojax.system.types import System

OF_POLARIZATION = ("polarization", *FIELD_RESPONSES)
"""What is undefined where the polarisation is."""

SMALLEST = 1e-6
"""Of a path's length; a smaller component is rounding."""


def undefined_components(solver: ChargeSolver, system: System) -> np.ndarray:
    """Returns which Cartesian components of the polarisation are undefined, [3].

    Args:
        solver: that decides the charges.
        system: one structure, on the host.
    """
    if not solver.conducts or system.boundary == "open":
        return np.zeros(3, dtype=bool)
    senders, receivers = np.asarray(system.senders), np.asarray(system.receivers)
    fragment = np.asarray(system.fragment)
    kept = np.asarray(system.edge_mask)
    if solver.fragments:
        kept = kept & (fragment[senders] == fragment[receivers])
    shifts = np.asarray(system.shifts)[kept]
    paths = closed_paths(system.n_nodes, senders[kept], receivers[kept], shifts)
    vectors = paths @ np.asarray(system.cell[0], dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.any(np.abs(vectors) > SMALLEST * lengths, axis=0))


def check_defined(
    names: Sequence[str], solver: ChargeSolver, kind: str, sample: Sample, whole: bool = False
) -> None:
    """Checks that what is asked of a structure's polarisation is defined.

    Args:
        names: of quantities; those that are no polarisation and no slope of one pass.
        solver: that decides the charges.
        kind: its name in the configuration.
        sample: the structure.
        whole: refuse it also where some components are defined.

    Raises:
        DataError: if no component is, or, with ``whole``, one is not.
    """
    asked = [name for name in names if name in OF_POLARIZATION]
    undefined = undefined_components(solver, sample.system) if asked else np.zeros(3, dtype=bool)
    if not (undefined.any() if whole else undefined.all()):
        return
    axes = ", ".join(np.array(["x", "y", "z"])[undefined])
    raise DataError(
        f"{sample.source}: {' and '.join(asked)} of solver kind {kind} along {axes}, where "
        "connected atoms meet their own images: charge flows freely around the cell, and how much "
        "has done so no density says, so that the polarisation is undefined, as a metal's is; "
        "needed fragments that end, transfers bounded (qeq), kind split, local or latent, or a "
        "vacuum along these axes"
    )


def defined_labels(solver: ChargeSolver, sample: Sample) -> Sample:
    """Returns a structure without labels of a polarisation that is undefined for a solver."""
    given = [name for name in sample.labels if name in OF_POLARIZATION]
    if not given or not undefined_components(solver, sample.system).any():
        return sample
    labels = {name: value for name, value in sample.labels.items() if name not in given}
    return dataclasses.replace(sample, labels=labels)


def with_blanks(
    solver: ChargeSolver, sample: Sample, values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Returns the predictions among values that have undefined components, with NaN for those.

    Args:
        solver: that decides the charges.
        sample: the structure.
        values: by name; polarisations [3], Born charges [N, 3, 3] and polarisabilities [3, 3],
            also those of the energy (``energy_...``).
    """
    named = {n: v for n, v in values.items() if n.removeprefix("energy_") in OF_POLARIZATION}
    undefined = undefined_components(solver, sample.system)
    return {n: _blank(n, v, undefined) for n, v in named.items()} if undefined.any() else {}


def _blank(name: str, value: Any, undefined: np.ndarray) -> np.ndarray:
    blank = np.array(value, dtype=np.result_type(value, np.float32))
    if name.endswith("polarization"):
        blank[undefined] = np.nan
    else:
        blank[..., undefined, :] = np.nan
    if name.endswith("polarizability"):
        blank[:, undefined] = np.nan
    return blank
