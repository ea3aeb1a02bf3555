"""Our MACE: with the weights of a mace-torch model, or random ones of the same architecture."""

import json
from typing import Any

import jax
import numpy as np

from electrojax.interop.mace_torch import convert
from electrojax.models.potential import Potential, assemble
from electrojax.system.batching import capacity_for, collate
from electrojax.system.types import Batch, Frame, Statistics
from electrojax.training.optimizer import make_optimizer
from electrojax.training.step import Controls, init_state, make_train_step


class Engine:
    """Energy and forces, and the training step that ``electrojax train`` takes."""

    def __init__(self) -> None:
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
        """Compiles nothing yet; returns the numbers of edges of the task."""
        potential = _potential(model, weights)
        batch = _batch(potential, workload)
        if potential.params is None:
            single = _batch(potential, {k: v[:1] for k, v in workload.items()})
            params = potential.init(0, single.system)
        else:
            params = jax.device_put(potential.params)
        edges = int(np.sum(batch.system.edge_mask))
        padded = batch.system.n_edges
        make = {"forces": self._forces, "train": self._train}[task.split("_")[0]]
        self.calls[task] = make(potential, params, jax.device_put(batch))
        return {"edges": edges, "padded_edges": padded}

    def call(self, task: str) -> None:
        """Does the task once and waits for it."""
        self.found = jax.block_until_ready(self.calls[task]())

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the energies relative to those of the atoms, and the forces, last computed."""
        energy, forces = self.found
        return np.asarray(energy), np.asarray(forces)

    def _forces(self, potential: Potential, params: Any, batch: Batch) -> Any:
        def predict(params: Any, system: Any) -> tuple[Any, Any]:
            found = potential.apply(params, system)
            return found.energy, found.forces

        compiled = jax.jit(predict)
        return lambda: compiled(params, batch.system)

    def _train(self, potential: Potential, params: Any, batch: Batch) -> Any:
        optimizer = make_optimizer("adam", clip=None)
        step = make_train_step(potential.apply, optimizer)
        controls = Controls(
            np.float32(1e-3), {"energy": np.float32(1.0), "forces": np.float32(100.0)}
        )
        state = init_state(params, optimizer)

        def advance() -> Any:
            nonlocal state
            state, report = step(state, batch, controls)
            return report

        return advance


def _potential(model: dict, weights: dict | None) -> Potential:
    if weights is not None:
        config = json.loads(str(weights["config"]))
        state = {k.removeprefix("state:"): v for k, v in weights.items() if k.startswith("state:")}
        return convert(state, config, precision="float32")
    backbone = {
        "kind": "mace",
        "cutoff": model["cutoff"],
        "channels": model["channels"],
        "l_max": model["l_max"],
        "hidden_l_max": model["hidden_l_max"],
        "correlation": model["correlation"],
        "layers": model["layers"],
        "last_scalars": True,
    }
    config = {
        "backbone": backbone,
        "density": {"l_max": 0, "width": 1.5},
        "coulomb": {"boundary": "auto"},
        "solver": {"kind": "none"},
    }
    fitted = Statistics(tuple(model["numbers"]), (0.0,) * len(model["numbers"]), model["neighbors"])
    return assemble(config, fitted, "float32")


def _batch(potential: Potential, workload: dict) -> Batch:
    samples = [
        potential.sample(Frame(n, x, c, (True,) * 3, labels={"energy": e, "forces": f}))
        for n, x, c, e, f in zip(
            *(workload[k] for k in ("numbers", "positions", "cell", "energy", "forces"))
        )
    ]
    return collate(samples, capacity_for(samples), np.float32)
