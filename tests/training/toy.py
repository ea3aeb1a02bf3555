"""A tiny pair potential with every output that training looks at, and data made with it."""

import jax
import jax.numpy as jnp
import numpy as np

from electrojax.electrostatics.density import ChargeDensity, dipole, quadrupole
from electrojax.models.prediction import Prediction
from electrojax.numerics.report import SolverReport
from electrojax.system.batching import Capacity, build_sample, collate
from electrojax.system.geometry import edge_vectors, harmonic_order
from electrojax.system.types import Frame, graph_sum
from electrojax.typing import replace

CUTOFF = 3.0
PROVIDES = ("energy", "forces", "stress", "charges", "multipoles", "dipole")
CAPACITY = Capacity(nodes=24, edges=160, graphs=4, graph_nodes=6)


def apply(params, system):
    """E = Σ_edges a exp(−r²) + Σ_i b(z_i); q_i = c(z_i), μ_i = d Σ_j exp(−r²) r_ij."""
    positions = jnp.asarray(system.positions)

    def terms(positions):
        vectors = edge_vectors(replace(system, positions=positions))
        decay = jnp.exp(-jnp.sum(vectors**2, axis=1)) * system.edge_mask
        pairs = params["w"][0, 0] * jax.ops.segment_sum(decay, system.receivers, system.n_nodes)
        energy = graph_sum(pairs + params["b"][system.numbers], system)
        moments = jax.ops.segment_sum(
            params["d"] * decay[:, None] * harmonic_order(vectors), system.receivers, system.n_nodes
        )
        return jnp.sum(energy), (energy, moments)

    gradient, (energy, moments) = jax.grad(terms, has_aux=True)(positions)
    charges = params["c"][system.numbers] * system.node_mask
    density = ChargeDensity(
        multipoles=jnp.concatenate([charges[:, None], moments], axis=1)[:, None],
        width=jnp.ones(system.n_nodes, positions.dtype),
    )
    graphs = system.n_graphs
    # A structure whose total charge is 99 e is one that the solver does not converge.
    converged = jnp.asarray(system.total_charge) != 99
    return Prediction(
        energy=energy,
        energies={"short_range": energy},
        forces=-gradient,
        stress=jnp.zeros((graphs, 3, 3), positions.dtype),
        density=density,
        dipole=dipole(density, system),
        quadrupole=quadrupole(density, system),
        polarization=dipole(density, system),
        energy_polarization=dipole(density, system),
        fermi_level=jnp.zeros(graphs, positions.dtype),
        chemical_potential=jnp.zeros_like(charges),
        spin_multipoles=jnp.zeros_like(density.multipoles[:, 0]),
        report=SolverReport(converged, jnp.full(graphs, 3), jnp.zeros(graphs, positions.dtype)),
    )


def params(seed=0, dtype=np.float32):
    """Returns random parameters."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (1, 1), "b": (9,), "c": (9,), "d": ()}
    return {k: jnp.asarray(0.3 * rng.normal(size=s), dtype) for k, s in shapes.items()}


def frames(count, seed=1, labels=("energy", "forces", "dipole", "charges", "multipoles")):
    """Returns small clusters of H and O labelled by the same potential with other parameters."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        n = int(rng.integers(3, 7))
        frame = Frame(
            numbers=rng.choice([1, 8], size=n),
            positions=rng.normal(size=(n, 3)),
            cell=np.zeros((3, 3)),
            pbc=(False,) * 3,
            labels={},
            source=f"toy frame {index}",
        )
        found.append(_labelled(frame, labels))
    return found


compiled = jax.jit(apply)


def _labelled(frame, names):
    # One padded shape for all of them: a program per size would take seconds to compile.
    batch = collate([build_sample(frame, CUTOFF)], CAPACITY, np.float32)
    truth, n = jax.device_get(compiled(params(99), batch.system)), len(frame.numbers)
    labels = {
        "energy": truth.energy[0],
        "forces": truth.forces[:n],
        "dipole": truth.dipole[0],
        "charges": truth.charges[:n],
        "multipoles": truth.density.multipoles[:n, 0],
    }
    return replace(frame, labels={k: np.float64(labels[k]) for k in names})


def samples(count, **options):
    """Returns toy frames with their neighbour lists."""
    return [build_sample(frame, CUTOFF) for frame in frames(count, **options)]


class Loader:
    """Batches of a fixed size, shuffled by the epoch, padded to capacities in turn."""

    def __init__(self, samples, size=4, capacities=(CAPACITY,), shuffle=True, dtype=np.float32):
        self.samples, self.size, self.capacities = samples, size, capacities
        self.shuffle, self.dtype = shuffle, dtype

    def __len__(self):
        return -(-len(self.samples) // self.size)

    def epoch(self, number):
        order = np.arange(len(self.samples))
        if self.shuffle:
            order = np.random.default_rng([7, number]).permutation(order)
        for k in range(len(self)):
            indices = order[k * self.size : (k + 1) * self.size]
            capacity = self.capacities[k % len(self.capacities)]
            yield collate([self.samples[i] for i in indices], capacity, self.dtype), indices
