"""The MACE of mlip, with e3j's tensor products or with the symmetric contraction of e3nn-jax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mlip.data.chemical_system import ChemicalSystem
from mlip.data.dataset_info import DatasetInfo
from mlip.graph import Graph
from mlip.graph.batching_helpers import batch_graphs, pad_with_graphs
from mlip.models import ForceField, Mace


class Engine:
    """Energy and forces, and a training step with Adam; the weights are random.

    Args:
        contraction: the backend of the symmetric contraction.
    """

    def __init__(self, contraction: str = "e3j") -> None:
        self.contraction = contraction
        self.calls: dict[str, Any] = {}
        self.found: Any = None

    def device(self) -> str:
        """Returns the name of the device."""
        return str(jax.devices()[0].device_kind)

    def device_peak(self) -> int | None:
        """Returns the peak memory of the device in bytes; None where it is the host's."""
        stats = jax.devices()[0].memory_stats()
        return None if not stats else int(stats["peak_bytes_in_use"])

    def prepare(
        self, task: str, model: dict, workload: dict, weights: dict | None
    ) -> dict[str, Any]:
        """Compiles nothing yet; returns the numbers of edges. Weights of others do not fit."""
        field = self._field(model)
        graph = _graph(model["cutoff"], workload)
        edges = int(np.sum(graph.n_edge))
        make = {"forces": self._forces, "train": self._train}[task.split("_")[0]]
        self.calls[task] = make(field, jax.device_put(graph))
        return {"edges": edges, "padded_edges": len(graph.senders)}

    def call(self, task: str) -> None:
        """Does the task once and waits for it."""
        self.found = jax.block_until_ready(self.calls[task]())

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the energies and the forces last computed."""
        return tuple(np.asarray(x) for x in self.found)

    def _field(self, model: dict) -> ForceField:
        config = Mace.Config(
            num_layers=model["layers"],
            num_channels=model["channels"],
            l_max=model["l_max"],
            node_symmetry=model["hidden_l_max"],
            correlation=model["correlation"],
            readout_irreps=("16x0e", "0e"),
            num_rbf=model["bessel"],
            radial_mlp_hidden=model["radial_hidden"],
            symmetric_contraction_backend=self.contraction,
        )
        info = DatasetInfo(
            atomic_energies_map=dict.fromkeys(model["numbers"], 0.0),
            graph_cutoff_angstrom=model["cutoff"],
            avg_num_neighbors=model["neighbors"],
            avg_r_min_angstrom=0.9,
        )
        return ForceField.from_mlip_network(Mace(config, info))

    def _forces(self, field: ForceField, graph: Graph) -> Any:
        def predict(params: Any, graph: Graph) -> tuple[Any, Any]:
            found = field.predictor.apply(params, graph)
            return found.globals.energy, found.nodes.forces

        compiled = jax.jit(predict)
        return lambda: compiled(field.params, graph)

    def _train(self, field: ForceField, graph: Graph) -> Any:
        optimizer = optax.adam(1e-3)

        def loss(params: Any, graph: Graph) -> Any:
            found = field.predictor.apply(params, graph)
            graphs, nodes = graph.graph_mask(), graph.node_mask()
            atoms = jnp.maximum(graph.n_node, 1)
            energy = ((found.globals.energy - graph.globals.energy) / atoms) ** 2
            forces = jnp.sum((found.nodes.forces - graph.nodes.forces) ** 2, axis=-1)
            return jnp.sum(energy * graphs) / jnp.sum(graphs) + 100.0 * jnp.sum(forces * nodes) / (
                3 * jnp.sum(nodes)
            )

        def step(params: Any, moments: Any, graph: Graph) -> tuple[Any, Any, Any]:
            value, gradient = jax.value_and_grad(loss)(params, graph)
            updates, moments = optimizer.update(gradient, moments, params)
            return optax.apply_updates(params, updates), moments, value

        compiled = jax.jit(step, donate_argnums=(0, 1))
        params = jax.tree.map(jnp.array, field.params)
        state = (params, optimizer.init(params))

        def advance() -> Any:
            nonlocal state
            *state, value = compiled(*state, graph)
            return value

        return advance


def _graph(cutoff: float, workload: dict) -> Graph:
    """The boxes as one batch, with the padding that mlip asks for: one atom and one graph."""
    names = ("numbers", "positions", "cell", "energy", "forces")
    graphs = [
        Graph.from_chemical_system(
            ChemicalSystem(
                atomic_numbers=n, positions=x, cell=c, pbc=(True,) * 3, energy=float(e), forces=f
            ),
            graph_cutoff_angstrom=cutoff,
        )
        for n, x, c, e, f in zip(*(workload[name] for name in names))
    ]
    batch = batch_graphs(graphs)
    sizes = int(np.sum(batch.n_node)), int(np.sum(batch.n_edge)), len(graphs)
    padded = pad_with_graphs(batch, sizes[0] + 1, sizes[1], sizes[2] + 1)
    return jax.tree.map(_single, padded)


def _single(values: Any) -> Any:
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype == np.float64 else values
