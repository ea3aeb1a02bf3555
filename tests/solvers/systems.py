"""Quadratic energies with given coefficients, and NumPy solutions of them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from scipy.special import erf

from electrojax.electrostatics.coulomb import engine_for
from electrojax.electrostatics.field import field_coupling
from electrojax.numerics.constraint import charge_constraint
from electrojax.solvers.problems.quadratic import QuadraticEnergy
from electrojax.system.batching import build_sample, capacity_for, collate, on_device
from electrojax.system.types import Frame, System
from electrojax.units import COULOMB

WIDTH, CUTOFF = 1.1, 4.0


def system_of(frames: list[Frame], **padding: int) -> System:
    """Frames as one float64 batch, with room for more."""
    box = engine_for("periodic", 1e-12).k_box
    samples = [
        build_sample(f, CUTOFF, (0, 0, 0) if f.boundary == "open" else box(f.cell, WIDTH, 1))
        for f in frames
    ]
    size = capacity_for(samples)
    wider = {name: getattr(size, name) + extra for name, extra in padding.items()}
    return on_device(collate(samples, dataclasses.replace(size, **wider), np.float64).system)


def energy_of(
    system: System,
    drive: np.ndarray,
    hardness: np.ndarray,
    fragments: bool = False,
    dense: bool = False,
    width: float = WIDTH,
) -> QuadraticEnergy:
    """The energy with a drive [N, M] and hardnesses [N, M] given at the real atoms."""
    rows = system.n_nodes - len(drive)
    drive = np.pad(drive, [(0, rows), (0, 0)])
    hardness = np.pad(hardness, [(0, rows), (0, 0)], constant_values=1.0)
    l_max = {1: 0, 4: 1, 9: 2}[drive.shape[1]]
    return QuadraticEnergy(
        system=system,
        coulomb=engine_for(system.boundary, 1e-12).prepare(system, l_max, width),
        hardness=jnp.asarray(hardness[:, :, None] * np.eye(drive.shape[1])),
        drive=jnp.asarray(drive),
        field=field_coupling(system, CUTOFF),
        constraint=charge_constraint(system, fragments),
        width=width,
        max_steps=300,
        dense=dense,
    )


def coulomb_matrix(frame: Frame, width: float = WIDTH) -> np.ndarray:
    """A of charges, from closed forms: pairs in open space, a sum over k in a cell."""
    vectors = frame.positions[:, None] - frame.positions[None]
    if frame.boundary == "open":
        r = np.linalg.norm(vectors, axis=-1)
        np.fill_diagonal(r, 1.0)
        matrix = erf(r / (2 * width)) / r
        np.fill_diagonal(matrix, 1 / (np.sqrt(np.pi) * width))
        return COULOMB * matrix
    reciprocal = 2 * np.pi * np.linalg.inv(frame.cell).T
    n = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)
    k = n[np.any(n != 0, axis=1)] @ reciprocal
    squared = np.sum(k * k, axis=1)
    factor = 4 * np.pi * COULOMB / abs(np.linalg.det(frame.cell)) * np.exp(-squared * width**2)
    return np.einsum("k,kij->ij", factor / squared, np.cos(np.einsum("kx,ijx->kij", k, vectors)))


def equilibrated(
    frame: Frame, electronegativity: np.ndarray, hardness: np.ndarray, groups: list[list[int]]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Charges, multipliers and energy at the minimum, by SciPy, with the charge of groups fixed.

    The groups' charges are the sums of formal charges, or the total charge for one group.
    """
    n = len(electronegativity)
    matrix = coulomb_matrix(frame) + np.diag(hardness)
    rows = np.array([[float(i in group) for i in range(n)] for group in groups])
    fixed = [frame.total_charge]
    if len(groups) > 1:
        fixed = [frame.formal_charges[group].sum() for group in groups]
    bordered = np.block([[matrix, rows.T], [rows, np.zeros((len(groups),) * 2)]])
    found = scipy.linalg.solve(bordered, np.concatenate([-electronegativity, fixed]))
    charges = found[:n]
    value = electronegativity @ charges + 0.5 * charges @ matrix @ charges
    return charges, found[n:], value
