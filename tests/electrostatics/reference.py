"""Independent NumPy references for Coulomb sums, and systems to try them on."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from electrojax.electrostatics.coulomb import engine_for, sum_cell
from electrojax.electrostatics.engines.ewald import EwaldCoulomb
from electrojax.electrostatics.engines.slab import SlabCoulomb
from electrojax.system.batching import build_sample, capacity_for, collate, on_device
from electrojax.system.types import Frame, System
from electrojax.typing import replace
from electrojax.units import COULOMB as K_E

TRICLINIC = np.array([[6.0, 0.3, -0.2], [1.9, 5.4, 0.4], [-1.3, 1.1, 6.6]])
LEFT_HANDED = TRICLINIC[[1, 0, 2]]


def cartesian(multipoles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Charges [N] and Cartesian dipoles [N, 3] of rows [q, y, z, x, ...]."""
    if multipoles.shape[1] == 1:
        return multipoles[:, 0], np.zeros((len(multipoles), 3))
    return multipoles[:, 0], multipoles[:, [3, 1, 2]]


def solid_harmonics(v: np.ndarray) -> np.ndarray:
    """R_m(v) of l = 2 in the order (xy, yz, 3z² − r², xz, x² − y²), from the definition."""
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    root, square = np.sqrt(3), x * x + y * y + z * z
    parts = [
        root * x * y,
        root * y * z,
        (3 * z * z - square) / 2,
        root * x * z,
        root / 2 * (x * x - y * y),
    ]
    return np.stack(parts, axis=-1)


def rotated(multipoles: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Multipoles of a density turned by r → R r; R_m(R v) is a linear map of R_m(v)."""
    turned = multipoles.copy()
    if multipoles.shape[1] > 1:
        turned[:, [3, 1, 2]] = multipoles[:, [3, 1, 2]] @ rotation.T
    if multipoles.shape[1] > 4:
        v = np.random.default_rng(0).normal(size=(20, 3))
        change = np.linalg.lstsq(solid_harmonics(v), solid_harmonics(v @ rotation.T), rcond=None)
        turned[:, 4:9] = multipoles[:, 4:9] @ change[0]
    return turned


def reciprocal_energy(positions, multipoles, cell, width, decay=42.0):
    """Σ over all k ≠ 0 with k²σ² < decay, with complex numbers; e^{-42} = 6e-19."""
    narrowest = np.min(width)
    rows = 2 * np.pi * np.linalg.inv(cell).T
    box = np.ceil(np.sqrt(decay) / narrowest * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(
        int
    )
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in box], indexing="ij"), -1)
    k = grid.reshape(-1, 3) @ rows
    k2 = (k * k).sum(1)
    used = (k2 > 1e-12) & (k2 * narrowest**2 < decay)
    k, k2 = k[used], k2[used]
    charges, dipoles = cartesian(multipoles)
    form = charges - 1j * k @ dipoles.T
    if multipoles.shape[1] > 4:
        form = form - solid_harmonics(k) @ multipoles[:, 4:9].T / 3
    smear = np.exp(-np.outer(k2, np.broadcast_to(width, len(positions)) ** 2) / 2)
    structure = (np.exp(-1j * k @ positions.T) * form * smear).sum(1)
    volume = abs(np.linalg.det(cell))
    return 2 * np.pi * K_E / volume * float((np.abs(structure) ** 2 / k2).sum())


def charge_cloud_energy(positions, charges, widths):
    """½ Σ_ij q_i q_j erf(r/√(2(σ_i² + σ_j²)))/r, i = j included."""
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    spread = np.sqrt(2 * (widths[:, None] ** 2 + widths[None] ** 2))
    safe = np.where(distance > 0, distance, 1.0)
    kernel = np.where(distance > 0, erf(distance / spread) / safe, 2 / np.sqrt(np.pi) / spread)
    return 0.5 * K_E * float(charges @ kernel @ charges)


def point_stencils(delta: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every multipole component, sites and charges of unit moment R_lm and no lower one.

    The charges of l = 2 have no trace Σ q r², so that no charge-like part is left when each of them
    is a Gaussian.
    """
    x, y, z = delta * np.eye(3)
    stencils = [(np.zeros((1, 3)), np.ones(1))]
    stencils += [(np.array([a, -a]) / 2, np.array([1, -1]) / delta) for a in (y, z, x)]

    def mixed(a, b):
        corners = np.array([a + b, -a - b, a - b, b - a])
        return corners, np.array([1, 1, -1, -1]) / (4 * np.sqrt(3) * delta**2)

    axial = np.array([z, -z, x, -x, y, -y]), np.array([2, 2, -1, -1, -1, -1]) / (6 * delta**2)
    planar = np.array([x, -x, y, -y]), np.array([1, 1, -1, -1]) / (2 * np.sqrt(3) * delta**2)
    return [*stencils, mixed(x, y), mixed(y, z), axial, mixed(x, z), planar]


def displaced_energy(positions, multipoles, widths, energy=charge_cloud_energy, step=0.3):
    """Energy with every multipole as a few displaced charges, extrapolated to no displacement."""
    widths = np.broadcast_to(np.asarray(widths, float), len(positions))

    def at(delta):
        sites, values, spreads = [], [], []
        for moment, (offsets, charges) in zip(multipoles.T, point_stencils(delta)):
            sites.append((positions[:, None] + offsets).reshape(-1, 3))
            values.append(np.outer(moment, charges).ravel())
            spreads.append(np.repeat(widths, len(charges)))
        return energy(*(np.concatenate(x) for x in (sites, values, spreads)))

    table = [at(step * widths.min() / 1.5**i) for i in range(5)]
    for order in range(1, 5):
        factor = 1.5 ** (2 * order)
        table = [(factor * b - a) / (factor - 1) for a, b in itertools.pairwise(table)]
    return table[0]


KINDS = {
    "open": {"boundary": "open"},
    "periodic": {"boundary": "periodic"},
    "ewald": {"boundary": "periodic", "method": "ewald"},
    "mesh": {"boundary": "periodic", "method": "mesh"},
    "mesh_ewald": {"boundary": "periodic", "method": "mesh_ewald"},
    "slab": {"boundary": "slab"},
    "slab_z": {"boundary": "slab"},
    "boxed": {"boundary": "periodic", "finite_size": "makov_payne"},
    "periodic_ewald": {"boundary": "periodic", "method": "ewald"},
    "slab_ewald": {"boundary": "slab", "method": "ewald"},
}
"""Engines to try promises on; slab is open along its second lattice vector, slab_z its third."""

REPEATS = {"open": "FFF", "slab": "TFT", "slab_z": "TTF"}


def frame(positions, cell, kind):
    return Frame(
        numbers=np.ones(len(positions), dtype=int),
        positions=np.asarray(positions, float),
        cell=np.asarray(cell, float),
        pbc=tuple(flag == "T" for flag in REPEATS.get(kind, "TTT")),
    )


def batch(
    structures, kind, engine, width, l_max, dtype=np.float64, extra=(0, 0), plans=None
) -> System:
    """A padded batch of (positions, cell) with room for extra nodes, pairs and graphs.

    Their plans may be given, as cells: those of a Coulomb sum of more sites than the atoms.
    """
    samples = []
    for i, (r, a) in enumerate(structures):
        one = frame(r, a, kind)
        box = sum_cell(engine, one.cell, one.positions, one.normal, width)
        box = box if plans is None else np.asarray(plans[i])
        plan = engine.k_box(box, width, l_max), engine.pair_cutoff(l_max), box
        samples.append(build_sample(one, 0.5, *plan))
    fitted = capacity_for(samples)
    capacity = dataclasses.replace(
        fitted,
        nodes=fitted.nodes + extra[0],
        graphs=fitted.graphs + extra[1],
        graph_nodes=fitted.graph_nodes + (1 if extra[0] else 0),
        pairs=fitted.pairs + (7 if extra[0] and fitted.pairs else 0),
    )
    return on_device(collate(samples, capacity, dtype).system)


def random_structure(rng, n=5, cell=TRICLINIC, l_max=1):
    """Positions inside (and a little outside) a cell, multipoles [n, M] and the cell."""
    positions = rng.uniform(-0.2, 1.2, (n, 3)) @ cell
    return positions, rng.normal(size=(n, (l_max + 1) ** 2)) * 0.5, cell


def molecules(rng, l_max):
    """Eight neutral triangles in a cube, [24, 3], with small higher multipoles."""
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3)
    water = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.24, 0.927, 0]])
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in grid]
    positions = np.concatenate([3.1 * g + water @ q for g, q in zip(grid, turns)])
    rest = 0.1 * rng.normal(size=(24, (l_max + 1) ** 2 - 1))
    return positions, np.c_[np.tile([-0.8, 0.4, 0.4], 8), rest], 6.2 * np.eye(3)


def engine_of(kind, accuracy=1e-8, **options):
    """The engine of a kind; the split with a cutoff that holds widths up to 1 Å."""
    engine = engine_for(**KINDS[kind], accuracy=accuracy, **options)
    if isinstance(engine, SlabCoulomb) and isinstance(engine.bulk, EwaldCoulomb):
        return SlabCoulomb(dataclasses.replace(engine.bulk, cutoff=11.0))
    return dataclasses.replace(engine, cutoff=11.0) if kind.endswith("ewald") else engine


def prepared(kind, structures, width=1.0, l_max=1, accuracy=1e-8, dtype=np.float64, **options):
    """Engine, padded system and operator for a list of (positions, cell)."""
    extra = options.pop("extra", (0, 0))
    engine = engine_of(kind, accuracy, **options)
    system = batch(structures, kind, engine, width, l_max, dtype, extra)
    return engine, system, prepare(engine, l_max, width, system)


# Compiled, because operation by operation the tests would spend minutes in small compilations.
@partial(jax.jit, static_argnums=(0, 1))
def prepare(engine, l_max, width, system):
    return engine.prepare(system, l_max, width)


@jax.jit
def energy(operator, multipoles):
    return operator.energy(jnp.asarray(multipoles))


@jax.jit
def potential(operator, multipoles):
    return operator.potential(jnp.asarray(multipoles))


@jax.jit
def energy_gradient(operator, multipoles):
    return jax.grad(lambda p: operator.energy(p).sum())(jnp.asarray(multipoles))


def energy_of(engine, system, multipoles, l_max, width):
    """A function of (positions, cell) that returns [G] energies."""

    def energy(positions, cell):
        moved = replace(system, positions=positions, cell=cell)
        return engine.prepare(moved, l_max, width).energy(multipoles)

    return energy
