"""Small models of every kind, with parameters that make every term matter."""

import functools

import jax
import numpy as np

from electrojax.models.potential import Potential, assemble
from electrojax.system.batching import Capacity, Sample, capacity_for, collate
from electrojax.system.types import Frame, Statistics, System

BACKBONES = {
    "mace": {"kind": "mace", "cutoff": 4.0, "channels": 4, "l_max": 2, "layers": 2},
    "light": {"kind": "light", "cutoff": 4.0, "channels": 8, "layers": 2},
}
SOLVERS = {
    "none": {"kind": "none"},
    "local": {"kind": "local", "charge_control": "total"},
    "local-free": {"kind": "local", "charge_control": "none"},
    "split": {
        "kind": "split",
        "formal_charges": {"H": 1.0, "O": -2.0},
        "charge_control": "total",
    },
    "latent": {"kind": "latent", "charge_control": "total", "dielectric_constant": 1.7},
    "latent-channels": {"kind": "latent", "channels": 3, "self_interaction": True},
    "qeq": {"kind": "qeq", "tolerance": 1e-11},
    "qeq-cg": {"kind": "qeq", "tolerance": 1e-11, "linear_solver": "cg", "hardness": "element"},
    "qeq-potential": {"kind": "qeq", "tolerance": 1e-11, "charge_control": "fixed_potential"},
    "qeq-bounded": {"kind": "qeq", "tolerance": 1e-11, "transfers": "bounded"},
    "qeq-soft": {"kind": "qeq", "tolerance": 1e-11, "transfers": "soft_fragments"},
    "functional": {"kind": "functional", "tolerance": 1e-11, "terms": 3, "rank": 2},
    "scf": {"kind": "scf", "energy": "quadratic", "tolerance": 1e-11, "rank": 2, "terms": 3},
    "scf-potential": {
        "kind": "scf",
        "tolerance": 1e-11,
        "charge_control": "fixed_potential",
        "energy": "functional",
    },
    "scf-free": {
        "kind": "scf",
        "response": "free",
        "tolerance": 1e-11,
        "rank": 2,
        "energy": "perceptron",
        "receiver_norms": [8.0, 4.0, 8.0, 4.0],
    },
    "non-scf": {"kind": "non_scf", "channels": 4, "receiver_norms": [8.0, 4.0, 8.0, 4.0]},
    "non-scf-one-shot": {
        "kind": "non_scf",
        "channels": 3,
        "steps": 1,
        "energy": "one_shot",
    },
    "non-scf-signed": {
        "kind": "non_scf",
        "channels": 4,
        "fukui": "signed",
        "spin": False,
        "energy": "coulomb",
        "on_site": True,
    },
}
ABLATIONS = {
    **{f"scf-{e}": {**SOLVERS["scf"], "energy": e} for e in ("coulomb", "perceptron")},
    **{f"scf-free-{e}": {**SOLVERS["scf-free"], "energy": e} for e in ("coulomb", "quadratic")},
}
"""The other energies that are not stationary in the density."""
ABLATIONS |= {
    f"{name}-fragments": {**{**SOLVERS, **ABLATIONS}[name], "fragments": True}
    for name in ("scf", "scf-free", *ABLATIONS)
}
_COUNTER = {"counter_charge": "plane", "counter_heights": [11.0]}
COULOMB = {"qeq-potential": _COUNTER, "scf-potential": _COUNTER}
"""Options of the Coulomb sum beyond the common ones: a slab at fixed potential needs a counter."""
FIXED_POTENTIAL = ("qeq-potential", "scf-potential")
"""Solvers whose total charge is an output."""
CHARGES_ALONE = ("qeq-bounded", "qeq-soft")
"""Solvers that know l_max 0 only."""
STATISTICS = Statistics(
    numbers=(1, 8), atomic_energies=(-13.6, -432.0), average_neighbors=4.0, energy_scale=1.3
)


@functools.lru_cache
def potential(
    backbone: str,
    solver: str,
    precision: str = "float64",
    method: str = "auto",
    finite_size: str = "none",
) -> Potential:
    """Returns a model with random parameters, the same whatever the precision."""
    config = {
        "backbone": BACKBONES[backbone],
        "density": {"l_max": 0 if solver in CHARGES_ALONE else 1, "width": 1.1},
        "coulomb": {
            "boundary": "auto",
            "method": method,
            "accuracy": 1e-8,
            "finite_size": finite_size,
            **COULOMB.get(solver, {}),
        },
        "solver": {**SOLVERS, **ABLATIONS}[solver],
    }
    bare = assemble(config, STATISTICS, precision)
    rng = np.random.default_rng(5)
    frame = Frame(
        np.array([1, 8]),
        rng.normal(size=(2, 3)),
        np.zeros((3, 3)),
        (False,) * 3,
        formal_charges=np.zeros(2),
        fermi_level=0.0,
    )
    sample = bare.sample(frame)
    system = collate([sample], capacity_for([sample]), bare.dtype).system
    with jax.enable_x64(precision == "float64"):  # whoever asks first
        shapes = jax.eval_shape(bare.network.init, jax.random.key(0), system)["params"]
    keys = iter(np.random.default_rng(7).integers(0, 2**31, size=10_000))

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        values = np.random.default_rng(next(keys)).normal(size=leaf.shape)
        return (0.7 * values).astype(leaf.dtype)

    params = jax.tree.map(draw, shapes)
    return assemble(config, STATISTICS, precision, params)


@functools.lru_cache
def program(backbone: str, solver: str, precision: str = "float64"):
    """Returns the jitted prediction of a model, as a function of its parameters and the system."""
    return jax.jit(potential(backbone, solver, precision).apply)


def compiled(backbone: str, solver: str, precision: str = "float64"):
    """Returns the jitted prediction of a model, as a function of the system."""
    model, run = potential(backbone, solver, precision), program(backbone, solver, precision)
    return lambda system: run(model.params, system)


def capacity(samples: list[Sample], nodes: int = 0, edges: int = 0, graphs: int = 0) -> Capacity:
    """Returns the exact capacity with some padding on top."""
    exact = capacity_for(samples)
    return Capacity(
        exact.nodes + nodes,
        exact.edges + edges,
        exact.graphs + graphs,
        exact.graph_nodes + nodes,
        exact.k_box,
        exact.pairs + nodes if exact.pairs else 0,
    )


def system_of(model: Potential, frames: list[Frame], size: Capacity | None = None) -> System:
    """Returns frames as one batch for a model."""
    samples = [model.sample(frame) for frame in frames]
    return collate(samples, size or capacity_for(samples), model.dtype).system


def field_axes(cell, boundary):
    """Rows along which the field is held: lattice vectors, and of a slab (a and c repeat) n."""
    if boundary == "periodic":
        return cell
    normal = np.cross(cell[2], cell[0])
    return np.stack([cell[0], normal / np.linalg.norm(normal), cell[2]])
